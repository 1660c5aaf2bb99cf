"""The past of one pool at any zoom: at most 450 points a series, no spike hidden, gaps as gaps."""

from collections import deque
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from math import ceil
from typing import Any, NamedTuple

from dashboard.alerts import marks as noted
from gateway import marks
from gateway.core.buckets import FINEST_S, Bucket, counts
from gateway.core.ledger import FEWEST
from gateway.core.sketch import Sketch, pairs
from gateway.models import KEPT_S, QueueBucket, QueueSample

MOST = 450
SAMPLE_S = 1
THINNEST_S = 2  # samples come about once a second: not one in every second
GAP_S = 3  # between two samples, before it is a gap
WINDOW_S = 300  # of percentiles, as on the live page, where a point is shorter
LEVELS = {SAMPLE_S: 3600, **KEPT_S}  # step of what is stored → for how many seconds it is there
Columns = dict[str, list[Any]]


class Grid(NamedTuple):
    """The points of a chart: ``size`` of ``step_s`` from ``first`` on, read from one level."""

    level_s: int
    step_s: int
    first: int
    size: int

    @property
    def end(self) -> int:
        return self.first + self.size * self.step_s


class Look(NamedTuple):
    """A sample or a bucket: what is drawn of it, by the names of the columns."""

    start: float
    step_s: int
    waiting: int
    waiting_min: int
    waiting_max: int
    in_flight: int
    in_flight_max: int
    oldest_max: float
    p95_max: float | None
    arrived: float
    dispatched: float


LAST = ("waiting", "in_flight")
HIGHEST = ("waiting_max", "in_flight_max", "oldest_max", "p95_max")


def grid(start: float, end: float, now_s: float, most: int = MOST) -> Grid:
    """Points from ``start`` to ``end`` (unix seconds), from the coarsest rows that are fine enough
    and still there."""
    wanted_s = (end - start) / (most - 1)
    there = [level for level, kept_s in LEVELS.items() if start >= now_s - kept_s]
    there = there or [max(LEVELS)]
    level = max((level for level in there if level <= wanted_s), default=there[0])
    step = max(THINNEST_S, level * max(1, ceil(wanted_s / level)))
    first = int(start // step) * step
    return Grid(level, step, first, max(1, ceil((end - first) / step)))


def series(
    pool: str,
    tiers: Sequence[str] | None,
    start: float,
    end: float,
    now_s: float,
    most: int = MOST,
) -> dict[str, Any]:
    """What ``/live/history/`` answers (see ``past``), for ``tiers`` or for all that are known.

    Percentiles are of the waits that ended in a point, or in the five minutes until its end where
    it is shorter, merged from sketches.  Those still waiting show in ``oldest_max``, and in
    ``p95_max``: the worst p95 of five minutes that the live page showed, the waiting included.
    """
    points = grid(start, end, now_s, most)
    window_s = max(WINDOW_S, points.step_s)
    level = max(points.level_s, FINEST_S)
    early = (points.first + points.step_s - window_s) // level * level
    buckets = _by_tier(_buckets(pool, level, early, points.end))
    if points.level_s == SAMPLE_S:
        looks = _samples(pool, points)
    else:
        looks = {tier: [_look(row) for row in rows] for tier, rows in buckets.items()}
    shown: dict[str, Columns] = {}
    for tier in sorted(buckets.keys() | looks.keys()):
        if tiers is None or tier in tiers:
            shown[tier] = _seen(looks.get(tier, []), points)
            _count(shown[tier], buckets.get(tier, []), points, window_s)
    return {
        "pool": pool,
        "step_s": points.step_s,
        "from": round(start * 1000),
        "to": round(end * 1000),
        "at": [(points.first + n * points.step_s) * 1000 for n in range(points.size)],
        "tiers": shown,
        "marks": _marks(start, end),
    }


def _buckets(pool: str, level_s: int, start: int, end: int) -> list[Bucket]:
    """Rows of one level and, where they end, of the finer ones: the newest are merged last."""
    found = QueueBucket.objects.of_pool(pool).between(level_s, start, end).as_buckets()
    until = found[-1].start + level_s if found else start
    finer = max((step for step in KEPT_S if step < level_s), default=None)
    if finer is not None and until < end:
        found += _buckets(pool, finer, until, end)
    return found


def _by_tier(rows: Iterable[Bucket]) -> dict[str, list[Bucket]]:
    tiers: dict[str, list[Bucket]] = {}
    for row in rows:
        tiers.setdefault(row.tier, []).append(row)
    return tiers


def _look(row: Bucket) -> Look:
    return Look(
        *(row.start, row.step_s, row.waiting_last, row.waiting_min, row.waiting_max),
        *(row.in_flight_last, row.in_flight_max, row.oldest_max_s, row.wait_p95_max_s),
        *(row.arrived, row.dispatched),
    )


def _samples(pool: str, points: Grid) -> dict[str, list[Look]]:
    since, until = (datetime.fromtimestamp(at, UTC) for at in (points.first, points.end))
    rows = QueueSample.objects.since(since, pool).filter(at__lt=until)
    fields = ("at", "tier", "waiting", "in_flight", "oldest_s", "wait_p95_s")
    tiers: dict[str, list[Look]] = {}
    for at, tier, waiting, running, oldest_s, p95_s, in_per_s, out_per_s in rows.values_list(
        *fields, "in_per_s", "out_per_s"
    ):
        tiers.setdefault(tier, []).append(
            Look(
                *(at.timestamp(), SAMPLE_S, waiting, waiting, waiting, running, running),
                *(oldest_s or 0.0, p95_s, in_per_s, out_per_s),
            )
        )
    return tiers


def _seen(looks: Iterable[Look], points: Grid) -> Columns:
    """Lasts, lows, highs and rates of one tier, from looks in the order of time."""
    names = (*LAST, "waiting_min", *HIGHEST, "in_per_s", "out_per_s")
    columns: Columns = {name: [None] * points.size for name in names}
    before: Look | None = None
    last_n = 0
    come = gone = covered_s = 0.0
    for look in looks:
        n = int(look.start - points.first) // points.step_s
        if not 0 <= n < points.size:
            continue
        if before is None or n != last_n:
            come = gone = covered_s = 0.0
            if before is not None and look.start - before.start <= GAP_S:
                for column in columns.values():  # a sample that came late is no gap
                    column[last_n + 1 : n] = [column[last_n]] * (n - last_n - 1)
        come, gone = come + look.arrived, gone + look.dispatched
        if before is None or look.start != before.start:  # else two gateways saw the same seconds
            covered_s += look.step_s
        for name in LAST:
            columns[name][n] = getattr(look, name)
        lowest = columns["waiting_min"]
        lowest[n] = look.waiting_min if lowest[n] is None else min(lowest[n], look.waiting_min)
        for name in HIGHEST:
            value, known = getattr(look, name), columns[name][n]
            if value is not None:
                columns[name][n] = value if known is None else max(value, known)
        columns["in_per_s"][n] = round(come / covered_s, 3)
        columns["out_per_s"][n] = round(gone / covered_s, 3)
        before, last_n = look, n
    return columns


def _count(columns: Columns, rows: Iterable[Bucket], points: Grid, window_s: int) -> None:
    """Add the percentiles of waits and the losses, from one tier's rows in the order of time."""
    lost: list[int | None] = [None if seen is None else 0 for seen in columns["waiting"]]
    told: list[list[float | None]] = [[None] * points.size for _ in FEWEST]
    coming, inside = deque(rows), deque[tuple[int, list[int]]]()
    waits = Sketch()
    for n in range(points.size):
        begin = points.first + n * points.step_s
        end = begin + points.step_s
        if window_s == points.step_s:  # each point stands alone: nothing to take away
            waits, inside = Sketch(), deque()
        while coming and coming[0].start < end:
            row = coming.popleft()
            stored = pairs(row.waits)
            inside.append((row.start, stored))
            waits.merge(stored)
            if row.lost and row.start >= begin:
                lost[n] = (lost[n] or 0) + sum(count for _, count in counts(row.lost))
        while inside and inside[0][0] < end - window_s:
            waits.take_away(inside.popleft()[1])
        if columns["waiting"][n] is not None:
            for column, wait_s in zip(told, waits.told_s(), strict=True):
                column[n] = wait_s
    columns |= {"lost": lost}
    columns |= {f"p{percent}": column for percent, column in zip(FEWEST, told, strict=True)}


def _marks(start: float, end: float) -> list[dict[str, Any]]:
    """What happened meanwhile that a curve may follow from, in the order of time."""
    since, until = (datetime.fromtimestamp(at, UTC) for at in (start, end))
    found = [
        {"at": round(mark.at * 1000), "kind": mark.kind, "text": mark.text, "by": mark.by}
        for mark in marks.between(since, until)
    ]
    found += [
        {
            "at": round(mark.at.timestamp() * 1000),
            "kind": mark.kind,
            "text": mark.text,
            "by": mark.by,
            **({"link": mark.link} if mark.link else {}),
        }
        for mark in noted.beside(since, until)
    ]
    return sorted(found, key=lambda mark: mark["at"])
