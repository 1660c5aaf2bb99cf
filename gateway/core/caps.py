"""How long the line may be: per tenant, per tier and for the pool, and who has to go when it is full.

Questions only; the scheduler acts on the answers.
"""

from __future__ import annotations

from gateway.core.flows import Request
from gateway.core.ops import RejectCode
from gateway.core.standing import TenantState, TierState
from gateway.core.waitlist import Waitlist

RETRY_AFTER_MS = (1_000, 60_000)


def over(line: Waitlist, tier: TierState, tenant: TenantState) -> RejectCode | None:
    """The cap that one more request would break; "displaced": the pool's, so someone has to go."""
    if tenant.max_waiting is not None and tenant.waiting >= tenant.max_waiting:
        return "tenant_queue_full"
    if tier.waiting >= tier.rules.max_waiting:
        return "queue_full"
    return "displaced" if line.waiting >= line.policy.max_waiting else None


def newest_below(line: Waitlist, priority: int) -> Request | None:
    """Who waited least in the lowest tier that has anyone, strictly below ``priority``."""
    for tier in reversed(line.tiers.values()):
        if tier.rules.priority >= priority:
            break
        if tier.waiting:
            return tier.seniority.newest()
    return None


def retry_after_ms(tier: TierState, now_ms: int) -> int:
    """How long until the tier is under its cap, at the rate it drains at."""
    least, most = RETRY_AFTER_MS
    _, out_per_s = tier.ledger.rates_per_s(now_ms)
    if not out_per_s:
        return most
    excess = max(1, tier.waiting - tier.rules.max_waiting + 1)
    return max(least, min(most, round(excess * 1000 / out_per_s)))
