"""Whom a change reaches: rows and the newest frame, counted."""

import json
from typing import NamedTuple

from django.core.cache import cache

from dashboard.policies.diff import touched
from dashboard.policies.fields import Document
from gateway.core.snapshot import GroupView
from gateway.models import APIKey, Tenant

FRAME = "laneway.live.frame"  # the cache's key for the newest frame, kept 5 s by the gateway


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
    frame = _frame()
    pools = frame["pools"] if frame else []
    return [GroupView(**group) for pool in pools for group in pool.get("groups", ())]


def tiers_that_keys_name() -> set[str]:
    rules = APIKey.objects.filter(status=APIKey.Status.ACTIVE).values_list("rules", flat=True)
    return {rule.get(name) or "" for rule in rules for name in ("default_tier", "pinned_tier")}


def _waiting(tiers: frozenset[str] | None) -> int | None:
    frame = _frame()
    if frame is None:
        return None
    total = 0
    for pool in frame["pools"]:
        for tier in pool["tiers"]:
            total += tier["waiting"] if tiers is None or tier["name"] in tiers else 0
    return total


def _frame() -> Document | None:
    text = cache.get(FRAME)
    frame: Document | None = json.loads(text) if text else None
    return frame
