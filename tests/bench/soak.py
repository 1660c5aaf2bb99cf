#!/usr/bin/env python3
"""Does a started Laneway grow or lose slots while it works?  What ``make soak`` runs.

    soak.py                        an hour at 6 requests a second, every tenth caller hangs up
    soak.py --seconds 180 --out soak.json

Starts ``manage.py up`` on a data folder of its own, simulated vLLM included, and the load
generator; reads each process's resident memory and open files all the while, and at the end, with
nobody asking, the slots still taken.  A slope is fitted to the memory after a warm-up: imports,
caches and SQLite's pages grow at first and then no more.  Exit status 1 if a slot is left taken, a
request waits for ever, or a process died; the slope is for people to judge.
"""

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

import laneway
import machine
from overload import answers

WARM_UP_SHARE = 0.25
READINGS = 360
QUIET_WITHIN_S = 90.0
NAMES = ("simvllm", "celery", "daphne", "uvicorn", "loadgen")  # as they stand in a command line
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


class Reading(NamedTuple):
    at_s: float
    mb: float
    files: int


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="laneway-soak-") as name:
        with contextlib.ExitStack() as cleanup:
            soak = run(options, Path(name), cleanup)
    print(markdown(soak))
    if options.out:
        options.out.write_text(json.dumps(soak) + "\n")
    sys.exit(bool(soak["slots_taken"] or soak["waiting"] or soak["died"]))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--seconds", type=float, default=3600.0, help="of load (default: %(default)s)")
    add("--rate", type=float, default=6.0, help="requests a second (default: %(default)s)")
    add("--hang-up-share", type=float, default=0.1, help="default: %(default)s")
    add("--server", choices=sorted(laneway.SERVERS), default="uvicorn")
    add("--port", type=int, default=9200)
    add("--out", type=Path, help="all readings, as JSON")
    return parser.parse_args()


def run(options: argparse.Namespace, folder: Path, cleanup: contextlib.ExitStack) -> dict[str, Any]:
    log = cleanup.enter_context((folder / "log").open("w"))
    up = ["env", "-u", "VLLM_URL", f"PORT={options.port}"]
    up += laneway.words(folder, "manage.py", "up", "--server", options.server)
    site = subprocess.Popen(up, stdout=log, stderr=log, start_new_session=True)
    cleanup.callback(machine.stop, site)
    if not ready(options.port):
        sys.exit(f"Laneway did not start:\n{(folder / 'log').read_text()[-3000:]}")
    key = laneway.manage(folder, "issuekey", "default", "--name", "soak").split()[-1]
    if not answers(options.port, "/v1/models", key):
        sys.exit("the gateway does not offer a model")
    said = laneway.words(folder, "manage.py", "loadgen", "--json", "--key", key)
    said += ["--url", f"http://127.0.0.1:{options.port}", "--rate", str(options.rate)]
    said += ["--duration", str(options.seconds), "--hang-up-share", str(options.hang_up_share)]
    load = subprocess.Popen(said, stdout=subprocess.PIPE, stderr=log, start_new_session=True)
    cleanup.callback(machine.stop, load)
    readings = watch(site, load, options.seconds / READINGS)
    told = json.loads(load.communicate()[0] or "{}")
    taken, waiting = left_over(options.port)
    database = sum(file.stat().st_size for file in folder.glob("laneway.sqlite3*"))
    return {
        "seconds": options.seconds,
        "rate": options.rate,
        "server": options.server,
        "machine": machine.describe(),
        "processes": {name: judged(found, options.seconds) for name, found in readings.items()},
        "readings": readings,
        "died": sorted(set(NAMES) & set(readings) - running(site.pid).keys() - {"loadgen"}),
        "slots_taken": taken,
        "waiting": waiting,
        "database_mb": database / 2**20,
        "outcomes": outcomes(told),
    }


def ready(port: int, patience_s: float = 60.0) -> bool:
    end = time.perf_counter() + patience_s
    while time.perf_counter() < end:
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return True
        time.sleep(0.5)
    return False


def watch(
    site: subprocess.Popen[bytes], load: subprocess.Popen[bytes], every_s: float
) -> dict[str, list[Reading]]:
    """Read all processes until the load generator ends."""
    began = time.perf_counter()
    readings: dict[str, list[Reading]] = {}
    while load.poll() is None:
        for name, pid in {**running(site.pid), "up": site.pid, "loadgen": load.pid}.items():
            with contextlib.suppress(OSError):
                readings.setdefault(name, []).append(read(pid, time.perf_counter() - began))
        time.sleep(max(0.5, every_s))
    return readings


def running(parent: int) -> dict[str, int]:
    """The children of ``manage.py up``, by name."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            if int(folder.joinpath("stat").read_text().rsplit(")", 1)[1].split()[1]) == parent:
                words = folder.joinpath("cmdline").read_text().split("\0")
                found[next((n for n in NAMES if n in words), "other")] = int(folder.name)
    return found


def read(pid: int, at_s: float) -> Reading:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return Reading(round(at_s, 1), round(pages * PAGE_MB, 2), len(os.listdir(f"/proc/{pid}/fd")))


def judged(readings: list[Reading], seconds: float) -> dict[str, float]:
    settled = [one for one in readings if one.at_s >= WARM_UP_SHARE * seconds] or readings
    return {
        "first_mb": readings[0].mb,
        "settled_mb": settled[0].mb,
        "last_mb": readings[-1].mb,
        "most_mb": max(one.mb for one in readings),
        "mb_an_hour": slope([one.at_s for one in settled], [one.mb for one in settled]) * 3600,
        "first_files": settled[0].files,
        "last_files": readings[-1].files,
    }


def slope(xs: list[float], ys: list[float]) -> float:
    """Least squares; 0.0 for fewer than two moments."""
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((one - x) ** 2 for one in xs)
    return sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / spread if spread else 0.0


def left_over(port: int) -> tuple[float, float]:
    """Slots taken and requests waiting, once nobody asks any more: what is still there then."""
    end = time.perf_counter() + QUIET_WITHIN_S
    while True:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
            text = reply.read().decode()
        taken, waiting = (
            sum(map(float, re.findall(rf"^{name}\{{.*\}} (\S+)$", text, re.M)))
            for name in ("laneway_slots_taken", "laneway_num_requests_waiting")
        )
        if not taken + waiting or time.perf_counter() > end:
            return taken, waiting
        time.sleep(1)


def outcomes(told: dict[str, Any]) -> dict[str, int]:
    tiers = told.get("tiers", {}).values()
    plain = {n: sum(tier[n] for tier in tiers) for n in ("sent", "ok", "hung_up", "unfinished")}
    lost = {n: sum(sum(tier[n].values()) for tier in tiers) for n in ("refused", "failed")}
    return plain | lost


def markdown(soak: dict[str, Any]) -> str:
    counted = ", ".join(f"{count:,} {name}" for name, count in soak["outcomes"].items())
    lines = [
        f"{soak['seconds']:.0f} s at {soak['rate']:g} requests/s, {soak['server']}: {counted}.",
        f"Slots left taken {soak['slots_taken']:.0f}, left waiting {soak['waiting']:.0f}; "
        f"died: {', '.join(soak['died']) or 'none'}; database {soak['database_mb']:.1f} MiB.",
        "",
        "| process | first MiB | after warm-up | last | most | slope, MiB/h | open files |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, one in soak["processes"].items():
        sizes = " | ".join(f"{one[f'{n}_mb']:.1f}" for n in ("first", "settled", "last", "most"))
        files = f"{one['first_files']:.0f} → {one['last_files']:.0f}"
        lines.append(f"| {name} | {sizes} | {one['mb_an_hour']:+.1f} | {files} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
