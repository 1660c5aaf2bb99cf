"""What rules judge over a window of time, out of the ten-second steps that are kept: pure."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from dashboard.alerts.would import Point
from gateway.core.buckets import judged, lost_as
from gateway.core.ledger import FEWEST, OBJECTIVE
from gateway.core.sketch import Sketch, pairs

WAITS_S = 300  # as the live page's percentiles
MINUTE_S = 60
BURNS_S = {"burn": (3600, 300), "burn_6h": (21_600, 1800)}  # high for long, and still high


class Step(NamedTuple):
    """Ten seconds of one tier, as one gateway saw them.  ``start`` is unix seconds."""

    start: int
    arrived: int
    waits: str
    lost: str


def reach_s(metric: str) -> int:
    """How much earlier the steps must begin than the first point."""
    if metric in BURNS_S:
        return max(BURNS_S[metric])
    return WAITS_S if metric.startswith("wait_") else MINUTE_S


def points(metric: str, steps: Sequence[Step], target_wait_s: float) -> Iterator[Point]:
    """One a step, in the order of time; None where there is too little to judge."""
    if metric in BURNS_S:
        counted = [
            (step.start, judged(step.waits, step.lost, target_wait_s * 1000)) for step in steps
        ]
        long, short = (_sums(counted, window_s) for window_s in BURNS_S[metric])
        for (at, over_long), (_, over_short) in zip(long, short, strict=True):
            burns = [_burn(*over_long), _burn(*over_short)]
            yield Point(
                at, None if None in burns else min(burn for burn in burns if burn is not None)
            )
    elif metric.startswith("wait_"):
        yield from _quantiles(steps, int(metric.removeprefix("wait_p")))
    else:
        counted = [(step.start, (lost_as("rejected", step.lost), step.arrived)) for step in steps]
        for at, (rejected, arrived) in _sums(counted, MINUTE_S):
            if metric == "refused":
                yield Point(at, float(rejected))
            else:
                yield Point(at, rejected / arrived if arrived else None)


def _burn(all_judged: int, late: int) -> float | None:
    return late / all_judged / (1 - OBJECTIVE) if all_judged else None


def _sums(
    counted: Iterable[tuple[int, tuple[int, int]]], window_s: int
) -> Iterator[tuple[float, tuple[int, int]]]:
    held: deque[tuple[int, tuple[int, int]]] = deque()
    a = b = 0
    for start, (more_a, more_b) in counted:
        held.append((start, (more_a, more_b)))
        a, b = a + more_a, b + more_b
        while held[0][0] <= start - window_s:
            _, (less_a, less_b) = held.popleft()
            a, b = a - less_a, b - less_b
        yield float(start), (a, b)


def _quantiles(steps: Iterable[Step], percent: int) -> Iterator[Point]:
    held: deque[tuple[int, list[int]]] = deque()
    sketch, place = Sketch(), list(FEWEST).index(percent)
    for step in steps:
        waits = pairs(step.waits)
        held.append((step.start, waits))
        sketch.merge(waits)
        while held[0][0] <= step.start - WAITS_S:
            sketch.take_away(held.popleft()[1])
        yield Point(float(step.start), sketch.told_s()[place])
