"""A Laneway for the proof, on a data folder of its own: uvicorn, one process, no tasks beside it."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
READY_WITHIN_S = 60.0
SEED = """
from msgspec.structs import replace
from gateway.core.policy import default_policy
from gateway.models import Backend, PolicyVersion, Tenant
changed = {changed!r}
policy = default_policy()
tiers = tuple(replace(tier, **changed.get(tier.name, {{}})) for tier in policy.tiers)
PolicyVersion.objects.publish(replace(policy, tiers=tiers), "for the proof")
Tenant.objects.get_or_create(slug="proof", defaults={{"name": "Proof"}})
Backend.objects.update_or_create(
    name="gpu", defaults={{"url": {url!r}, "scheduling_policy": "priority"}})
"""


class Laneway:
    def __init__(self, home: Path, vllm_url: str, port: int, patch: Path | None = None) -> None:
        self.home, self.vllm_url, self.port = home, vllm_url, port
        self.server: subprocess.Popen[bytes] | None = None
        home.mkdir(parents=True, exist_ok=True)
        if patch:
            (home / "patch.py").write_text(patch.read_text())
        self._manage("migrate", "--verbosity", "0")
        self.publish()
        self.key = self._issue("live")
        self.admin_key = self._issue("admin")

    def _settings(self) -> dict[str, str]:
        own = {"LANEWAY_HOME": str(self.home), "LANEWAY_LOG_LEVEL": "WARNING"}
        return {**os.environ, **own, "PYTHONPATH": self._path()}  # noqa: TID251

    def _path(self) -> str:
        given = os.environ.get("PYTHONPATH", "")  # noqa: TID251
        return os.pathsep.join(filter(None, (str(ROOT), given)))

    def _manage(self, *arguments: str) -> str:
        words = [sys.executable, str(ROOT / "manage.py"), *arguments]
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=120, cwd=ROOT, env=self._settings()
        )
        if done.returncode:
            sys.exit(f"manage.py {arguments[0]}: {done.stderr[-3000:] or done.stdout[-3000:]}")
        return done.stdout

    def _issue(self, kind: str) -> str:
        name = f"{kind} {time.time():.0f}"  # a folder may be used again
        return self._manage("issuekey", "proof", "--name", name, "--kind", kind).split()[-1]

    def publish(self, **changed: dict[str, float]) -> None:
        """The default policy, with other numbers for some tiers; taken over within a second."""
        seed = SEED.format(changed=changed, url=self.vllm_url)
        self._manage("shell", "--no-imports", "-c", seed)

    def start(self) -> None:
        """Cold: a limit of 8 slots, ramping, and the pace it begins with."""
        self.stop()
        words = [sys.executable, "-m", "uvicorn", "tests.gpu.traced:application"]
        words += ["--host", "127.0.0.1", "--port", str(self.port), "--loop", "uvloop"]
        words += ["--http", "gateway.protocol:Protocol", "--no-access-log", "--no-server-header"]
        words += ["--backlog", "4096", "--timeout-keep-alive", "75", "--log-level", "warning"]
        with (self.home / "server.log").open("ab") as log:
            self.server = subprocess.Popen(
                words, stdout=log, stderr=log, cwd=ROOT, env=self._settings()
            )
        begun = time.perf_counter()
        while not self._ready():
            if self.server.poll() is not None or time.perf_counter() - begun > READY_WITHIN_S:
                sys.exit(f"Laneway did not come up.\n{self._log()}")
            time.sleep(0.1)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as reply:
                backends = json.load(reply)["backends"]
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        return bool(backends) and set(backends.values()) == {"up"}

    def _log(self) -> str:
        return (self.home / "server.log").read_text(errors="replace")[-3000:]

    def stop(self) -> None:
        if self.server is not None:
            self.server.terminate()
            try:
                self.server.wait(10)
            except subprocess.TimeoutExpired:
                self.server.kill()
                self.server.wait()
            self.server = None

    def explained(self, own_id: str) -> dict[str, object] | None:
        """What Laneway says of one request that waits; None once it is gone."""
        question = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/v1/requests/{own_id}/explain",
            headers={"authorization": f"Bearer {self.admin_key}"},
        )
        try:
            with urllib.request.urlopen(question, timeout=5) as reply:
                answer: dict[str, object] = json.load(reply)
        except (urllib.error.URLError, TimeoutError):
            return None
        return answer
