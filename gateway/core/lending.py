"""Slots that are reserved for tenants, and lent to whoever is next while their owners need none.

A lent slot comes back at the next release, since what is then free is owed.  That holds among less
urgent requests alone: urgent and overdue ones never ask, so the levels and the bound on waits
stand.  The counts are the line's own; what a reservation does to the order is decided here.
"""

from gateway.core.flows import Flow, TenantState
from gateway.core.placing import Backends
from gateway.core.waitlist import Waitlist

MOST_PERCENT = 80  # of the base limit: the rest is never owed, so nobody is shut out for good


def owed(line: Waitlist, backends: Backends) -> dict[TenantState, int]:
    """Slots that tenants lack of their own, for as many requests as could go; at least 1 each.

    Where all reservations together are over their share of the base limit, which changes by the
    second, each is cut in proportion.
    """
    reserved = sum(line.reservations.values())
    most = min(reserved, backends.base_limit * MOST_PERCENT // 100)
    owed: dict[TenantState, int] = {}
    for slug, own in line.reservations.items():
        tenant = line.tenants.get(slug)
        if tenant is None or not tenant.waiting:
            continue
        lacking = own * most // reserved - tenant.in_flight
        if lacking > 0 and (able := sum(flow.waiting for flow in _able(tenant))):
            owed[tenant] = min(lacking, able)
    return owed


def claimant(line: Waitlist, backends: Backends) -> Flow | None:
    """Who goes in place of the first in line, once all that is free is owed: the first of the
    owners' own flows.  None: a slot can be lent."""
    owners = owed(line, backends)
    if not owners or backends.free > sum(owners.values()):
        return None
    return min((flow for tenant in owners for flow in _able(tenant)), key=_place)


def _able(tenant: TenantState) -> list[Flow]:
    return [flow for flow in tenant.flows.values() if flow.level is not None]


def _place(flow: Flow) -> tuple[int, int, int]:
    assert flow.level is not None
    assert flow.head is not None
    return -flow.level, flow.tag, flow.head.seq
