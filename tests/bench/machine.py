"""What the kit asks of Linux: who listens on a port, CPU and memory of processes, pinning, facts.

Linux only (``/proc``); nothing in here knows what is being measured.
"""

import contextlib
import glob
import importlib.metadata
import itertools
import os
import platform
import re
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

PACKAGES = ("daphne", "uvicorn", "uvloop", "httptools", "django", "msgspec")


def listeners(port: int) -> list[int]:
    """The processes that hold a socket listening on this port."""
    tables = [Path(f"/proc/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    rows = [row.split() for row in itertools.chain(*tables)]
    listening = "0A"
    sockets = {
        f"socket:[{row[9]}]"
        for row in rows
        if row[3] == listening and int(row[1].rsplit(":", 1)[1], 16) == port
    }
    found = set()
    for link in glob.glob("/proc/[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if os.readlink(link) in sockets:
                found.add(int(link.split("/")[2]))
    return sorted(found)


def cpu_s(pids: Iterable[int]) -> tuple[float, float]:
    """CPU time these processes have used, and time they stood ready without a CPU."""
    used_ns = waited_ns = 0
    for file in [file for pid in pids for file in glob.glob(f"/proc/{pid}/task/*/schedstat")]:
        with contextlib.suppress(OSError):
            ran, stood, _ = Path(file).read_text().split()
            used_ns, waited_ns = used_ns + int(ran), waited_ns + int(stood)
    return used_ns / 1e9, waited_ns / 1e9


def memory_kb(pids: Iterable[int]) -> int:
    """Proportional set size: pages shared with others count by their share."""
    total = 0
    for pid in pids:
        found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
        total += int(found[1]) if found else 0
    return total


def pin(pids: Iterable[int], cpus: set[int]) -> None:
    for task in [task for pid in pids for task in glob.glob(f"/proc/{pid}/task/*")]:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(int(task.split("/")[-1]), cpus)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and its group, which must be its own: what this run started, nothing else."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, number)
            process.wait(5)


def speed_on(cpu: int) -> float:
    """Seconds of CPU that a fixed piece of work takes there, the best of three."""
    before, times = os.sched_getaffinity(0), [time.thread_time()]
    os.sched_setaffinity(0, {cpu})
    for _ in range(3):
        sum(i * i for i in range(70_000))
        times.append(time.thread_time())
    os.sched_setaffinity(0, before)
    return min(later - earlier for earlier, later in itertools.pairwise(times))


def describe() -> dict[str, str]:
    """What a reader needs to know of the machine to judge a figure."""
    model = re.search(r"^model name\s*: (.+)", Path("/proc/cpuinfo").read_text(), re.M)
    memory = re.search(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(), re.M)
    facts = {
        "cpu": model[1] if model else platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{int(memory[1]) / 2**20:.1f} GiB" if memory else "unknown",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            facts[package] = importlib.metadata.version(package)
    return facts
