"""What a rule would have done with the past: pure, over points of one tier in the order of time."""

from collections.abc import Iterable
from typing import NamedTuple

from dashboard.alerts import rules
from dashboard.alerts.rules import Sample, State

SHORT_S = 60.0
CALM = State()


class Point(NamedTuple):
    """``at`` is unix seconds.  None: nothing was there to judge."""

    at: float
    value: float | None


class Would(NamedTuple):
    """How often it would have fired, how many times for less than a minute, and as crit."""

    fired: int = 0
    short: int = 0
    crit: int = 0

    def __add__(self, other: "Would") -> "Would":  # type: ignore[override] # as a sum, not a tuple
        return Would(*(a + b for a, b in zip(self, other, strict=True)))


def would(rule: rules.Rule, points: Iterable[Point]) -> Would:
    """A firing lasts from its first message to the last sample that was not clear."""
    state, found = State(), Would()
    began = last = 0.0
    before: float | None = None
    for point in points:
        if before is not None and point.at - before > rules.GAP_S * 3:
            state = rules.after_gap(state, point.at)
        before = point.at
        if state == CALM and not rules.true(rule, point.value):
            continue  # most of the past, at a tenth of the cost
        was = state
        state = rules.evaluate(rule, Sample(point.value), was, point.at)
        if state.severity and not was.severity:
            began = last = point.at
            found += Would(fired=1)
        if state.severity == "crit" and was.severity != "crit":
            found += Would(crit=1)
        if state.phase == "firing":
            last = point.at
        if was.severity and not state.severity and last - began < SHORT_S:
            found += Would(short=1)
    return found
