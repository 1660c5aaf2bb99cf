#!/usr/bin/env python3
"""How long the server needs for a chart of the past: 30 days of made-up history, five tiers.

    python -m tests.bench.history             prints the table of docs/bench/history.md
    python -m tests.bench.history --runs 50

Fills a data folder of its own: ten seconds over 48 hours, minutes over 30 days, and what
``rollup`` makes of them.  Then asks ``/live/history/`` in this process, signed in, as a browser
would: session, rows, merging and JSON are in the time, the network is not.  Times are of the
processor, so that a busy machine does not change them.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator
from math import sin
from pathlib import Path
from random import Random
from statistics import median
from time import process_time, time

DAY = 86_400
TIERS = {"realtime": 0.05, "critical": 0.2, "standard": 2.0, "batch": 30.0, "background": 120.0}
RANGES = ("5m", "15m", "1h", "6h", "24h", "7d", "30d", "395d")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="of each range (default: 20)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="laneway-history-") as home:
        os.environ["LANEWAY_HOME"] = home
        os.environ["DJANGO_SETTINGS_MODULE"] = "dashboard.settings"
        import django

        django.setup()
        fill()
        measure(options.runs, Path(home) / "laneway.sqlite3")


def fill() -> None:
    from django.core.management import call_command

    from gateway.models import QueueBucket, QueueSample
    from gateway.rollup import roll_up

    call_command("migrate", verbosity=0)
    now = int(time()) // 60 * 60
    QueueSample.objects.bulk_create(samples(now), batch_size=2000)
    for step_s, days in ((60, 30), (10, 2)):
        rows = buckets(step_s, now - days * DAY, now, Random(step_s))
        QueueBucket.objects.bulk_create(rows, batch_size=2000)
    roll_up(now + 20)


def buckets(step_s: int, start: int, end: int, draw: Random) -> Iterator[object]:
    """Six requests a second over all tiers, waits log-normal, a swing a day, a spike an hour."""
    from gateway.core.sketch import Sketch
    from gateway.models import QueueBucket

    for at in range(start // step_s * step_s, end, step_s):
        load = 1 + 0.6 * sin(at / DAY * 6.28)
        for tier, usual_s in TIERS.items():
            n = round(1.2 * step_s * load * draw.uniform(0.5, 1.5))
            waits = Sketch.of(int(draw.lognormvariate(0, 1) * usual_s * 1000) for _ in range(n))
            most = 900 if at % 3600 == 0 else round(10 * load)
            yield QueueBucket(
                step_s=step_s, pool="default", tier=tier, start=at, seconds=step_s,
                writer="bench" if step_s == 10 else "",
                waiting_min=0, waiting_max=most, waiting_last=3,
                in_flight_min=1, in_flight_max=12, in_flight_last=8,
                oldest_min_s=0.0, oldest_max_s=usual_s * 3, oldest_last_s=usual_s,
                wait_p95_max_s=usual_s * 4, arrived=n, dispatched=n,
                lost="queue_full:2 queue_timeout:1" if most == 900 else "", waits=str(waits),
            )  # fmt: skip


def samples(now: int) -> Iterator[object]:
    from datetime import UTC, datetime

    from gateway.models import QueueSample

    for at in range(now - 3600, now):
        for tier, usual_s in TIERS.items():
            yield QueueSample(
                pool="default", tier=tier, at=datetime.fromtimestamp(at, UTC), waiting=at % 13,
                in_flight=8, oldest_s=usual_s, wait_p50_s=usual_s, wait_p95_s=usual_s * 4,
                in_per_s=1.2, out_per_s=1.2,
            )  # fmt: skip


def measure(runs: int, database: Path) -> None:
    from django.contrib.auth.models import Group, User
    from django.test import Client

    from gateway.models import QueueBucket

    person = User.objects.create_user("bench")
    person.groups.add(Group.objects.get(name="viewer"))
    browser = Client()
    browser.force_login(person)
    browser.get("/live/history/", HTTP_HOST="localhost")  # the first answer loads the code
    kept = f"{QueueBucket.objects.count():,} buckets, {database.stat().st_size / 1e6:.0f} MB"
    print(f"{kept}; {runs} runs of each range, ms of the processor's time\n")
    print("| range | step | points | kB | median ms | worst ms |\n|---|---|---|---|---|---|")
    for length in RANGES:
        times = []
        for _ in range(runs):
            began = process_time()
            answer = browser.get(f"/live/history/?range={length}", HTTP_HOST="localhost")
            times.append((process_time() - began) * 1000)
        told = answer.json()
        size = f"{len(told['at'])} | {len(answer.content) / 1000:.0f}"
        took = f"{median(times):.0f} | {max(times):.0f}"
        print(f"| {length} | {told['step_s']} s | {size} | {took} |")


if __name__ == "__main__":
    main()
