"""What watchers cost: live pages on one site, each reading and answering a frame a second.

    python -m tests.bench.watchers                  # 200 pages, a minute or two; writes docs/bench/watchers.md
    python -m tests.bench.watchers --watchers 50

The site is ``tests.support.live_site`` under Daphne: the real consumers, sessions and channel
layer, made-up frames of fifty waiting rows.  What the site does without watchers is measured
first and taken off.  Then one page connects that never reads: memory must not follow it.
Times are of the processor, so a busy machine moves them little.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from websockets.asyncio.client import ClientConnection, connect

from tests.bench import machine
from tests.support.started_site import ROOT, Site, site

A_PERSON = 10  # sockets that one may have open
STALL_S = 45
SESSIONS = """
from tests.support.people import person, signed_in
for n in range({people}):
    print("session", signed_in(person(f"watcher-{{n}}", "viewer")))
"""


class Use(NamedTuple):
    """What the server used over a time."""

    cpu_ms_per_s: float
    memory_mb: float


async def used(pids: list[int], seconds: float) -> Use:
    (before, _), began = machine.cpu_s(pids), time.perf_counter()
    await asyncio.sleep(seconds)
    cpu_s = machine.cpu_s(pids)[0] - before
    return Use(1000 * cpu_s / (time.perf_counter() - began), machine.memory_kb(pids) / 1000)


async def watch(page: ClientConnection, late_ms: list[float], sizes: list[int]) -> None:
    """As static/js/live.js does: answer each frame."""
    async for text in page:
        if text.startswith('{"k":"snap"'):
            frame = json.loads(text)
            late_ms.append(1000 * (time.time() - frame["at"]))
            sizes.append(len(text))
            await page.send(json.dumps({"k": "ack", "seq": frame["seq"]}))


def open_page(started: Site, session: str, **options: object) -> connect:
    address = f"ws://127.0.0.1:{started.port}/ws/live/"
    headers = {"Cookie": f"sessionid={session}", "Origin": started.url}
    return connect(address, additional_headers=headers, compression=None, **options)


async def measure(started: Site, sessions: list[str], count: int, seconds: float) -> dict:
    pids = machine.listeners(started.port)
    await asyncio.sleep(3)
    alone = await used(pids, seconds)
    late_ms: list[float] = []
    sizes: list[int] = []
    pages = [await open_page(started, sessions[n // A_PERSON]) for n in range(count)]
    readers = [asyncio.create_task(watch(page, late_ms, sizes)) for page in pages]
    await asyncio.sleep(5)  # histories are sent
    late_ms.clear()
    sizes.clear()
    full = await used(pids, seconds)
    gone = [reader for reader in readers if reader.done()]
    if gone:
        raise SystemExit(f"{len(gone)} of {count} pages were closed: {gone[0].exception()}")
    came, late = len(late_ms) / seconds, sorted(late_ms)
    stalled = await open_page(started, sessions[-1], max_queue=1)
    stalled.transport.pause_reading()
    beside = await used(pids, STALL_S)
    for reader in readers:
        reader.cancel()
    return {
        "watchers": count,
        "frames_per_s": round(came, 1),
        "frame_bytes": round(statistics.mean(sizes)),
        "cpu_ms_per_s_alone": round(alone.cpu_ms_per_s, 1),
        "cpu_ms_per_s": round(full.cpu_ms_per_s, 1),
        "cpu_ms_a_frame": round((full.cpu_ms_per_s - alone.cpu_ms_per_s) / came, 3),
        "late_ms_p50": round(late[len(late) // 2], 1),
        "late_ms_p99": round(late[int(0.99 * len(late))], 1),
        "kb_a_watcher": round(1000 * (full.memory_mb - alone.memory_mb) / count, 1),
        "memory_mb_before_stall": round(full.memory_mb, 1),
        "memory_mb_after_stall": round(beside.memory_mb, 1),
    }


def report(found: dict) -> str:
    return f"""# What watchers cost

Written by `python -m tests.bench.watchers`: {found["watchers"]} live pages on one process under Daphne, each reading and
answering a frame a second. A tick is encoded once, whoever watches; what is left is the channel layer, the socket and, every
10 s, the question whether the person may still watch.

| | |
|---|--:|
| frames delivered a second | {found["frames_per_s"]} |
| bytes a frame, 50 waiting rows | {found["frame_bytes"]} |
| CPU of the site without watchers, ms/s | {found["cpu_ms_per_s_alone"]} |
| CPU with {found["watchers"]} watchers, ms/s (1000 is one core) | {found["cpu_ms_per_s"]} |
| CPU a frame and watcher, ms | {found["cpu_ms_a_frame"]} |
| from the frame's making to the page, p50 / p99, ms | {found["late_ms_p50"]} / {found["late_ms_p99"]} |
| memory a watcher, kB | {found["kb_a_watcher"]} |
| memory before / after one page read nothing for {STALL_S} s, MB | {found["memory_mb_before_stall"]} / {found["memory_mb_after_stall"]} |

Machine: {", ".join(f"{name} {value}" for name, value in machine.describe().items())}. The generator ran on the same cores, so the delays are upper bounds; CPU is the server's alone.
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--watchers", type=int, default=200)
    arguments.add_argument("--seconds", type=float, default=20)
    arguments.add_argument("--out", type=Path, default=ROOT / "docs/bench/watchers.md")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        started = site(Path(folder) / "home")
        started.prepare()
        people = -(-options.watchers // A_PERSON) + 1
        line = [sys.executable, "manage.py", "shell", "-c", SESSIONS.format(people=people)]
        told = subprocess.run(
            line, cwd=ROOT, env=started.environment, check=True, capture_output=True, text=True
        ).stdout
        sessions = [row.split()[1] for row in told.splitlines() if row.startswith("session ")]
        started.play("busy")
        started.start()
        try:
            found = asyncio.run(measure(started, sessions, options.watchers, options.seconds))
        finally:
            started.stop()
    options.out.write_text(report(found))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
