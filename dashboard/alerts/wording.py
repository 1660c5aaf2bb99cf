"""Alerts in words: for pages, messages and timelines alike."""

from collections.abc import Sequence
from datetime import UTC, datetime

from dashboard.alerts.metrics import MOST_URGENT, Metric
from dashboard.alerts.models import AlertState, Incident, Rule
from dashboard.units.shown import ABSENT, count, seconds, span

MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
BARS = "▁▂▃▄▅▆▇█"


def value(metric: Metric, number: float | None, at_least: bool = False) -> str:
    """What was measured, with as many digits as help."""
    if number is None:
        return "no data"
    text = {
        "seconds": lambda: seconds(number),
        "share": lambda: f"{number * 100:.3g} %",
        "times": lambda: f"{number:.3g}{TIMES}",
        "count": lambda: count(number),
    }[metric.unit]()
    return f"≥ {text}" if at_least else text


def level(metric: Metric, number: float | None) -> str:
    """What somebody chose, so mostly round."""
    if number is None:
        return ABSENT
    if number == 0:
        return "any"
    return span(number) if metric.unit == "seconds" else value(metric, number)


def threshold(rule: Rule, severity: str) -> str:
    """As the rule has it, for all of its tiers: ``2 x target wait`` or ``70 %``."""
    number = rule.crit if severity == "crit" else rule.warn
    if number is None:
        return ""
    return f"{number:g} {TIMES} target wait" if rule.of_target else level(rule.judged, number)


def limit(metric: Metric, number: float | None) -> str:
    """``over 1 min``; ``any`` for a threshold of 0."""
    return "any" if number == 0 else f"{over(metric)} {level(metric, number)}"


def over(metric: Metric) -> str:
    return "under" if metric.below else "over"


def tier(name: str, priority: int | None) -> str:
    """A tier never without its number: higher is more urgent."""
    return name if priority is None else f"{name} ({str(priority).replace('-', MINUS)})"


def whose(rule: Rule) -> str:
    """What the rule judges, in the middle of a sentence."""
    if rule.judged.of_pool:
        return f"pool {rule.pool}" if rule.pool else "each pool"
    if rule.judged.of_frame:
        return "each order"
    if rule.judged.of_tier is None:
        return "this site"
    tiers = {"": "each tier", MOST_URGENT: "the most urgent tier"}.get(rule.tier, rule.tier)
    return f"{tiers} in {rule.pool}" if rule.pool else tiers


def sentence(rule: Rule) -> str:
    """``wait p95 of each tier over: warn 1 x target wait for 2 min, crit …``"""
    levels = [
        f"{name} {threshold(rule, name)} for {span(for_s)}"
        for name, for_s in (("warn", rule.warn_for_s), ("crit", rule.crit_for_s))
        if threshold(rule, name)
    ]
    return f"{rule.judged.label} of {whose(rule)} {over(rule.judged)}: {', '.join(levels)}"


def subject(row: AlertState, rule: Rule) -> str:
    if row.tier:
        return tier(row.tier, row.priority)
    return f"pool {row.pool}" if row.pool else rule.name


def now_and_limit(rule: Rule, row: AlertState) -> str:
    """``≥ 2m27s, over 1 min``; where a number alone says little, what it means."""
    if row.note:
        return row.note
    metric = rule.judged
    shown = value(metric, row.value, row.at_least)
    return f"{shown}, {limit(metric, row.threshold)}"


def change(rule: Rule, row: AlertState, before: str) -> str:
    where = subject(row, rule)
    if not row.severity:
        return f"{where} is calm again"
    if before:
        return f"{where}: {before} became {row.severity}, {now_and_limit(rule, row)}"
    return f"{where}: {row.severity}, {now_and_limit(rule, row)}"


def title(incident: Incident, rows: Sequence[AlertState], rule: Rule) -> str:
    """Of what is told, the worst first: a part that is silenced gives it no word."""
    first = rows[0]
    word = first.severity.upper()
    more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
    pool = f" in {incident.pool}" if incident.pool and first.tier else ""
    comma = "," if first.note else ""
    said = f"{rule.judged.label}{comma} {now_and_limit(rule, first)}"
    return f"{word} {subject(first, rule)}{more}{pool}: {said}"


def spark(values: Sequence[float | None], width: int = 24) -> str:
    """The highest of each part of the past as bars; a gap is a space."""
    if not any(value is not None for value in values):
        return ""
    size = max(1, -(-len(values) // width))
    parts = [values[i : i + size] for i in range(0, len(values), size)]
    tops = [max((v for v in part if v is not None), default=None) for part in parts]
    most = max(top for top in tops if top is not None) or 1.0
    return "".join(" " if top is None else BARS[round(top / most * 7)] for top in tops)


def clock(at: datetime) -> str:
    return f"{at.astimezone(UTC):%H:%M:%S} UTC"


def ago(earlier: datetime, later: datetime) -> str:
    minutes = (later - earlier).total_seconds() / 60
    return "less than a minute" if minutes < 1 else span(round(minutes) * 60)
