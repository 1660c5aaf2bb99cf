"""Thresholds as people type them: ``1m``, ``70%``, ``3``, ``any``, ``2x target``; and back.  Pure."""

import re
from typing import NamedTuple

from dashboard.alerts.metrics import Metric
from dashboard.units import typed

MOST = 1e9
TIMES = "\N{MULTIPLICATION SIGN}"
_OF_TARGET = re.compile(rf"(\d+(?:\.\d+)?)\s*[x*{TIMES}](?:\s*target(?:\s*wait)?)?")
_TIMES = re.compile(rf"(\d+(?:\.\d+)?)\s*[x*{TIMES}]?")
HINTS = {
    "seconds": f"a time like 30s or 2m, or 2 {TIMES} target",
    "share": "a share like 70%",
    "count": "a whole number",
    "times": f"a number like 6{TIMES}",
}


class Said(NamedTuple):
    value: float
    of_target: bool = False


class Line(NamedTuple):
    """A threshold as a chart draws it and a cell is tinted by it: the rule's own, nothing else.

    ``value`` is in what the chart shows: seconds, or requests for a share of a queue's limit.
    """

    metric: str
    tier: str
    pool: str  # "" is each
    severity: str
    value: float
    rule: int  # its id


def parsed(text: str, metric: Metric) -> Said:
    """
    Raises:
        ValueError: with a sentence that says how to write it.
    """
    said = _parsed(text.strip().lower(), metric)
    if said.value > MOST:
        raise ValueError("That is more than ever happens.")
    return said


def _parsed(text: str, metric: Metric) -> Said:
    if text == "any":
        return Said(0.0)
    if metric.unit == "seconds":
        relative = _OF_TARGET.fullmatch(text)
        if relative:
            return Said(float(relative[1]), of_target=True)
        return Said(typed.seconds(text))
    if metric.unit == "share":
        return Said(typed.share(text))
    if metric.unit == "count":
        return Said(float(typed.count(text)))
    found = _TIMES.fullmatch(text)
    if not found:
        raise ValueError(f"Write {HINTS[metric.unit]}.")
    return Said(float(found[1]))


def written(value: float | None, metric: Metric, *, of_target: bool) -> str:
    """What ``parsed`` reads back."""
    if value is None:
        return ""
    if of_target:
        return f"{value:g} {TIMES} target"
    if value == 0:
        return "any"
    if metric.unit == "seconds":
        return typed.seconds_text(value)
    if metric.unit == "share":
        return typed.share_text(value)
    return f"{value:g}{TIMES}" if metric.unit == "times" else typed.count_text(round(value))
