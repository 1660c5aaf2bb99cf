"""Two versions of the policy in one line: a share of the tenants follows the newer one.

A tenant follows one version or the other, never both: who is in is a stable hash of the tenant's
id under a bar that stands for as long as the canary runs.  At the door a request's tier, quota and
ceiling come from its tenant's version (``gateway.auth``).  In the line both versions meet:

* **What belongs to a flow goes by the flow's version**: the tier's number, ageing, target and max
  wait, and its tenant's weight, caps, ceiling and reserved slots.  Levels are plain numbers, so
  flows of two versions compare as flows of one do, and every dispatch tells the version that
  ordered it.
* **What a pool has once goes by the base**: rescue share, holdback and the threshold of urgency,
  lookahead, the tiers there are and their queue limits, and who has to go when the line is full.
  A canary that would change any of it is refused before it starts (``obstacles``).
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple

from gateway.core.policy import Policy

PLACES = 1_000_000


class Canary(NamedTuple):
    policy: Policy
    version: int
    tenants: frozenset[str]  # slugs of those who follow it


def place(tenant_id: int) -> int:
    """Where a tenant stands between 0 and ``PLACES``: always the same, evenly spread."""
    digest = blake2b(str(tenant_id).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % PLACES


def bar(tenant_ids: Iterable[int], percent: int) -> int:
    """The bar that this share of the tenants stands under: at least one, never all.

    Raises:
        ValueError: there are not two, so there is nothing to compare.
    """
    places = sorted(map(place, tenant_ids))
    if len(places) < 2:
        raise ValueError("A canary needs two tenants at least: one to try, one to compare with.")
    many = round(len(places) * percent / 100)
    return places[max(1, min(len(places) - 1, many))]


def obstacles(base: Policy, newer: Policy) -> list[str]:
    """What the newer policy changes that a pool has once; empty where a canary can carry it all."""
    found = [
        name
        for name, differs in {
            "rescue lane": base.rescue_share != newer.rescue_share,
            "held back": base.holdback_share != newer.holdback_share,
            "waiting in all tiers": base.max_waiting != newer.max_waiting,
            "ageing ceiling": base.urgent_threshold != newer.urgent_threshold,
        }.items()
        if differs
    ]
    before = {tier.name: tier for tier in base.tiers}
    after = {tier.name: tier for tier in newer.tiers}
    found += [f"tier {name} added" for name in after.keys() - before.keys()]
    found += [f"tier {name} removed" for name in before.keys() - after.keys()]
    for name in sorted(before.keys() & after.keys()):
        was, now = before[name], after[name]
        if was.max_waiting != now.max_waiting:
            found.append(f"{name}: max waiting")
        if was.max_waiting_tokens != now.max_waiting_tokens:
            found.append(f"{name}: tokens waiting")
    return found
