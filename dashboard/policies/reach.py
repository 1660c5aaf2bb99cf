"""Whom a change reaches: rows and the newest frame, counted."""

from typing import NamedTuple

from dashboard.policies.diff import touched
from dashboard.policies.fields import Document
from gateway import newest
from gateway.core.snapshot import GroupView
from gateway.models import APIKey, Tenant


class Reach(NamedTuple):
    tenants: int
    keys: int
    waiting: int | None  # None: no gateway says
    at_most: bool  # of ``waiting``: a frame tells no tenants' shares


def blast_radius(before: Document, after: Document) -> Reach:
    feels = touched(before, after)
    tenants = Tenant.objects.filter(status=Tenant.Status.ACTIVE)
    if feels.tenants is not None:
        tenants = tenants.filter(slug__in=feels.tenants)
    keys = APIKey.objects.filter(tenant__in=tenants, status=APIKey.Status.ACTIVE)
    keys = keys.exclude(kind=APIKey.Kind.ADMIN)
    waiting = _waiting(feels.tiers)
    return Reach(tenants.count(), keys.count(), waiting, feels.tenants is not None)


def groups() -> list[GroupView]:
    """Who waits under which version, while a canary runs."""
    frame = newest.frame()
    return [group for pool in (frame.pools if frame else ()) for group in pool.groups]


def tiers_that_keys_name() -> set[str]:
    rules = APIKey.objects.filter(status=APIKey.Status.ACTIVE).values_list("rules", flat=True)
    return {rule.get(name) or "" for rule in rules for name in ("default_tier", "pinned_tier")}


def _waiting(tiers: frozenset[str] | None) -> int | None:
    frame = newest.frame()
    if frame is None:
        return None
    return sum(
        tier.waiting
        for pool in frame.pools
        for tier in pool.tiers
        if tiers is None or tier.name in tiers
    )
