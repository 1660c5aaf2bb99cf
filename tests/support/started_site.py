# ruff: noqa: TID251 -- a started process gets this one's environment
"""``live_site`` under Daphne in a process of its own, on a free port and a data folder of its own."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAME, PASSWORD = "otto", "correct horse battery"
PREPARE = f"""
from django.conf import settings
from django.core.management import call_command
from django.utils import timezone
from dashboard.live.models import WallBoard
from gateway.management.commands.up import collect_static
from gateway.core.policy import default_policy
from gateway.models import PolicyVersion
from tests.support.people import person
call_command("migrate", verbosity=0)
collect_static()
otto = person({NAME!r}, "on-call", password={PASSWORD!r})
_, secret = WallBoard.objects.make("the kitchen", otto, timezone.now())
(settings.LANEWAY_HOME / "board").write_text(secret)
PolicyVersion.objects.publish(default_policy(), "the first")
"""
TRIES = 900  # a tenth of a second apart


class Site:
    """``start`` and ``stop`` may follow one another: the port and the data stay."""

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self.home = home
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **environment,
            "LANEWAY_HOME": str(home),
            "DJANGO_SETTINGS_MODULE": "dashboard.settings",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self, more: str = "") -> None:
        """``more``: Python that adds what a test needs to the rows that are always there."""
        line = [sys.executable, "manage.py", "shell", "-v0", "-c", PREPARE + more]
        subprocess.run(line, cwd=ROOT, env=self.environment, check=True, timeout=120)

    def manage(self, *arguments: str) -> str:
        """Run a command on the same data folder; what it said."""
        line = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(
            line, cwd=ROOT, env=self.environment, check=True, timeout=60, capture_output=True
        )
        return done.stdout.decode()

    def play(self, scene: str) -> None:
        """Change the scene and, in a running site, wait until it is on."""
        (self.home / "scene").write_text(scene)
        if self._process:
            self._until(lambda: (self.home / "playing").read_text() == scene)

    def start(self) -> None:
        (self.home / "playing").unlink(missing_ok=True)
        arguments = ["-b", "127.0.0.1", "-p", str(self.port), "tests.support.live_site:application"]
        with (self.home / "daphne.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "daphne", *arguments],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        self._until(self._answers)
        self._until((self.home / "playing").exists)

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGKILL)  # as a crash would: no close frame, no goodbye
        self._process.wait(10)
        self._process = None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/accounts/login/", timeout=5):
                return True
        except OSError:
            return False

    def _until(self, condition: Callable[[], bool]) -> None:
        assert self._process
        for _ in range(TRIES):
            if condition():
                return
            if self._process.poll() is not None:
                break
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.1)  # a process that ends meanwhile is seen at once
        raise RuntimeError((self.home / "daphne.log").read_text()[-2000:])


def site(home: Path, **environment: str) -> Site:
    home.mkdir(parents=True, exist_ok=True)
    return Site(home, {"LANEWAY_REQUIRE_MFA": "no", **os.environ, **environment})


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
