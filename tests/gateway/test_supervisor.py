"""Child processes that live and die together.  Real ones: small Python programs."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from gateway.supervisor import Child, Died, Supervisor

SLEEP = "import time; print('up', flush=True); time.sleep(600)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEP
WITH_CHILD = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {DEAF!r}]); " + SLEEP


def python(name: str, program: str, **how) -> Child:
    return Child(name, (sys.executable, "-c", program), **how)


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.02)


def says_up(logs: Path, name: str, times: int = 1) -> bool:
    log = logs / f"{name}.log"
    return log.exists() and log.read_text().count("up") >= times


def alive(*pids: int) -> list[int]:
    return [pid for pid in pids if psutil.pid_exists(pid) and _status(pid) != "zombie"]


def _status(pid: int) -> str:
    try:
        return psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return "zombie"


def started() -> list[int]:
    return [process.pid for process in psutil.Process().children(recursive=True)]


@pytest.fixture
def supervisor(tmp_path) -> Supervisor:
    return Supervisor(tmp_path / "logs", tmp_path, say=lambda line: None)


@pytest.fixture
def logs(tmp_path) -> Path:
    return tmp_path / "logs"


async def test_leaving_ends_all_children_the_youngest_first(supervisor, logs, tmp_path):
    order = tmp_path / "order"
    noting = (
        "import signal, sys, time\n"
        f"def end(*_): open({str(order)!r}, 'a').write(sys.argv[1]); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end); print('up', flush=True); time.sleep(600)"
    )

    async with supervisor:
        for name in "abc":
            await supervisor.start(Child(name, (sys.executable, "-c", noting, name)))
        await until(lambda: all(says_up(logs, name) for name in "abc"))
        pids = started()

    assert order.read_text() == "cba"
    assert not alive(*pids)


async def test_a_child_that_does_not_listen_is_killed_with_what_it_started(supervisor, logs):
    async with supervisor:
        await supervisor.start(python("deaf", WITH_CHILD, patience_s=0.2))
        await until(lambda: says_up(logs, "deaf", times=2))
        pids = started()
        assert len(pids) == 2

    await until(lambda: not alive(*pids))


async def test_a_child_that_does_not_end_is_killed_and_named(tmp_path, logs):
    said: list[str] = []
    async with Supervisor(logs, tmp_path, say=said.append) as supervisor:
        await supervisor.start(python("deaf", DEAF, patience_s=0.2))
        await until(lambda: says_up(logs, "deaf"))

    assert said == ["deaf did not end within 0.2 s; killing it."]
    assert not started()


BUSY = (
    "import pathlib, signal, sys, time\n"
    "def end(*_):\n"
    "    print('up', flush=True)\n"
    "    while not pathlib.Path('work done').exists(): time.sleep(0.02)\n"
    "    sys.exit()\n"
    "signal.signal(signal.SIGTERM, end); print('up', flush=True); time.sleep(600)"
)


@pytest.mark.parametrize("change", ["done", "hurry"])
async def test_where_there_is_time_a_child_finishes_its_work_first(tmp_path, logs, change):
    said: list[str] = []
    supervisor = Supervisor(logs, tmp_path, say=said.append)
    supervisor.take_time()

    async def leave() -> None:
        async with supervisor:
            await supervisor.start(python("busy", BUSY, patience_s=0.2, work_s=60.0))
            await until(lambda: says_up(logs, "busy"))

    leaving = asyncio.create_task(leave())
    await until(lambda: says_up(logs, "busy", times=2))  # it has been asked to end
    await asyncio.sleep(0.4)
    assert not leaving.done()
    if change == "done":
        (tmp_path / "work done").touch()
    else:
        supervisor.hurry()
    await asyncio.wait_for(leaving, 10)

    killed = ["busy did not end within 0.2 s; killing it."]
    assert said == {"done": [], "hurry": killed}[change]
    assert not started()


async def test_a_child_that_dies_is_named_with_the_end_of_its_log(supervisor, logs):
    async with supervisor:
        await supervisor.start(python("steady", SLEEP))
        await supervisor.start(python("broken", "print('no such table'); raise SystemExit(3)"))

        with pytest.raises(Died) as died:
            await supervisor.watch()

    assert "broken ended with 3" in str(died.value)
    assert "  broken | no such table" in str(died.value)
    assert str(logs / "broken.log") in str(died.value)


async def test_a_child_that_was_killed_is_named_with_the_signal(supervisor, logs):
    async with supervisor:
        await supervisor.start(python("steady", SLEEP))
        await until(lambda: says_up(logs, "steady"))
        os.kill(started()[0], signal.SIGKILL)

        with pytest.raises(Died, match="steady was killed by SIGKILL"):
            await supervisor.watch()


async def test_a_child_that_may_restart_is_started_again(tmp_path, logs, monkeypatch):
    monkeypatch.setattr("gateway.supervisor.FIRST_BACKOFF_S", 0.05)
    said: list[str] = []
    supervisor = Supervisor(logs, tmp_path, said.append)

    async with supervisor:
        await supervisor.start(python("worker", "print('up')", restarts=True))
        await until(lambda: says_up(logs, "worker", times=3))

    assert said[:2] == [
        "worker ended with 0; starting it again in 0.05 s.",
        "worker ended with 0; starting it again in 0.1 s.",
    ]


async def test_ctrl_c_reaches_the_parent_alone(supervisor, logs):
    async with supervisor:
        await supervisor.start(python("steady", SLEEP))
        await until(lambda: says_up(logs, "steady"))

        assert os.getpgid(started()[0]) != os.getpgid(0)


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
async def test_children_end_when_their_parent_is_killed(logs, tmp_path):
    parent = (
        "import asyncio, pathlib\n"
        "from gateway.supervisor import Child, Supervisor\n"
        "async def main():\n"
        f"    async with Supervisor(pathlib.Path({str(logs)!r}), pathlib.Path('.')) as s:\n"
        f"        await s.start(Child('steady', ({sys.executable!r}, '-c', {SLEEP!r})))\n"
        "        await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", parent)
    await until(lambda: says_up(logs, "steady"))
    children = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]

    process.kill()
    await process.wait()

    assert len(children) == 1
    await until(lambda: not alive(*children))


async def test_a_log_that_has_grown_is_put_aside(supervisor, logs, monkeypatch):
    monkeypatch.setattr("gateway.supervisor.LOG_BYTES", 10)
    logs.mkdir()
    (logs / "steady.log").write_text("x" * 11)

    async with supervisor:
        await supervisor.start(python("steady", SLEEP))
        await until(lambda: says_up(logs, "steady"))

    assert (logs / "steady.log.1").read_text() == "x" * 11
    assert (logs / "steady.log").read_text() == "up\n"
