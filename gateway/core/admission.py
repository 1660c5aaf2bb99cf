"""At the door: does this request have quota, and in which tier.

Joins the policy's limits with ``quota``'s buckets.  Owns no bucket and refuses nobody itself.
"""

from typing import NamedTuple

from gateway.core import quota
from gateway.core.policy import KeyRules, Limits, OnExcess, Placement, Policy, TenantRules, Tier


class Admission(NamedTuple):
    """Let in, perhaps further down than asked; or refused, with ``exceeded`` naming the limits."""

    placement: Placement
    charges: tuple[quota.Charge, ...] = ()
    exceeded: tuple[quota.Rule, ...] = ()
    retry_after_ms: int = 0


class Door(NamedTuple):
    """Whose limits apply."""

    policy: Policy
    tenant: str
    tenant_rules: TenantRules
    key_id8: str
    key_rules: KeyRules

    def rules(self, tier: Tier) -> list[quota.Rule]:
        """All buckets a request in ``tier`` is charged to: the key's, the tenant's, the tier's."""
        lane = self.tenant_rules.tier_limits.get(tier.name)
        return [
            *_rules(f"key:{self.key_id8}", self.key_rules.limits, "reject"),
            *_rules(f"tenant:{self.tenant}", self.tenant_rules.limits, "reject"),
            *(_rules(f"tier:{self.tenant}:{tier.name}", lane, lane.on_excess) if lane else ()),
        ]


def admit(door: Door, tats: quota.Tats, wanted: Placement, *, cost: int, now_ms: int) -> Admission:
    """Charge ``cost`` to every limit that applies, going down a tier where a lane is spent.

    Only lanes that say so demote; the key's and the tenant's own limits always refuse.
    """
    tier: Tier | None = wanted.tier
    while tier is not None:
        answer = quota.spend(tats, door.rules(tier), now_ms, tokens=cost)
        if not answer.exceeded:
            placement = wanted
            if tier is not wanted.tier:
                placement = wanted._replace(
                    tier=tier, reason=(*wanted.reason, f"quota:{tier.name}")
                )
            return Admission(placement, answer.charges)
        refused = Admission(wanted, (), answer.exceeded, answer.retry_after_ms)
        if any(rule.on_excess != "demote" for rule in answer.exceeded):
            return refused
        tier = _next_lower(door.policy, tier)
    return refused


def _next_lower(policy: Policy, tier: Tier) -> Tier | None:
    lower = [other for other in policy.tiers if other.priority < tier.priority]
    return max(lower, key=lambda other: other.priority, default=None)


def _rules(scope: str, limits: Limits, on_excess: OnExcess) -> list[quota.Rule]:
    return quota.rules_of(
        scope,
        requests_per_min=limits.requests_per_min,
        tokens_per_min=limits.tokens_per_min,
        on_excess=on_excess,
    )
