"""Does what people ordered: holds what lasts, does once what is done once, and says to whom.

Asked by the ticker at each look for changes.  What should hold is compared with what does, so a row of another
process, a new policy, a new pool and a restart all need nothing of their own.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal, cast

from django.db import Error

from gateway import errors
from gateway.aside import Aside, Chore
from gateway.auth import Directory
from gateway.backends import Fleet
from gateway.core.ops import Drain, Op, Pause
from gateway.core.selection import select
from gateway.core.snapshot import OverrideView
from gateway.inquiry import Register
from gateway.journey import Journey
from gateway.models import Override, OverrideRow
from gateway.pools import Pool
from gateway.queue import Queue

logger = logging.getLogger(__name__)

Answer = tuple[int, int]  # order, how many it reached

AT_ONCE = 300  # requests moved or removed before others get a turn of the loop
UNDOABLE = 20  # boosts whose requests are remembered


class Overrides:
    def __init__(self, directory: Directory, fleet: Fleet, register: Register) -> None:
        self._directory = directory
        self._fleet = fleet
        self._register = register
        self._held: dict[int, OverrideRow] = {}  # in force here, by id
        self._seen: set[int] | None = None  # orders met by now; None: not one look yet
        self._boosted: OrderedDict[int, list[str]] = OrderedDict()  # by order: whom it reached
        self._answers: list[Answer] = []  # to be written
        self._due = True  # something may have run its term; also while no gateway ran
        self._aside = Aside("overrides")
        self._writing = Chore("writing what became of an override")

    async def keep(self) -> None:
        """Do what is due by now; what cannot be written now is written later."""
        if self._directory.state.revision < 0:
            return  # nothing was read yet: the first look is still to come
        now, rows = time.time(), self._directory.state.overrides
        self._due |= any(not row.holds(now) for row in self._held.values())
        self._hold(rows, now)
        if self._seen is None:  # what was to be done once was meant for a line that is gone
            self._seen = {row.id for row in rows if row.ends_at is None or row.answered}
        for row in rows:
            if row.ends_at is None and row.id not in self._seen:
                self._answers.append((row.id, await self._do(row, now)))
            elif row.id not in self._seen and row.holds(now):
                self._answers.append((row.id, self._reach(row)))
            self._seen.add(row.id)
        self._seen &= {row.id for row in rows}
        if self._answers or self._due:
            await self._writing.run(self._write)

    def close(self) -> None:
        self._writing.stop()
        self._aside.close()

    def views(self) -> tuple[OverrideView, ...]:
        return tuple(
            OverrideView(
                id=row.id,
                verb=cast("Literal['pause', 'drain', 'move']", row.verb),
                pool=row.pool,
                tier=row.tier,
                tenant=row.tenant,
                by=row.owner,
                reason=row.reason,
                begun_at=row.begun_at,
                ends_at=row.ends_at or 0.0,
            )
            for row in self._held.values()
        )

    # What lasts

    def _hold(self, rows: tuple[OverrideRow, ...], now: float) -> None:
        self._held = {row.id: row for row in rows if row.holds(now)}
        for pool in self._fleet.pools.values():
            held = {row.tier: row for row in self._held.values() if row.pool == pool.name}
            drained = {name: row.reason for name, row in held.items() if row.verb == "drain"}
            pool.queue.drain_reasons = drained
            if ops := list(_corrections(pool.queue, held, now)):
                pool.queue.apply(ops)

    def _reach(self, row: OverrideRow) -> int:
        """How many wait in what an order holds."""
        return sum(
            pool.queue.scheduler.line.tiers[row.tier].waiting
            for pool in self._fleet.pools.values()
            if row.pool == pool.name and row.tier in pool.queue.scheduler.line.tiers
        )

    # What is done once

    async def _do(self, row: OverrideRow, now: float) -> int:
        if row.verb == "abort":
            return self._abort(row)
        pool = self._fleet.pools.get(row.pool)
        if pool is None:
            return 0
        ids = self._meant(pool, row, now)
        reached: list[str] = []
        for start in range(0, len(ids), AT_ONCE):
            part = [id for id in ids[start : start + AT_ONCE] if pool.queue.scheduler.waits(id)]
            if row.verb == "evict":
                pool.queue.evict(part, row.reason)
            else:
                pool.queue.boost(part, row.by)
            reached += part
            await asyncio.sleep(0)
        if row.verb == "boost":
            self._boosted[row.id] = reached
            if len(self._boosted) > UNDOABLE:
                self._boosted.popitem(last=False)
        logger.info("%s ordered by %s reached %d requests", row.verb, row.owner, len(reached))
        return len(reached)

    def _abort(self, row: OverrideRow) -> int:
        """End what runs.  Its slot is back once the exchange with the model server is closed."""
        found = [self._register.known_by(id) for id in row.selection.ids]
        running = [one for one in found if isinstance(one, Journey) and one.dispatch is not None]
        for journey in running:
            journey.cut(errors.evicted(row.reason, running=True))
        return len(running)

    def _meant(self, pool: Pool, row: OverrideRow, now: float) -> list[str]:
        if row.undoes is not None:
            return self._boosted.pop(row.undoes, [])
        ordered_ms = pool.queue.now_ms() - int((now - row.begun_at) * 1000)
        return select(pool.queue.scheduler, row.selection, ordered_ms)

    # The answers

    async def _write(self) -> None:
        answers, self._answers = self._answers, []
        due, self._due = self._due, False
        left, still_due = await self._aside.run(_write, answers, due)
        self._answers = left + self._answers
        self._due |= still_due


def _write(answers: list[Answer], due: bool) -> tuple[list[Answer], bool]:
    """Returns what could not be written: the answers left, and whether orders are still due."""
    at = datetime.fromtimestamp(time.time(), UTC)
    left = list(answers)
    try:
        while left:
            Override.objects.answer(*left[0], at)
            left.pop(0)
        if due:
            Override.objects.end_due(at)
            due = False
    except Error as error:
        logger.warning("what became of an override could not be written: %s", error)
    return left, due


def _corrections(queue: Queue, held: dict[str, OverrideRow], now: float) -> Iterator[Op]:
    """What has to be told to the line so that it holds what people ordered, and no more."""
    for name, tier in queue.scheduler.line.tiers.items():
        row = held.get(name)
        paused = row is not None and row.verb == "pause"
        if tier.paused != paused:
            yield Pause(name, paused)
        if row is not None and row.verb == "drain" and row.ends_at is not None:
            until_ms = queue.now_ms() + round((row.ends_at - now) * 1000)
            yield Drain(name, True, until_ms)
        elif tier.draining:
            yield Drain(name, draining=False)
