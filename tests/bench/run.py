#!/usr/bin/env python3
"""Measure gateways beside nginx, a bare asyncio proxy and no proxy at all, as ratios of one run.

    run.py --target 'laneway http://127.0.0.1:8000' --key lw_live_...

A target's only backend must be this kit's upstream, http://127.0.0.1:9000.  README.md explains
the options and the columns; gateway.py starts Laneway and calls this.
"""

import argparse
import contextlib
import importlib.util
import json
import operator
import os
import re
import resource
import shlex
import signal
import sys
import tempfile
import urllib.parse
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import machine
from rig import COLUMNS, PHASES, Options, Rig

MOST = {
    "rounds": 20,
    "seconds": 30,
    "connections": 1024,
    "streams": 4000,
    "probe": 4000,
    "storm": 100_000,
}
LOCAL = ("127.0.0.1", "localhost")


def main() -> None:
    options, rules, out = arguments()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as cleanup:
        rig = Rig(options, Path(folder), cleanup)
        rig.set_up()
        rig.measure_all()
        summary, ranges = rig.summary()
        for target in rig.targets if options.storm else ():
            summary[target.name] |= rig.storm(target)
    show(summary, rig.fitness())
    if out:
        given = asdict(options) | {"key": "not shown"}
        document = {"machine": machine.describe(), "fitness": rig.fitness(), "options": given}
        document |= {"summary": summary, "ranges": ranges, "readings": rig.readings}
        out.write_text(json.dumps(document, indent=1) + "\n")
    broken = unmet(rules, summary, [target.name for target in rig.targets])
    for sentence in broken:
        print(sentence)
    sys.exit(bool(broken))


def arguments() -> tuple[Options, list[str], Path | None]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for option in fields(Options):
        if isinstance(option.default, str | int | float) and not isinstance(option.default, bool):
            name, kind = option.name.replace("_", "-"), type(option.default)
            parser.add_argument(f"--{name}", default=option.default, type=kind)
    given = {"action": "append", "default": [], "metavar": "'NAME URL [COMMAND]'"}
    parser.add_argument("--target", dest="targets", **given)
    parser.add_argument("--rival", dest="rivals", **given)
    parser.add_argument("--tick", action="store_true")
    parser.add_argument("--phases", nargs="*", choices=PHASES, default=PHASES)
    parser.add_argument("--cpus", type=int, nargs=3, metavar=("STACKS", "LOAD", "UPSTREAM"))
    parser.add_argument("--require", nargs="*", default=[], metavar="[TARGET:]NAME<=VALUE")
    parser.add_argument("--out", type=Path)
    words = vars(parser.parse_args())
    rules, out = words.pop("require"), words.pop("out")
    options = Options(**words)
    mine = sorted(os.sched_getaffinity(0))
    options.cpus = options.cpus or (mine[0], mine[-1], mine[len(mine) // 2])
    for name, most in MOST.items():
        setattr(options, name, min(getattr(options, name), most))
    for text in (*options.targets, *options.rivals):
        if len(shlex.split(text)) < 2:
            parser.error(f"{text!r} should be 'NAME URL' or 'NAME URL COMMAND'")
        if urllib.parse.urlsplit(shlex.split(text)[1]).hostname not in LOCAL:
            parser.error("a target must be on 127.0.0.1: its CPU and time stamps are read here")
    for rule in rules:
        if not RULE.fullmatch(rule):
            parser.error(f"{rule!r} should be NAME<=VALUE or TARGET:NAME>=VALUE")
    return options, rules, out


RULE = re.compile(r"(?:([\w.-]+):)?(\w+)(<=|>=)([\d.]+)")


def show(summary: dict[str, dict[str, Any]], fitness: dict[str, float]) -> None:
    width = max(map(len, summary)) + 1
    print(" " * width + "".join(heading.rjust(8) for heading, _ in COLUMNS.values()))
    for name, row in summary.items():
        cells = (f"{row[key]:.{n}f}" if key in row else "-" for key, (_, n) in COLUMNS.items())
        print(name.ljust(width) + "".join(cell.rjust(8) for cell in cells))
    loop = "uvloop" if importlib.util.find_spec("uvloop") else "asyncio"
    print(
        f"floor on {loop}; machine speed varied {fitness['speed_varied']:.2f}x; ready without a "
        f"CPU {fitness['ready_without_cpu']:.0%}, generator busy {fitness['generator_busy']:.0%} "
        "at most"
    )
    for name, row in summary.items():
        if "hung_up" in row:
            lost = f"{row['slots_lost']} of {row['slots_before']} slots lost"
            print(
                f"storm, {name}: {row['hung_up']} hang-ups, {row['still_running']} run on, {lost}"
            )


def unmet(rules: list[str], summary: dict[str, dict[str, Any]], targets: list[str]) -> list[str]:
    """A sentence for each rule that a target does not meet; no figure meets none."""
    found = []
    for rule in rules:
        match = RULE.fullmatch(rule)
        assert match  # the parser has seen to it
        only, name, sign, value = match.groups()
        holds = {"<=": operator.le, ">=": operator.ge}[sign]
        for target in [only] if only else targets:
            is_value = summary.get(target, {}).get(name, float("nan"))
            if not holds(is_value, float(value)):
                found.append(f"not met by {target}: {name}{sign}{value}, it is {is_value}")
    return found


if __name__ == "__main__":
    main()
