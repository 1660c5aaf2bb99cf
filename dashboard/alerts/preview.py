"""A rule against what is stored: how often it would have fired, and the line it draws."""

from datetime import datetime, timedelta
from typing import NamedTuple

from dashboard.alerts import past, wording
from dashboard.alerts.metrics import MOST_URGENT, Metric
from dashboard.alerts.models import AlertState, Incident, Rule
from dashboard.alerts.would import Would, would
from dashboard.units.shown import span
from gateway.core.policy import Tier
from gateway.models import PolicyVersion

ASKED = timedelta(hours=24)
WIDTH, HEIGHT = 480, 120


class Drawn(NamedTuple):
    """One tier's past and the levels across it, as an SVG's coordinates in 480 by 120."""

    tier: str
    path: str
    levels: list[tuple[str, float, str]]  # severity, height, what it says


class Preview(NamedTuple):
    """``reach``: of how long a past it is told; "" where the metric is not stored, for ``why_not``."""

    reach: str
    total: Would
    drawn: Drawn | None
    metric: Metric
    says: str  # how a message would begin
    caveat: str = ""
    why_not: str = ""


def of_rule(rule: Rule, now: datetime) -> Preview:
    tiers = past.judged_tiers(PolicyVersion.objects.newest_policy(), rule.tier, MOST_URGENT)
    if rule.metric not in past.STORED:
        says = _says(rule, tiers[0] if tiers else None, now)
        why_not = past.NOT_KEPT.get(rule.metric, "")
        return Preview("", Would(), None, rule.judged, says, why_not=why_not)
    since = now - ASKED
    reach = ASKED if rule.metric == past.TERM else past.reaches_back(since, now)
    total = Would()
    worst: tuple[Would, past.Told] | None = None
    pools = [rule.pool] if rule.pool else past.pools(since)
    for told in past.of_metric(rule.metric, pools, tiers, since, now):
        found = would(rule.as_rule(told.tier.target_wait_s if told.tier else None), told.points)
        total += found
        if told.points and (worst is None or found > worst[0]):
            worst = (found, told)
    drawn = _drawn(rule, worst[1]) if worst else None
    tier = worst[1].tier if worst else tiers[0] if tiers else None
    says = _says(rule, tier, now)
    reach_said = span(max(60, round(reach.total_seconds() / 60) * 60))
    caveat = past.CAVEATS.get(rule.metric, "")
    return Preview(reach_said, total, drawn, rule.judged, says, caveat)


def _says(rule: Rule, tier: Tier | None, now: datetime) -> str:
    """The title of a message, with a value somewhat past its level."""
    metric = rule.judged
    if metric.of_frame or (metric.of_tier and tier is None):
        return ""  # it says what was ordered, by whom
    severity = "warn" if rule.warn is not None else "crit"
    limit = rule.threshold(severity, tier.target_wait_s if tier else None)
    if limit is None:
        return ""
    value = limit * (0.8 if metric.below else 1.2) or (0.5 if metric.unit == "share" else 1)
    somewhere = rule.pool or next(iter(past.pools(now - ASKED)), "default")
    pool = somewhere if metric.of_tier or metric.of_pool else ""
    row = AlertState(severity=severity, pool=pool, value=value, threshold=limit)
    if metric.of_tier and tier:
        row.tier, row.priority = tier.name, tier.priority
    return wording.title(Incident(rule_name=rule.name, pool=pool), [row], rule)


def _drawn(rule: Rule, told: past.Told) -> Drawn:
    tier, points = told.tier, told.points
    target_s = tier.target_wait_s if tier else None
    limits = [(severity, rule.threshold(severity, target_s)) for severity in ("warn", "crit")]
    known = [(severity, limit) for severity, limit in limits if limit is not None]
    values = [point.value for point in points]
    highest = max((value for value in values if value is not None), default=0.0)
    most = max(highest, *(limit for _, limit in known), 1e-9) * 1.1
    begin, end = points[0].at, max(points[-1].at, points[0].at + 1)
    size = max(1, len(points) // WIDTH)
    path, pen = "", "M"
    for i in range(0, len(points), size):
        part = [p.value for p in points[i : i + size] if p.value is not None]
        if not part:
            pen = "M"
            continue
        x = (points[i].at - begin) / (end - begin) * WIDTH
        path += f"{pen}{x:.1f},{_height(max(part), most):.1f}"
        pen = "L"
    lines = [
        (severity, _height(limit, most), f"{severity} {wording.level(rule.judged, limit)}")
        for severity, limit in known
    ]
    name = wording.tier(tier.name, tier.priority) if tier else told.name
    return Drawn(name, path, lines)


def _height(value: float, most: float) -> float:
    return HEIGHT - min(1.0, value / most) * (HEIGHT - 2) - 1
