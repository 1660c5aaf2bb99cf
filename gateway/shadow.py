"""A policy decided beside the real one: counted, never enforced.

It has buckets of its own, charged with the same estimates, so no counter of the real policy moves
and a spent quota of the shadow is spent in the shadow alone.  What it would refuse or place
otherwise is written to rows every few seconds; other gateways add to the same rows.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import Error, transaction

from gateway.aside import Aside
from gateway.auth import Caller, Directory
from gateway.core import quota
from gateway.core.admission import Door, admit
from gateway.core.policy import Placement, Statement, TenantRules, resolve
from gateway.journey import Journey
from gateway.models import ShadowCount, ShadowRow

logger = logging.getLogger(__name__)

WRITE_EVERY_S = 2.0
Key = tuple[int, str, str, str]  # shadow, tenant, tier it went to, tier it would have gone to


class Shadowing:
    def __init__(self, directory: Directory, now: Callable[[], float] = time.time) -> None:
        self.counts: Counter[Key] = Counter()
        self._directory = directory
        self._now = now
        self._tats: quota.Tats = {}
        self._aside = Aside("shadow")
        self._whose = 0  # the shadow that the buckets belong to

    @contextmanager
    def beside(self, journey: Journey, cost: int) -> Iterator[None]:
        """Around the real admission: see how it ended, and decide the same under the shadow."""
        try:
            yield
        finally:
            shadow = self._directory.state.shadow
            if shadow is not None and self._now() < shadow.ends_at:
                self._count(shadow, journey, cost)

    def _count(self, shadow: ShadowRow, journey: Journey, cost: int) -> None:
        caller, call = journey.caller, journey.call
        if caller is None or call is None:
            return
        if shadow.pk != self._whose:
            self._whose, self._tats = shadow.pk, {}
        would = self._decide(shadow, caller, call.statement, cost)
        was = journey.charged.placement.tier.name if journey.charged else ""
        self.counts[shadow.pk, caller.tenant, was, would.tier.name if would else ""] += 1

    def _decide(
        self, shadow: ShadowRow, caller: Caller, said: Statement, cost: int
    ) -> Placement | None:
        policy = shadow.policy
        rules = policy.tenants.get(caller.tenant) or TenantRules()
        wanted = resolve(policy, rules, caller.key_rules, said, caller.moved_to)
        door = Door(policy, caller.tenant, rules, caller.key_id8, caller.key_rules)
        now_ms = int(self._now() * 1000)
        admission = admit(door, self._tats, wanted, cost=cost, now_ms=now_ms)
        return None if admission.exceeded else admission.placement

    async def run(self) -> None:
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            await self.write()

    async def write(self) -> None:
        """Put down what was counted since; where the database is away it waits."""
        counted, self.counts = self.counts, Counter()
        if not counted:
            return
        try:
            await self._aside.run(_add, counted)
        except Error as error:
            logger.warning("what the shadow counted waits for the database: %s", error)
            self.counts.update(counted)

    def close(self) -> None:
        self._aside.close()


def _add(counted: Counter[Key]) -> None:
    with transaction.atomic():
        for (shadow, tenant, was, would), n in sorted(counted.items()):
            ShadowCount.objects.add(shadow, tenant, was, would, n)
