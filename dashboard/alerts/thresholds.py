"""The thresholds on the live page and in a policy's editor: those of the rules that are enabled,
for each tier they judge."""

from typing import NamedTuple

from dashboard.alerts import levels
from dashboard.alerts.levels import Line
from dashboard.alerts.metrics import METRICS, MOST_URGENT
from dashboard.alerts.models import Rule
from dashboard.alerts.past import judged_tiers
from dashboard.units import typed
from gateway.core.policy import Policy

SHOWN = ("oldest", "wait_p50", "wait_p95", "wait_p99", "queue")
SEVERITIES = ("warn", "crit")


class Levels(NamedTuple):
    """From where on one rule warns of a tier."""

    rule: int
    text: str  # ``wait p95: warn 1m, crit 2m``


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


def by_tier(policy: Policy) -> dict[str, tuple[Levels, ...]]:
    """What the same lines say of each tier, in words, a rule at a time."""
    said: dict[tuple[str, int], str] = {}
    for line in lines(policy):
        value = round(line.value, 3)
        text = (
            typed.count_text(round(value)) if line.metric == "queue" else typed.seconds_said(value)
        )
        of = METRICS[line.metric].label + (f" in {line.pool}" if line.pool else "")
        so_far = said.get((line.tier, line.rule))
        said[line.tier, line.rule] = f"{so_far}, " if so_far else f"{of}: "
        said[line.tier, line.rule] += f"{line.severity} {text}"
    found: dict[str, tuple[Levels, ...]] = {}
    for (tier, rule), text in said.items():
        found[tier] = (*found.get(tier, ()), Levels(rule, text))
    return found


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
