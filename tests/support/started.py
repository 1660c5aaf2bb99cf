# ruff: noqa: TID251 -- hands on the environment that processes need
"""Laneway as an operator starts it: ``manage.py up`` in a process, and what it printed."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from django.conf import settings

MANAGE = (sys.executable, str(settings.BASE_DIR / "manage.py"))
UP_WITHIN_S = 120  # 5 on an idle machine
DOWN_WITHIN_S = 30  # 4 on an idle machine; a busy one has tests beside it


def outside(home: Path) -> dict[str, str]:
    """The environment of an operator's shell, for ``home``; nothing of these tests' settings."""
    env = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    return {**env, "LANEWAY_HOME": str(home), "LANEWAY_REQUIRE_MFA": "no"}


class Started:
    """A running ``up``; ``text`` is all it said so far."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path, env: Mapping[str, str]) -> None:
        self.process = process
        self.env = env
        self.home = Path(env["LANEWAY_HOME"])
        self.address = f"http://127.0.0.1:{env['PORT']}"
        self._out = out

    @property
    def text(self) -> str:
        return self._out.read_text()

    @property
    def password(self) -> str | None:
        return self._said(r"admin / (\S+)")

    @property
    def key(self) -> str | None:
        return self._said(r"Bearer (lw_live_\w+)")

    @property
    def model(self) -> str | None:
        return self._said(r'"model": "([^"]+)"')

    def _said(self, pattern: str) -> str | None:
        found = re.search(pattern, self.text)
        return found[1] if found else None

    def manage(self, *arguments: str) -> str:
        """Run another command on the same data folder."""
        done = subprocess.run(
            (*MANAGE, *arguments), env=self.env, capture_output=True, text=True, check=True
        )
        return done.stdout

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(DOWN_WITHIN_S)


@contextmanager
def started(environment: Mapping[str, str], *arguments: str, **more: str) -> Iterator[Started]:
    """``manage.py up`` with these arguments, once it said that it is up.

    ``more`` goes into its environment; ``PORT`` is a free one unless given.
    """
    env = {**environment, "PORT": str(free_port()), **more}
    Path(env["LANEWAY_HOME"]).mkdir(parents=True, exist_ok=True)
    home = Path(env["LANEWAY_HOME"])
    out = home / f"up-{env['PORT']}.txt"
    with out.open("wb") as file:
        process = subprocess.Popen((*MANAGE, "up", *arguments), env=env, stdout=file, stderr=file)
    running = Started(process, out, env)
    try:
        for _ in range(UP_WITHIN_S * 10):
            if "Ctrl-C ends everything." in running.text:
                break
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
                raise AssertionError(f"up ended with {process.returncode}:\n{running.text}")
        else:
            raise AssertionError(f"up is not up after {UP_WITHIN_S} s:\n{running.text}")
        yield running
    finally:
        if process.poll() is None:
            running.end()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
