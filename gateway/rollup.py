"""Finer buckets → coarser ones, so that a year of the line is some thousand rows a tier.

A step is made again as a whole from the finer one and written over what was there, so it may run
twice, at once, or late: the outcome is the same.
"""

from collections.abc import Iterator
from itertools import pairwise

from django.db import models

from gateway.core.buckets import Bucket, merged
from gateway.models import KEPT_S, QueueBucket

LATE_S = 15  # the recorder writes once a second; with its database away it writes later
AGAIN = 3  # of the newest coarse buckets are made again, for rows that came late
AT_ONCE = 60  # coarse buckets are read and written so many at a time: memory stays small
WHERE = ("step_s", "start", "pool", "tier", "writer")
WHAT = [name for name in Bucket._fields if name not in WHERE]


def roll_up(now_s: float) -> int:
    """Merge what is over by now, finest step first.  Returns how many buckets were written."""
    return sum(_one_step(fine_s, coarse_s, now_s) for fine_s, coarse_s in pairwise(KEPT_S))


def prune(now_s: float) -> int:
    """Drop what is older than its step is kept, once it is merged."""
    roll_up(now_s)
    return sum(QueueBucket.objects.too_old(step, now_s).delete()[0] for step in KEPT_S)


def _one_step(fine_s: int, coarse_s: int, now_s: float) -> int:
    end = int(now_s - LATE_S) // coarse_s * coarse_s
    written = 0
    newest = QueueBucket.objects.filter(step_s=coarse_s).aggregate(at=models.Max("start"))["at"]
    first = newest - (AGAIN - 1) * coarse_s if newest is not None else 0
    while True:
        fine = QueueBucket.objects.between(fine_s, first, end)
        oldest = fine.aggregate(at=models.Min("start"))["at"]
        if oldest is None:
            return written
        first = oldest // coarse_s * coarse_s
        last = min(end, first + AT_ONCE * coarse_s)
        rows = QueueBucket.objects.between(fine_s, first, last).as_buckets()
        coarse = [QueueBucket(**bucket._asdict()) for bucket in _merged(rows, coarse_s)]
        QueueBucket.objects.bulk_create(
            coarse, update_conflicts=True, unique_fields=WHERE, update_fields=WHAT
        )
        written += len(coarse)
        first = last


def _merged(rows: list[Bucket], coarse_s: int) -> Iterator[Bucket]:
    groups: dict[tuple[str, str, int], list[Bucket]] = {}
    for row in rows:
        where = (row.pool, row.tier, row.start // coarse_s)
        groups.setdefault(where, []).append(row)
    for group in groups.values():
        yield merged(group, coarse_s)
