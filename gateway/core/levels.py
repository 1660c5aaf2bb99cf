"""The level a request stands at: its tier's priority, lifted by ageing up to a ceiling, moved by
a person's boost."""

from typing import NamedTuple

from gateway.core.policy import Policy, Tier

TOP, BOTTOM = 10, -10  # levels; the policy admits no others
MOST_BOOST = 5


class Terms(NamedTuple):
    """What one version of the policy says about the order of one tier's flows."""

    version: int
    priority: int
    target_wait_ms: int
    gain: int  # the most that ageing adds here: 0 where it is off or the ceiling is below
    after_ms: int
    step_ms: int


def terms_of(policy: Policy, version: int, tier: Tier) -> Terms:
    target_wait_ms = round(tier.target_wait_s * 1000)
    ageing = policy.ageing
    if ageing is None or not tier.ages:
        return Terms(version, tier.priority, target_wait_ms, 0, 0, 1)
    gain = min(ageing.most, max(0, ageing.ceiling - tier.priority))
    step_ms = max(1, round(ageing.step_s * 1000))
    return Terms(
        version, tier.priority, target_wait_ms, gain, round(ageing.after_s * 1000), step_ms
    )


def aged(terms: Terms, age_ms: int) -> int:
    """How far ageing lifts a request of this age; with the defaults 3 at 30 s, 5 from 50 s on."""
    if not terms.gain or age_ms < terms.after_ms:
        return 0
    return min(terms.gain, age_ms // terms.step_ms)


def next_step_age_ms(terms: Terms, age_ms: int) -> int | None:
    """The age at which ``aged`` next answers more, or None when it never will."""
    gained = aged(terms, age_ms)
    if gained >= terms.gain:
        return None
    return max(terms.after_ms, (gained + 1) * terms.step_ms)


def boosted(level: int, by: int, ceiling: int) -> int:
    """Move a level by a person's boost: past the ageing ceiling, never past the tenant's own."""
    if by < 0:
        return max(BOTTOM, level + by)
    return max(level, min(TOP, ceiling, level + by))
