"""The last quarter of an hour as the page's charts want it: stored samples, thinned out.

Pure but for ``recent``, which asks for the rows.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from gateway.models import QueueSample

WINDOW_S = 900
STEP_S = 2  # 450 points a series; more cost drawing time and show nothing more at this width
GAP_S = 3
COLUMNS = ("waiting", "oldest_s", "p95_s")


class Reading(NamedTuple):
    """One tier at one moment (unix seconds)."""

    at: float
    tier: str
    waiting: float | None
    oldest_s: float | None
    p95_s: float | None


def recent(pool: str, now: datetime, since_s: float = 0.0) -> dict[str, Any]:
    """The ``hist`` message of one pool: the whole window, or its part from ``since_s`` on."""
    whole_step_s = min(since_s, now.timestamp()) // STEP_S * STEP_S
    start = max(now - timedelta(seconds=WINDOW_S), datetime.fromtimestamp(whole_step_s, UTC))
    rows = QueueSample.objects.since(start, pool).values_list(
        "at", "tier", "waiting", "oldest_s", "wait_p95_s"
    )
    readings = (
        Reading(at.timestamp(), tier, waiting, oldest_s, p95_s)
        for at, tier, waiting, oldest_s, p95_s in rows
    )
    return {
        "k": "hist",
        "pool": pool,
        "step_s": STEP_S,
        "from": round(start.timestamp(), 3),
    } | columns(readings)


def pools(now: datetime) -> list[str]:
    """The pools that have samples in the window."""
    start = now - timedelta(seconds=WINDOW_S)
    seen = QueueSample.objects.filter(at__gte=start).order_by("pool")
    return list(seen.values_list("pool", flat=True).distinct())


def columns(readings: Iterable[Reading]) -> dict[str, Any]:
    """Readings in the order of time as columns, one point a step and nothing but nulls in a gap.

    Each point is the maximum of its step: a spike of one second survives.  A gap is more than 3 s
    without any reading; it takes one point, in the step after the last reading.
    """
    at: list[int] = []
    points: list[dict[str, Reading] | None] = []
    last: float | None = None
    for reading in readings:
        step = int(reading.at // STEP_S) * STEP_S
        if last is not None and reading.at - last > GAP_S and step - at[-1] > STEP_S:
            at.append(at[-1] + STEP_S)
            points.append(None)
        if not at or step > at[-1]:
            at.append(step)
            points.append({})
        point = points[-1]
        if point is not None:
            point[reading.tier] = _larger(point.get(reading.tier), reading)
        last = reading.at
    tiers = {tier for point in points if point for tier in point}
    return {
        "at": at,
        "until": last,  # the last reading itself: where a page goes on, to tell a gap from none
        "tiers": {tier: _series(points, tier) for tier in sorted(tiers)},
    }


def _series(points: list[dict[str, Reading] | None], tier: str) -> dict[str, list[float | None]]:
    found = [point.get(tier) if point else None for point in points]
    return {name: [getattr(reading, name, None) for reading in found] for name in COLUMNS}


def _larger(a: Reading | None, b: Reading) -> Reading:
    if a is None:
        return b
    return Reading(
        b.at,
        b.tier,
        _max(a.waiting, b.waiting),
        _max(a.oldest_s, b.oldest_s),
        _max(a.p95_s, b.p95_s),
    )


def _max(a: float | None, b: float | None) -> float | None:
    return b if a is None else a if b is None else max(a, b)
