#!/usr/bin/env python3
"""Does a started Laneway grow or lose slots while it works?  What ``make soak`` runs.

    soak.py                        an hour at 6 requests a second, every tenth caller hangs up
    soak.py --seconds 180 --out /tmp/soak

Starts ``manage.py up`` on a data folder of its own, simulated vLLM included, the load generator,
and a person who keeps opening the live page, watches it for ten seconds and leaves; reads each process's resident memory, open files and processor time all the while, says
once a minute where it stands, and at the end, with nobody asking, counts the slots still taken.  A
slope is fitted to the memory after a warm-up: imports, caches and SQLite's pages grow at first and
then no more.  Exit status 1 if a slot is left taken, a request waits for ever, or a process died;
the slope is for people to judge.

It runs this working tree's code and wants it left alone meanwhile; other work on the machine costs
it nothing but time.  Broken off by Ctrl-C it reports what it has.
"""

import argparse
import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

import laneway
import machine
from overload import answers
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

WARM_UP_SHARE = 0.25
READINGS = 360
QUIET_WITHIN_S = 90.0
NAMES = ("simvllm", "celery", "daphne", "uvicorn", "loadgen")  # as they stand in a command line
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
SAID_EVERY_S = 60.0
VISIT_S = 10.0
SESSION = """
from tests.support.people import person, signed_in
print(signed_in(person("soak", "viewer")))
"""


class Reading(NamedTuple):
    at_s: float
    mb: float
    files: int
    cpu_s: float  # of its whole life, ended threads included


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="laneway-soak-") as name:
        with contextlib.ExitStack() as cleanup:
            soak = run(options, Path(name), cleanup)
    text = markdown(soak)
    print(text)
    options.out.with_suffix(".md").write_text(text + "\n")
    options.out.with_suffix(".json").write_text(json.dumps(soak) + "\n")
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
    add("--out", type=Path, default=laneway.ROOT / "docs/bench/soak", help="for .md and .json")
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
    visits = Visits(options.port, folder)
    visits.start()
    readings = watch(site, load, options.seconds)
    visits.over.set()
    visits.join()
    died = {n for n in readings if n in NAMES} - running(site.pid).keys() - {"loadgen"}
    died |= {"up"} if site.poll() is not None else set()
    died |= {"loadgen"} if load.poll() not in (None, 0) else set()
    if load.poll() is None:
        load.send_signal(signal.SIGINT)  # it says what it has seen by now
    told = json.loads(load.communicate()[0] or "{}")
    taken, waiting = left_over(options.port) if not died else (None, None)
    database = sum(file.stat().st_size for file in folder.glob("laneway.sqlite3*"))
    return {
        "command": " ".join(["python", "tests/bench/soak.py", *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "seconds": max(found[-1].at_s for found in readings.values()),
        "rate": options.rate,
        "server": options.server,
        "machine": machine.describe(),
        "processes": {name: judged(found) for name, found in readings.items()},
        "readings": readings,
        "died": sorted(died),
        "slots_taken": taken,
        "waiting": waiting,
        "database_mb": database / 2**20,
        "outcomes": outcomes(told),
        "visits": visits.counted,
    }


class Visits(threading.Thread):
    """One page after another: the past, then frames for ten seconds, as a browser reads them."""

    def __init__(self, port: int, folder: Path) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()
        self.counted = {"pages": 0, "frames": 0, "failed": 0}
        self._host = f"127.0.0.1:{port}"
        self._cookie = f"sessionid={laneway.manage(folder, 'shell', '--no-imports', '-c', SESSION).split()[-1]}"

    def run(self) -> None:
        while not self.over.wait(1):
            try:
                self._visit()
                self.counted["pages"] += 1
            except (OSError, WebSocketException, TimeoutError, ValueError):
                self.counted["failed"] += 1

    def _visit(self) -> None:
        for path in ("/live/", "/live/history/?range=1h"):
            wanted = urllib.request.Request(
                f"http://{self._host}{path}", headers={"Cookie": self._cookie}
            )
            with urllib.request.urlopen(wanted, timeout=30) as reply:
                reply.read()
        headers = {"Cookie": self._cookie, "Origin": f"http://{self._host}"}
        with connect(f"ws://{self._host}/ws/live/", additional_headers=headers) as page:
            end = time.perf_counter() + VISIT_S
            while time.perf_counter() < end and not self.over.is_set():
                frame = json.loads(page.recv(timeout=30))
                if frame["k"] == "snap":
                    self.counted["frames"] += 1
                    page.send(json.dumps({"k": "ack", "seq": frame["seq"]}))


def ready(port: int, patience_s: float = 60.0) -> bool:
    end = time.perf_counter() + patience_s
    while time.perf_counter() < end:
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return True
        time.sleep(0.5)
    return False


def watch(
    site: subprocess.Popen[bytes], load: subprocess.Popen[bytes], seconds: float
) -> dict[str, list[Reading]]:
    """Read all processes until the load generator ends, or something else does."""
    began = said_at = time.perf_counter()
    readings: dict[str, list[Reading]] = {}
    with contextlib.suppress(KeyboardInterrupt):
        while load.poll() is None and site.poll() is None:
            now = time.perf_counter()
            for name, pid in {**running(site.pid), "up": site.pid, "loadgen": load.pid}.items():
                with contextlib.suppress(OSError):
                    readings.setdefault(name, []).append(read(pid, now - began))
            if now - said_at >= SAID_EVERY_S:
                said_at = now
                print(progress(readings, seconds), file=sys.stderr, flush=True)
            time.sleep(max(0.5, seconds / READINGS))
    return readings


def progress(readings: dict[str, list[Reading]], seconds: float) -> str:
    at_s = max(found[-1].at_s for found in readings.values())
    sizes = (f"{n} {found[-1].mb:.0f} MiB {cpu(found):.0f} %" for n, found in readings.items())
    return f"{at_s / 60:.0f} of {seconds / 60:.0f} min: " + ", ".join(sizes)


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
    process = Path(f"/proc/{pid}")
    pages = int(process.joinpath("statm").read_text().split()[1])
    after_name = process.joinpath("stat").read_text().rsplit(")", 1)[1].split()
    used_s = (int(after_name[11]) + int(after_name[12])) / TICKS_A_SECOND
    files = len(os.listdir(process / "fd"))
    return Reading(round(at_s, 1), round(pages * PAGE_MB, 2), files, used_s)


def judged(readings: list[Reading]) -> dict[str, float]:
    warm_s = WARM_UP_SHARE * readings[-1].at_s
    settled = [one for one in readings if one.at_s >= warm_s] or readings
    middle = len(settled) // 2
    return {
        "first_mb": readings[0].mb,
        "settled_mb": settled[0].mb,
        "last_mb": readings[-1].mb,
        "most_mb": max(one.mb for one in readings),
        "mb_an_hour": slope(settled),
        "mb_an_hour_second_half": slope(settled[middle:]),  # what still grows there will go on
        "first_files": settled[0].files,
        "last_files": readings[-1].files,
        "cpu_percent": cpu(readings),
    }


def cpu(readings: list[Reading]) -> float:
    """Of one core, between the first reading and the last."""
    first, last = readings[0], readings[-1]
    return 100 * (last.cpu_s - first.cpu_s) / max(0.1, last.at_s - first.at_s)


def slope(readings: list[Reading]) -> float:
    """MiB an hour, by least squares; 0.0 for fewer than two moments."""
    at_s, mb = [one.at_s for one in readings], [one.mb for one in readings]
    with contextlib.suppress(statistics.StatisticsError):
        return statistics.linear_regression(at_s, mb).slope * 3600
    return 0.0


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
    plain = {
        n.replace("_", " "): sum(tier[n] for tier in tiers)
        for n in ("sent", "ok", "hung_up", "unfinished")
    }
    lost = {n: sum(sum(tier[n].values()) for tier in tiers) for n in ("refused", "failed")}
    return plain | lost


def said(count: float | None) -> str:
    return "unknown" if count is None else f"{count:.0f}"


def markdown(soak: dict[str, Any]) -> str:
    counted = ", ".join(f"{count:,} {name}" for name, count in soak["outcomes"].items())
    warm = f"the first {WARM_UP_SHARE:.0%}"
    whole = sum(one["cpu_percent"] for one in soak["processes"].values())
    lines = [
        "# An hour under load" if soak["seconds"] > 3500 else "# Some time under load",
        "",
        f"Written by `{soak['command']}` on {soak['date']}: `manage.py up` with its simulated vLLM, SQLite and",
        f"Celery, {soak['seconds']:.0f} s at {soak['rate']:g} requests a second, {soak['server']}. The question: does any process grow,",
        f"is a slot lost? Slopes leave {warm} out; the last column is the second half of the rest alone.",
        "",
        f"- Requests: {counted}.",
        f"- Live pages: {', '.join(f'{count:,} {name}' for name, count in soak['visits'].items())}.",
        f"- Slots left taken, with nobody asking any more: {said(soak['slots_taken'])};"
        f" left waiting: {said(soak['waiting'])}.",
        f"- Processes that died: {', '.join(soak['died']) or 'none'}.",
        f"- The database at the end: {soak['database_mb']:.1f} MiB.",
        "",
        "| process | first MiB | warm | last | most | slope, MiB/h | its second half | open files | CPU % of a core |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, one in sorted(soak["processes"].items()):
        sizes = " | ".join(f"{one[f'{n}_mb']:.1f}" for n in ("first", "settled", "last", "most"))
        slopes = f"{one['mb_an_hour']:+.1f} | {one['mb_an_hour_second_half']:+.1f}"
        files = f"{one['first_files']:.0f} → {one['last_files']:.0f}"
        lines.append(f"| {name} | {sizes} | {slopes} | {files} | {one['cpu_percent']:.1f} |")
    facts = ", ".join(f"{name} {value}" for name, value in soak["machine"].items())
    lines += ["", f"Together {whole:.0f} % of a core. Machine, used by others too: {facts}."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
