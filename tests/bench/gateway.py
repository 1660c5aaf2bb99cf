#!/usr/bin/env python3
"""Measure Laneway under Daphne and under uvicorn, beside the floor: what ``make bench`` runs.

    gateway.py                 five rounds, a storm of 10,000 hang-ups, the overload; some ten minutes
    gateway.py --smoke         a few seconds of each, nothing kept: does the kit still run?

Both servers run ``dashboard.asgi``, each on a data folder of its own under a temporary one, with
the kit's upstream as their only backend.  Writes docs/bench/gateway.md and gateway.json.
"""

import argparse
import contextlib
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import laneway
import report

HERE = Path(__file__).resolve().parent
DOCS = laneway.ROOT / "docs" / "bench"
SLOTS = 4096  # more than there are streams: the queue is passed through, nobody waits
STORM_SLOTS = 256  # fewer than the storm's probe of 512, so that a lost slot shows
SERVERS = ("daphne", "uvicorn")


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="laneway-bench-") as folder:
        homes, key = prepare_homes(Path(folder), options)
        result = run_kit(options, homes, key, Path(folder) / "loads.json", *load_flags(options))
        if options.storm:
            for home in homes.values():
                laneway.configure(home, upstream(options), STORM_SLOTS)
            storm = ["--phases", "--rounds", 1, "--storm", options.storm]
            stormed = run_kit(options, homes, key, Path(folder) / "storm.json", *storm)
            for name in SERVERS:
                result["summary"][name] |= stormed["summary"][name]
    overload = None if options.no_overload else run_overload(options)
    text = report.markdown(result, time.strftime("%Y-%m-%d", time.gmtime()), overload)
    if options.smoke:
        print(text)
        return
    options.docs.mkdir(parents=True, exist_ok=True)
    (options.docs / "gateway.md").write_text(text)
    (options.docs / "gateway.json").write_text(json.dumps(result | {"overload": overload}) + "\n")
    print(f"written: {options.docs / 'gateway.md'} and gateway.json")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--rounds", type=int, default=5)
    add("--seconds", type=float, default=5.0, help="of each load (default: %(default)s)")
    add("--streams", type=int, default=200)
    add("--storm", type=int, default=10_000, help="clients that hang up; 0: no storm")
    add("--port", type=int, default=9000, help="first of five in a row that must be free")
    add("--no-overload", action="store_true")
    add("--smoke", action="store_true")
    add("--docs", type=Path, default=DOCS)
    options = parser.parse_args()
    if options.smoke:
        options.rounds, options.seconds, options.streams, options.storm = 1, 1.0, 20, 200
    return options


def upstream(options: argparse.Namespace) -> str:
    return f"http://127.0.0.1:{options.port}"


def prepare_homes(folder: Path, options: argparse.Namespace) -> tuple[dict[str, Path], str]:
    """A data folder a server, alike to the key: one is made, the others are copies."""
    first, *others = SERVERS
    homes = {name: folder / name for name in SERVERS}
    key = laneway.prepare(homes[first], upstream(options), SLOTS)
    for name in others:
        shutil.copytree(homes[first], homes[name])
    return homes, key


def load_flags(options: argparse.Namespace) -> list[object]:
    flags = {"rounds": options.rounds, "seconds": options.seconds, "streams": options.streams}
    return [word for name, value in flags.items() for word in (f"--{name}", value)]


def run_kit(
    options: argparse.Namespace, homes: dict[str, Path], key: str, out: Path, *flags: object
) -> dict[str, Any]:
    """Call run.py with both servers as targets, and return what it wrote."""
    words: list[object] = [sys.executable, HERE / "run.py", "--key", key, "--out", out]
    words += ["--upstream-port", options.port]
    for n, name in enumerate(SERVERS, start=3):  # the ports between are the yardsticks'
        port = options.port + n
        command = shlex.join(laneway.server(name, homes[name], port))
        words += ["--target", f"{name} http://127.0.0.1:{port} {command}"]
    run([*words, *flags])
    result: dict[str, Any] = json.loads(out.read_text())
    return result


def run_overload(options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "overload.json"
        run([sys.executable, HERE / "overload.py", "--out", out, *["--smoke"] * options.smoke])
        result: dict[str, Any] = json.loads(out.read_text())
        return result


def run(words: list[object]) -> None:
    """Run a part of the kit to its end; Ctrl-C reaches it too, and it ends what it started."""
    with subprocess.Popen([str(word) for word in words]) as process:
        try:
            status = process.wait()
        except KeyboardInterrupt:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            sys.exit(130)
    if status:
        sys.exit(status)


if __name__ == "__main__":
    main()
