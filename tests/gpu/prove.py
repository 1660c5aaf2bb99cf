#!/usr/bin/env python3
"""Prove Laneway on a GPU: start vLLM and the gateway, load both, write records and figures.

    prove.py --model FOLDER --out DIR                       starts vLLM itself
    prove.py --vllm-url http://127.0.0.1:8100 --out DIR     uses one that runs (nothing else may)

README.md says what is measured.  report.py makes tables and plots from what this writes.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from importlib import metadata
from pathlib import Path
from typing import Any

import serve
from experiments import EXPERIMENTS
from laneway import ROOT, Laneway
from rig import Rig

try:
    from uvloop import run as run_loop
except ImportError:
    run_loop = asyncio.run  # slower by half, and that is all


def main() -> None:
    given = arguments()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    given.out.mkdir(parents=True, exist_ok=True)
    url, pid, server = given.vllm_url, given.vllm_pid, None
    if not url:
        server = serve.start(given.model, 8100, given.out / "vllm.log", given.vllm_options)
        url, pid = "http://127.0.0.1:8100", server.pid
    home = given.home or Path(tempfile.mkdtemp(prefix="laneway-proof-"))
    laneway = Laneway(home, url, given.port, given.patch)
    rig = Rig(given.out, url, pid, laneway, given.label)
    begun = time.perf_counter()
    try:
        note(given.out, url, given.label)
        rig.cold()
        for repeat in range(given.first_repeat, given.first_repeat + given.repeats):
            for name in given.experiments:
                if time.perf_counter() - begun > given.at_most_s:
                    print(f"left out for lack of time: {name}, repeat {repeat}")
                    continue
                gc.collect()
                gc.freeze()
                run_loop(EXPERIMENTS[name](rig, repeat, given.scale))
                print(f"# {name} {repeat} ended at {time.perf_counter() - begun:.0f} s", flush=True)
    finally:
        rig.stop_watching()
        laneway.stop()
        if server:
            server.terminate()
        shutil.copy(home / "server.log", given.out / "laneway.log")
        if not given.home:
            shutil.rmtree(home, ignore_errors=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--model", help="a folder that make_model.py made, or a real model")
    add("--vllm-url", default="", help="a vLLM that runs; nobody else may use it")
    add("--vllm-pid", type=int, default=0, help="its process, to count its CPU time")
    add("--out", type=Path, required=True)
    add("--experiments", nargs="+", choices=list(EXPERIMENTS), default=list(EXPERIMENTS))
    add("--repeats", type=int, default=3)
    add("--first-repeat", type=int, default=0, help="goes on where an earlier call ended")
    add("--scale", type=float, default=1.0, help="under 1: less of everything, to try it out")
    add("--at-most-s", type=float, default=1e9, help="begin no experiment after so long")
    add("--label", default="shipped", help="names this gateway, where several are compared")
    add("--port", type=int, default=8200, help="for the gateway")
    add("--home", type=Path, help="the gateway's data folder; kept")
    add("--patch", type=Path, help="Python run in the gateway first: a change to be tried out")
    add("--vllm-options", nargs=argparse.REMAINDER, default=[], help="last; passed on")
    given = parser.parse_args()
    if not given.model and not given.vllm_url:
        parser.error("--model or --vllm-url is needed")
    return given


def note(out: Path, url: str, label: str) -> None:
    """Machine, versions, command and date."""
    known: dict[str, Any] = {
        "at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "command": " ".join(sys.argv),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "laneway": commit(),
        "gateway": label,
        "versions": {},
    }
    for package in ("vllm", "torch", "transformers", "uvicorn", "uvloop", "httptools", "django"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            known["versions"][package] = metadata.version(package)
    if shutil.which("nvidia-smi"):
        asked = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv"]
        known["gpu"] = subprocess.run(asked, capture_output=True, text=True).stdout.split("\n")[1]
    with contextlib.suppress(OSError, ValueError):
        with urllib.request.urlopen(f"{url}/version", timeout=5) as reply:
            known["vllm"] = json.load(reply)["version"]
    with (out / "machine.jsonl").open("a") as file:
        file.write(json.dumps(known) + "\n")


def commit() -> str:
    told = ROOT / "COMMIT"  # where there is no git
    if told.exists():
        return told.read_text().strip()
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    return subprocess.run(words, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
