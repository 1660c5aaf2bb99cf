"""``manage.py loadgen``: read arguments, drive ``gateway.loadgen``, show what came of it."""

import argparse
import asyncio
import json
import math
import signal
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from random import Random
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from gateway.arrivals import MIXES, Arrival, recorded, seeded
from gateway.loadgen import Generator, LoadError, is_loopback
from gateway.tally import Tally, quantile

MOST_PER_S = 200  # httpx keeps up with about this many; beyond it tests/bench/loadgen.c measures

EXAMPLES = """\
examples:
  manage.py loadgen --key lw_live_… --rate 5 --duration 60
  manage.py loadgen --keys-file keys.json --mix urgent-beside-backlog --rate 8
  manage.py loadgen --keys-file keys.json --forever --quiet
  manage.py loadgen --key lw_live_… --trace tests/bench/traces/azure_2023_conv.csv --speed 0.5

keys.json maps tenants to keys, {"acme": "lw_live_…"}; the first tenant asks most.
The same --seed gives the same requests at the same moments.  An open loop: a slow gateway gets
no fewer of them.  Ctrl-C ends the run and shows the table of what was sent so far.
"""


class ExamplesFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the examples' line breaks."""


class Command(BaseCommand):
    help = "Send seeded traffic to a gateway, and show waits and outcomes per tier."
    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs |= {"epilog": EXAMPLES, "formatter_class": ExamplesFormatter}
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("--url", default="http://127.0.0.1:8000", help="the gateway (default: %(default)s)")
        keys = parser.add_mutually_exclusive_group(required=True)
        keys.add_argument("--key", help="one tenant's API key")
        keys.add_argument("--keys-file", type=Path, help="JSON: {tenant: key}")
        add("--seed", type=int, default=7, help="default: %(default)s")
        add("--rate", type=float, default=5, help="mean requests a second (default: %(default)s)")
        add("--duration", type=float, default=60, help="seconds (default: %(default)s)")
        add("--mix", choices=sorted(MIXES), default="demo", help="default: %(default)s")
        add("--forever", action="store_true", help="no end; waits while the gateway is away")
        add("--trace", type=Path, help="a CSV trace in Azure's format instead of a mix")
        add("--speed", type=float, default=1, help="of the trace (default: %(default)s)")
        add("--task-type", default="chat", help="of the trace's requests (default: %(default)s)")
        add("--model", default="auto", help="default: the first that the gateway offers")
        add("--hang-up-share", type=float, default=0.02, help="default: %(default)s")
        add("--concurrency-limit", type=int, default=2000, help="open at once, at most")
        add("--grace", type=float, default=30, help="seconds for open requests at the end")
        add("--yes-remote", action="store_true", help="allow a gateway on another machine")
        add("--quiet", action="store_true", help="neither progress nor table")
        add("--json", action="store_true", help="the summary as one JSON object")

    def handle(self, **options: Any) -> None:
        check(options)
        keys = keys_of(options)
        generator = Generator(
            options["url"],
            keys,
            model=options["model"],
            seed=options["seed"],
            hang_up_share=options["hang_up_share"],
            concurrency_limit=options["concurrency_limit"],
            grace_s=options["grace"],
            patient=options["forever"],
        )
        duration_s = math.inf if options["forever"] else options["duration"]
        shown = not (options["quiet"] or options["json"])
        arrivals = arrivals_of(options, list(keys))
        try:
            asyncio.run(run(generator, arrivals, duration_s, shown=shown))
        except LoadError as error:
            if not generator.stopping.is_set():
                raise CommandError(str(error)) from error
        if options["json"]:
            given = {name: options[name] for name in ("seed", "rate", "duration", "mix")}
            self.stdout.write(json.dumps(given | generator.tally.as_json()))
        elif not options["quiet"]:
            wide = None if sys.stdout.isatty() else 130  # a file does not fold
            console = Console(file=sys.stdout, width=wide)
            console.print(summary_table(generator.tally))
            for note in notes(generator.tally):
                console.print(note)


def check(options: dict[str, Any]) -> None:
    """Refuse what would send nothing, or too much."""
    wrong = {
        f"--rate must be above 0 and at most {MOST_PER_S}": not 0 < options["rate"] <= MOST_PER_S,
        "--duration must be above 0": options["duration"] <= 0,
        "--speed must be above 0": options["speed"] <= 0,
        "--grace must not be negative": options["grace"] < 0,
        "--hang-up-share must be from 0 to 1": not 0 <= options["hang_up_share"] <= 1,
        "--concurrency-limit must be from 1 to 10000": not (
            1 <= options["concurrency_limit"] <= 10_000
        ),
        f"{options['url']} is another machine; say --yes-remote if it is yours to load": not (
            options["yes_remote"] or is_loopback(options["url"])
        ),
    }
    for sentence, is_wrong in wrong.items():
        if is_wrong:
            raise CommandError(sentence)


def keys_of(options: dict[str, Any]) -> dict[str, str]:
    if options["key"]:
        return {"caller": options["key"]}
    path = options["keys_file"]
    try:
        keys = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CommandError(f"--keys-file {path}: {error}") from error
    if not isinstance(keys, dict) or not keys or not all(isinstance(k, str) for k in keys.values()):
        raise CommandError(f'--keys-file {path} must hold an object: {{"tenant": "key"}}')
    return keys


def arrivals_of(options: dict[str, Any], tenants: list[str]) -> Iterable[Arrival]:
    rng, path = Random(options["seed"]), options["trace"]
    if not path:
        return seeded(MIXES[options["mix"]], options["rate"], rng, tenants)
    try:
        with path.open() as lines:
            return recorded(
                lines, rng, tenants, task_type=options["task_type"], speed=options["speed"]
            )
    except (OSError, ValueError) as error:
        raise CommandError(f"--trace {path}: {error}") from error


async def run(
    generator: Generator, arrivals: Iterable[Arrival], duration_s: float, *, shown: bool
) -> None:
    """Drive the generator until it is done or a person, or their process manager, says stop."""
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, generator.stopping.set)
    progress = progress_bar() if shown else nullcontext()
    with progress as bar:
        watcher = asyncio.create_task(watch(generator, bar, duration_s)) if bar else None
        try:
            await generator.run(arrivals, duration_s)
        finally:
            if watcher:
                watcher.cancel()


def progress_bar() -> Progress:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(30))
    return Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True)


async def watch(generator: Generator, bar: Progress, duration_s: float) -> None:
    total = None if math.isinf(duration_s) else duration_s
    task, start = bar.add_task("starting", total=total), asyncio.get_running_loop().time()
    while True:
        tally = generator.tally
        tiers = tally.tiers.values()
        counts = {
            "sent": sum(tier.sent for tier in tiers) + tally.open,
            "open": tally.open,
            "ok": sum(tier.ok for tier in tiers),
            "refused": sum(tier.refused.total() for tier in tiers),
            "failed": sum(tier.failed.total() for tier in tiers),
        }
        text = "  ".join(f"{name} {count}" for name, count in counts.items())
        bar.update(task, description=text, completed=asyncio.get_running_loop().time() - start)
        await asyncio.sleep(0.25)


def summary_table(tally: Tally) -> Table:
    table = Table(box=box.SIMPLE)
    for heading in ("tier", "sent", "ok", "refused", "failed", "hung up", "open"):
        table.add_column(heading, no_wrap=heading == "tier")
    for heading in ("queue wait p50/p95", "ttft p50/p95", "e2e p50/p95"):
        table.add_column(heading, justify="right")
    for name, tier in tally.by_urgency:
        label = name if tier.priority is None else f"{name} ({tier.priority})"
        counts = (str(tier.sent), str(tier.ok), codes(tier.refused), codes(tier.failed))
        times = [
            f"{seconds(quantile(kept, 0.5))} / {seconds(quantile(kept, 0.95))}"
            for kept in tier.samples.values()
        ]
        table.add_row(label, *counts, str(tier.hung_up), str(tier.unfinished), *times)
    return table


def notes(tally: Tally) -> list[str]:
    """What a reader must know before believing the table."""
    found = []
    if tally.unfinished:
        oldest_s = max(tier.oldest_unfinished_s for tier in tally.tiers.values())
        found.append(f"open: not answered at the end, the oldest for {oldest_s:.1f} s.")
    if tally.unsent:
        found.append(f"{tally.unsent} were not sent: --concurrency-limit were open already.")
    if tally.late_s > 0.25:
        found.append(f"This generator was up to {tally.late_s:.1f} s late: too much for it here.")
    return found


def codes(counted: Counter[str]) -> str:
    return "\n".join(f"{code} {count}" for code, count in counted.most_common()) or "0"


def seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
