"""Slots that are reserved for tenants, and lent to whoever is next while their owners need none.

A lent slot comes back at the next release, since what is then free is owed.  That holds among less
urgent requests alone: urgent and overdue ones never ask, so the levels and the bound on waits
stand.  The counts are the line's own; what a reservation does to the order is decided here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.flows import Flow
from gateway.core.standing import TenantState

if TYPE_CHECKING:
    from gateway.core.scheduler import Scheduler

MOST_PERCENT = 80  # of the base limit: the rest is never owed, so nobody is shut out for good


def owed(scheduler: Scheduler) -> dict[TenantState, int]:
    """Slots that tenants lack of their own, for as many requests as could go; at least 1 each.

    Where all reservations together are over their share of the base limit, which changes by the
    second, each is cut in proportion.
    """
    line = scheduler.line
    reserved = sum(line.reservations.values())
    most = min(reserved, scheduler.backends.base_limit * MOST_PERCENT // 100)
    owed: dict[TenantState, int] = {}
    for slug, own in line.reservations.items():
        tenant = line.tenants.get(slug)
        if tenant is None or not tenant.waiting:
            continue
        lacking = own * most // reserved - tenant.in_flight
        if lacking > 0 and (able := sum(flow.waiting for flow in _able(tenant))):
            owed[tenant] = min(lacking, able)
    return owed


def claimant(scheduler: Scheduler) -> Flow | None:
    """Who goes in place of the first in line, once all that is free is owed: the first of the
    owners' own flows.  None: a slot can be lent."""
    owners = owed(scheduler)
    if not owners or scheduler.backends.free > sum(owners.values()):
        return None
    return min((flow for tenant in owners for flow in _able(tenant)), key=_place)


def _able(tenant: TenantState) -> list[Flow]:
    return [flow for flow in tenant.flows.values() if flow.level is not None]


def _place(flow: Flow) -> tuple[int, int, int]:
    assert flow.level is not None
    assert flow.head is not None
    return -flow.level, flow.tag, flow.head.seq
