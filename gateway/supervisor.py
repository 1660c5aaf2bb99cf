"""Child processes that live and die together.  Knows processes, and nothing of what they do.

A child that ends takes the others with it, unless it is one that is started again.  All of them
end when asked, each with what it started; and they end when this process is killed.
"""

import asyncio
import ctypes
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

PR_SET_PDEATHSIG = 1  # linux/prctl.h
FIRST_BACKOFF_S, LAST_BACKOFF_S = 1.0, 60.0
LOG_BYTES = 5_000_000  # a log over this is put aside at the next start
SHOWN_LINES = 12


@dataclass(frozen=True)
class Child:
    name: str
    command: Sequence[str]
    _: KW_ONLY
    patience_s: float = 2.0  # from the request to end to the kill
    work_s: float = 0.0  # before that, to finish what it is at, where there is time for it
    restarts: bool = False


class Died(Exception):
    """A child ended that should not have."""

    def __init__(self, child: Child, code: int, log: Path) -> None:
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        with log.open(errors="replace") as file:
            last = deque(file, SHOWN_LINES)
        told = "".join(f"  {child.name} | {line.rstrip()}\n" for line in last)
        super().__init__(f"{child.name} {how}, so everything was stopped. From {log}:\n{told}")


class Supervisor:
    """``async with Supervisor(…)``: start children inside, ``watch`` them; leaving ends them all,
    the youngest first."""

    def __init__(self, logs: Path, folder: Path, say: Callable[[str], None] = print) -> None:
        self._logs = logs
        self._folder = folder
        self._say = say
        self._kept: list[tuple[Child, asyncio.Task[None]]] = []
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._in_haste = asyncio.Event()
        self._in_haste.set()

    def take_time(self) -> None:
        """Let children finish what they are at when they are ended."""
        self._in_haste.clear()

    def hurry(self) -> None:
        """Do not, or no longer."""
        self._in_haste.set()

    async def __aenter__(self) -> Self:
        self._logs.mkdir(exist_ok=True)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for child, task in reversed(self._kept):
            task.cancel()
            await asyncio.wait([task])
            await self._end(child)

    async def start(self, child: Child) -> None:
        log = self.log_of(child)
        if log.exists() and log.stat().st_size > LOG_BYTES:
            log.rename(log.with_suffix(".log.1"))
        await self._spawn(child)
        self._kept.append((child, asyncio.create_task(self._keep(child))))

    async def watch(self) -> None:
        """Wait until a child ends for good.

        Raises:
            Died: which one, how, and the end of its log.
        """
        tasks = [task for _, task in self._kept]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    def log_of(self, child: Child) -> Path:
        return self._logs / f"{child.name}.log"

    async def _keep(self, child: Child) -> None:
        loop = asyncio.get_running_loop()
        backoff_s = FIRST_BACKOFF_S
        while True:
            started_at = loop.time()
            code = await self._processes[child.name].wait()
            if not child.restarts:
                raise Died(child, code, self.log_of(child))
            _signal_group(self._processes[child.name].pid, signal.SIGKILL)
            if loop.time() - started_at > LAST_BACKOFF_S:
                backoff_s = FIRST_BACKOFF_S
            self._say(f"{child.name} ended with {code}; starting it again in {backoff_s:g} s.")
            await asyncio.sleep(backoff_s)
            backoff_s = min(LAST_BACKOFF_S, backoff_s * 2)
            await self._spawn(child)

    async def _spawn(self, child: Child) -> None:
        with self.log_of(child).open("ab") as log:
            self._processes[child.name] = await asyncio.create_subprocess_exec(
                *child.command,
                cwd=self._folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal reaches this process alone
                preexec_fn=_end_with_parent(os.getpid()),
            )

    async def _end(self, child: Child) -> None:
        process = self._processes[child.name]
        if process.returncode is None:
            _signal_group(process.pid, signal.SIGTERM)
            ending = asyncio.create_task(process.wait())
            haste = asyncio.create_task(self._in_haste.wait())
            either = asyncio.FIRST_COMPLETED
            await asyncio.wait((ending, haste), timeout=child.work_s, return_when=either)
            haste.cancel()
            try:
                await asyncio.wait_for(ending, child.patience_s)
            except TimeoutError:
                self._say(f"{child.name} did not end within {child.patience_s:g} s; killing it.")
        _signal_group(process.pid, signal.SIGKILL)  # it, if it stayed; else what it left behind
        await process.wait()


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, number)


def _end_with_parent(parent: int) -> Callable[[], None] | None:
    """What a new child runs before its program: from then on it ends when ``parent`` does."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def before_exec() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died in between
            os._exit(1)

    return before_exec
