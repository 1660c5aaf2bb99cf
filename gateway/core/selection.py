"""Which waiting requests a person means: by their ids, or by all that a filter says of them.

A filter is counted here again, at the moment it is applied: what the person saw is a second old.
"""

from msgspec import Struct

from gateway.core.flows import WAITING, Request
from gateway.core.scheduler import Scheduler


class Selection(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Ids and a filter: of each name any of its values, an empty one any at all.  All empty:
    everything that waits."""

    ids: tuple[str, ...] = ()
    tier: tuple[str, ...] = ()
    tenant: tuple[str, ...] = ()
    task_type: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    model: tuple[str, ...] = ()


def select(scheduler: Scheduler, wanted: Selection, arrived_by_ms: int) -> list[str]:
    """The ids that wait now, in order of arrival.

    A filter leaves alone what arrived after ``arrived_by_ms``: nobody had seen it.
    """
    if wanted.ids:
        found = [scheduler.requests.get(id) for id in wanted.ids]
        waiting = [one for one in found if one is not None and one.state == WAITING]
        return [one.id for one in waiting if _is_meant(one, wanted)]
    return [
        one.id
        for one in scheduler.requests.values()
        if one.state == WAITING and one.arrived_ms <= arrived_by_ms and _is_meant(one, wanted)
    ]


def _is_meant(request: Request, wanted: Selection) -> bool:
    flow = request.flow
    return (
        (not wanted.tier or flow.tier.rules.name in wanted.tier)
        and (not wanted.tenant or flow.tenant.slug in wanted.tenant)
        and (not wanted.task_type or request.task_type in wanted.task_type)
        and (not wanted.key or request.key in wanted.key)
        and (not wanted.model or request.model in wanted.model)
    )


def crowd(scheduler: Scheduler) -> dict[tuple[str, str], int]:
    """How many wait, by tier and tenant: counted by flow, however long the line is."""
    counts: dict[tuple[str, str], int] = {}
    for flow in scheduler.line.flows.values():
        if flow.waiting:
            place = (flow.tier.rules.name, flow.tenant.slug)
            counts[place] = counts.get(place, 0) + flow.waiting
    return counts
