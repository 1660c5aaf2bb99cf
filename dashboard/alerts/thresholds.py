"""The thresholds on the live page: those of the rules that are enabled, for each tier they judge."""

from dashboard.alerts import levels
from dashboard.alerts.levels import Line
from dashboard.alerts.metrics import MOST_URGENT
from dashboard.alerts.models import Rule
from dashboard.alerts.past import judged_tiers
from gateway.core.policy import Policy

SHOWN = ("oldest", "wait_p50", "wait_p95", "wait_p99", "queue")
SEVERITIES = ("warn", "crit")


def lines(policy: Policy) -> tuple[Line, ...]:
    """The most urgent tier first, warn before crit."""
    found = [
        Line(
            rule.metric,
            tier.name,
            rule.pool,
            severity,
            threshold * tier.max_waiting if rule.metric == "queue" else threshold,
            rule.pk,
        )
        for rule in Rule.objects.enabled().filter(metric__in=SHOWN)
        for tier in judged_tiers(policy, rule.tier, MOST_URGENT)
        for severity in SEVERITIES
        if (threshold := rule.threshold(severity, tier.target_wait_s)) is not None
    ]
    ranks = {tier.name: rank for rank, tier in enumerate(policy.by_urgency)}
    return tuple(
        sorted(found, key=lambda line: (ranks[line.tier], SEVERITIES.index(line.severity)))
    )


def dragged(rule: Rule, policy: Policy, tier_name: str, at: float) -> str | None:
    """The level that puts a tier's line where somebody let go of it, as the form takes it."""
    tier = policy.tier(tier_name)
    if tier is None or rule.metric not in SHOWN or not 0 <= at <= levels.MOST:
        return None
    if rule.metric == "queue":
        number = min(1.0, max(0.01, round(at / tier.max_waiting, 2)))
    else:
        number = float(f"{at / tier.target_wait_s if rule.of_target else at:.2g}")
    return levels.written(number, rule.judged, of_target=rule.of_target)
