"""After a new policy: those who wait go where it would place them if they came now.

The line itself re-ranks by the tiers' new numbers (``core.waitlist``).  This is what only the
requests' own words can tell: a changed task map, default, ceiling or rule of a tenant.  What a
lane's quota had demoted stays demoted, and nothing is charged or refused anew.
"""

import asyncio
from collections.abc import Mapping

from gateway.core.policy import resolve
from gateway.journey import Journey
from gateway.queue import Queue
from gateway.reading import Entry

AT_ONCE = 100  # requests, before others get a turn of the loop: 1.3 ms where all of them move


async def reclassify(journeys: Mapping[str, Journey], entries: Mapping[str, Entry]) -> None:
    """Place all anew whose words now lead to another tier."""
    waiting = [one for one in journeys.values() if one.wanted and one.dispatch is None]
    for start in range(0, len(waiting), AT_ONCE):
        moves: dict[Queue, dict[str, str]] = {}
        for journey in waiting[start : start + AT_ONCE]:
            pool = journey.pool
            if pool and pool.queue.scheduler.waits(journey.id) and _placed_anew(journey, entries):
                assert journey.placement is not None
                moves.setdefault(pool.queue, {})[journey.id] = journey.placement.tier.name
        for queue, tiers in moves.items():
            queue.move(tiers)
        await asyncio.sleep(0)


def _placed_anew(journey: Journey, entries: Mapping[str, Entry]) -> bool:
    call, caller, wanted = journey.call, journey.caller, journey.wanted
    assert call is not None
    assert caller is not None
    assert wanted is not None
    entry = entries.get(caller.key_id8)
    if entry is None:  # its key is gone: it was let in, so it stays where it is
        return False
    rules = entry.caller._replace(moved_to=caller.moved_to, notices=caller.notices)
    placement = resolve(
        rules.policy, rules.tenant_rules, rules.key_rules, call.statement, rules.moved_to
    )
    if placement.tier.name == wanted.tier.name:
        return False
    journey.caller = rules
    journey.wanted = journey.placement = placement
    return True
