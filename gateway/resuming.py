"""What a starting gateway takes over of the past: who missed the target wait in the last six hours.

The slow burn looks back that far, longer than a process lives between two upgrades; without this a
restart would end its alert.  The five minutes that everything else looks back fill by themselves.
"""

import logging
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from django.db import Error

from gateway.aside import Aside
from gateway.backends import Fleet
from gateway.core.buckets import FINEST_S, judged
from gateway.core.ledger import BURN_MIN
from gateway.models import QueueBucket

logger = logging.getLogger(__name__)

COLUMNS = ("pool", "tier", "start", "waits", "lost")


class Past(NamedTuple):
    """Ten seconds of one tier, as stored.  ``start`` is unix seconds."""

    pool: str
    tier: str
    start: int
    waits: str
    lost: str


async def resume(fleet: Fleet, now: Callable[[], float] = time.time) -> None:
    """Tell every tier's ledger.  Without a database they go on with what they see themselves."""
    aside = Aside("past")
    try:
        rows = await aside.run(_stored, now())
    except Error as error:
        logger.warning("the burn of the last hours begins anew: %s", error)
        return
    finally:
        aside.close()
    tell(fleet, rows, now())


def _stored(now_s: float) -> list[Past]:
    since = int(now_s) - BURN_MIN[-1] * 60
    rows = QueueBucket.objects.between(FINEST_S, since, int(now_s))
    return [Past(*row) for row in rows.values_list(*COLUMNS)]


def tell(fleet: Fleet, rows: Iterable[Past], now_s: float) -> None:
    """By the target waits of the policy in force, whatever was aimed at then."""
    found: dict[tuple[str, str], list[tuple[int, int, int]]] = {}
    for row in rows:
        pool = fleet.pools.get(row.pool)
        tier = pool.queue.scheduler.line.tiers.get(row.tier) if pool else None
        if pool is None or tier is None:
            continue
        ago_ms = (now_s - row.start - FINEST_S / 2) * 1000
        minute = int(pool.queue.now_ms() - ago_ms) // 60_000
        counts = judged(row.waits, row.lost, tier.terms.target_wait_ms)
        found.setdefault((row.pool, row.tier), []).append((minute, *counts))
    for (pool_name, tier_name), minutes in found.items():
        fleet.pools[pool_name].queue.scheduler.line.tiers[tier_name].ledger.remember(minutes)
