"""How long the line may be: per tenant, per tier and for the pool, and who has to go when it is full.

Questions only; the scheduler acts on the answers.
"""

from __future__ import annotations

from gateway.core.flows import Request, TenantState, TierState
from gateway.core.ops import RejectCode, Submit
from gateway.core.waitlist import Waitlist

# Bodies of one pool's line, kept in memory.  Half of it is for urgent requests alone, so that a
# line of large documents shuts nobody else out; 6,000 of the largest would be 94 GiB.
MOST_BODY_BYTES = 256 * 1024 * 1024


def over(line: Waitlist, tier: TierState, tenant: TenantState, op: Submit) -> RejectCode | None:
    """The cap that one more request would break; "displaced": the pool's, so someone has to go."""
    if tenant.max_waiting is not None and tenant.waiting >= tenant.max_waiting:
        return "tenant_queue_full"
    if tier.waiting >= tier.rules.max_waiting or _surplus(tier, max(1, op.cost)) > 0:
        return "queue_full"
    urgent = tier.rules.priority >= line.policy.urgent_threshold
    if line.body_bytes + op.body_bytes > (MOST_BODY_BYTES if urgent else MOST_BODY_BYTES // 2):
        return "queue_full"
    return "displaced" if line.waiting >= line.policy.max_waiting else None


def _surplus(tier: TierState, cost: int) -> int:
    """By how many tokens ``cost`` on top goes over the tier's cap.  An empty tier takes a request
    of any size: it could never come in otherwise."""
    most = tier.rules.max_waiting_tokens
    if most is None or not tier.waiting:
        return 0
    return max(0, tier.waiting_cost + cost - most)


def newest_below(line: Waitlist, priority: int) -> Request | None:
    """Who waited least in the lowest tier that has anyone, strictly below ``priority``."""
    for tier in reversed(line.tiers.values()):
        if tier.rules.priority >= priority:
            break
        if tier.waiting:
            return tier.newest()
    return None


def until_room_ms(tier: TierState, cost: int, now_ms: int) -> int | None:
    """How long until the tier takes ``cost`` more, at the rate it drains at; None: it does not.

    Tokens over the cap count as so many requests of the tier's mean size.
    """
    _, out_per_s = tier.ledger.rates_per_s(now_ms)
    if not out_per_s:
        return None
    excess = max(1, tier.waiting - tier.rules.max_waiting + 1)
    if surplus := _surplus(tier, cost):
        excess = max(excess, -(-surplus * tier.waiting // tier.waiting_cost))
    return round(excess * 1000 / out_per_s)


def until_drained_ms(tier: TierState, now_ms: int) -> int | None:
    """How long until a draining tier takes requests again, where somebody said so."""
    return None if tier.drains_until_ms is None else max(0, tier.drains_until_ms - now_ms)
