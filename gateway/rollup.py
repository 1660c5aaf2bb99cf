"""Finer buckets → coarser ones, so that a year of the line is some thousand rows a tier.

A coarse bucket is made as a whole from the finer ones in it, whenever these saw more seconds than
it did: it is missing, or rows came late.  So it may run twice, at once, or late: the outcome is the
same, and what was pruned below is never made again from less.  Rows that come later than their own
step is kept are in no coarser one.
"""

from collections.abc import Iterator
from itertools import pairwise

from django.db.models import F, Max, Sum
from django.db.models.expressions import CombinedExpression

from gateway.core.buckets import Bucket, merged
from gateway.models import KEPT_S, QueueBucket
from gateway.models.buckets import BucketRows

LATE_S = 15  # the recorder writes once a second; with its database away it writes later
LOOK_BACK_S = 3600  # for rows that came late; `prune` looks at all that is kept, once an hour
AT_ONCE = 60  # coarse buckets are read and written so many at a time: memory stays small
WHERE = ("step_s", "start", "pool", "tier", "writer")
WHAT = [name for name in Bucket._fields if name not in WHERE]


def roll_up(now_s: float) -> int:
    """Merge what is over by now, finest step first.  Returns how many buckets were written."""
    written = 0
    for fine_s, coarse_s in pairwise(KEPT_S):
        newest = QueueBucket.objects.filter(step_s=coarse_s).aggregate(at=Max("start"))["at"]
        since = min(newest or 0, int(now_s) - max(LOOK_BACK_S, 3 * coarse_s))
        written += _one_step(fine_s, coarse_s, since, now_s)
    return written


def prune(now_s: float) -> int:
    """Drop what is older than its step is kept, once it is merged."""
    for fine_s, coarse_s in pairwise(KEPT_S):
        _one_step(fine_s, coarse_s, 0, now_s)
    return sum(QueueBucket.objects.too_old(step, now_s).delete()[0] for step in KEPT_S)


def _one_step(fine_s: int, coarse_s: int, since: int, now_s: float) -> int:
    begin = since // coarse_s * coarse_s
    end = int(now_s - LATE_S) // coarse_s * coarse_s
    fine, coarse = (
        QueueBucket.objects.between(step_s, begin, end) for step_s in (fine_s, coarse_s)
    )
    seen, told = _seconds(fine, coarse_s), _seconds(coarse, coarse_s)
    short = [start for start, seconds in seen.items() if seconds > told.get(start, 0)]
    written = 0
    for n in range(0, len(short), AT_ONCE):
        some = short[n : n + AT_ONCE]
        rows = fine.filter(start__gte=some[0], start__lt=some[-1] + coarse_s)
        rows = rows.alias(within=_within(coarse_s)).filter(within__in=some)
        made = [QueueBucket(**one._asdict()) for one in _merged(rows.as_buckets(), coarse_s)]
        QueueBucket.objects.bulk_create(
            made, update_conflicts=True, unique_fields=WHERE, update_fields=WHAT
        )
        written += len(made)
    return written


def _seconds(rows: BucketRows, coarse_s: int) -> dict[int, int]:
    """How many seconds all tiers together were seen, by the coarse bucket they are in, in order."""
    found = rows.annotate(within=_within(coarse_s)).values_list("within")
    return dict(found.annotate(Sum("seconds")).order_by("within"))


def _within(coarse_s: int) -> CombinedExpression:
    return F("start") - F("start") % coarse_s


def _merged(rows: list[Bucket], coarse_s: int) -> Iterator[Bucket]:
    groups: dict[tuple[str, str, int], list[Bucket]] = {}
    for row in rows:
        where = (row.pool, row.tier, row.start // coarse_s)
        groups.setdefault(where, []).append(row)
    for group in groups.values():
        yield merged(group, coarse_s)
