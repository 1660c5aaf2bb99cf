"""How the longest overdue request of each tier fares beside the starvation bound.

The bound is G1 of docs/scheduling.md: from any moment at which a request is overdue, at most
(B + c_max) / share of cost goes before it, B being the cost of what waits then with a deadline no
later.  Here it is watched in the running line, from the first look at which a request was the
longest overdue of its tier.
"""

from typing import NamedTuple

from gateway.core.flows import Flow, Mark, TierState
from gateway.core.scheduler import Scheduler


class Overdue(NamedTuple):
    """``passed_over_ms``: nothing of the tier went for so long, while others of the pool did.

    ``bound_used`` is a share of the bound; above 1 the promise is broken.  None: without a share
    for rescue nothing is promised.
    """

    passed_over_ms: int
    bound_used: float | None


def watch(scheduler: Scheduler, now_ms: int) -> dict[str, Overdue]:
    """By tier; those of which nobody who may go is overdue are not in it.  O(flows)."""
    line = scheduler.line
    longest: dict[TierState, Flow] = {}
    for flow in line.flows.values():
        if flow.level is None or flow.head is None or flow.deadline_ms > now_ms:
            continue
        first = longest.get(flow.tier)
        if first is None or flow.deadline_ms < first.deadline_ms:
            longest[flow.tier] = flow
    latest_ms = max((tier.ledger.dispatched_ms for tier in line.tiers.values()), default=0)
    found = {}
    for tier in line.tiers.values():
        flow_of = longest.get(tier)
        if flow_of is None:
            tier.mark = tier.overdue_since_ms = None
            continue
        if tier.overdue_since_ms is None:  # and goes on while one gives up and the next is overdue
            tier.overdue_since_ms = flow_of.deadline_ms
        since_ms = max(tier.overdue_since_ms, tier.ledger.dispatched_ms)
        passed_over_ms = now_ms - since_ms if latest_ms > since_ms else 0
        found[tier.rules.name] = Overdue(passed_over_ms, _used(scheduler, tier, flow_of))
    return found


def earlier_cost(scheduler: Scheduler, deadline_ms: int) -> int:
    """Of all that wait with a deadline no later; under two versions, by the earlier deadline."""
    total = 0
    for tier in scheduler.line.tiers.values():
        target_ms = min(side.terms.target_wait_ms for side in tier.sides)
        total += tier.ledger.waiting_since(deadline_ms - target_ms)[1]
    return total


def _used(scheduler: Scheduler, tier: TierState, flow: Flow) -> float | None:
    if not scheduler.slots.rescue_permille:
        return None
    assert flow.head is not None
    line = scheduler.line
    terms = line.version, scheduler.slots.rescue_permille
    mark = tier.mark
    same = mark is not None and mark.request is flow.head and mark.terms == terms
    if mark is None or not same or line.unsettled:  # while flows change version, deadlines move
        earlier = earlier_cost(scheduler, flow.deadline_ms)
        mark = tier.mark = Mark(flow.head, terms, scheduler.slots.dispatched_cost, earlier)
    passed = scheduler.slots.dispatched_cost - mark.dispatched_cost
    owed = mark.earlier_cost + scheduler.largest_cost
    return passed * scheduler.slots.rescue_permille / 1000 / owed
