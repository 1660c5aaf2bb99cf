"""The scheduler, awaited: requests wait here for a slot upstream.

The only caller of ``core.scheduler`` in the live gateway; it decides nothing itself.  All of it
runs on one event loop, so the scheduler needs no lock, and every clean-up is a plain call: a
second cancellation cannot land in the middle of one.
"""

import asyncio
import random
from collections.abc import Iterable, Mapping

from gateway import errors
from gateway.core import estimate
from gateway.core.canary import Canary
from gateway.core.ops import (
    Boost,
    Cancel,
    Decision,
    Dispatch,
    Edit,
    Evict,
    Evicted,
    Expire,
    Move,
    Op,
    Reject,
    Retry,
    Submit,
)
from gateway.core.policy import Policy
from gateway.core.scheduler import Scheduler
from gateway.forecast import Forecast


class Turn:
    """One request's place in the line, then its slot: ``await turn.taken()``, and ``turn.leave``
    in a ``finally``, whatever happened."""

    __slots__ = ("_future", "_queue", "_submit", "dispatch", "eviction_reason", "raw_wait_s")

    def __init__(self, queue: "Queue", submit: Submit) -> None:
        self._queue = queue
        self._submit = submit
        self._future: asyncio.Future[Dispatch]
        self.raw_wait_s: float | None = None  # as estimated on arrival
        self.eviction_reason = ""
        self.dispatch: Dispatch  # set by ``taken``; replaced by ``again``

    async def taken(self) -> None:
        """Wait for the dispatch.

        Raises:
            GatewayError: refused, expired, evicted.
        """
        queue = self._queue
        self.raw_wait_s = queue.forecast.raw_s(self._submit.tier, queue.now_ms())
        await self._wait_for(self._submit)

    async def again(self, avoid: str) -> None:
        """Hand the slot back unused and wait for another, at the old place in the line."""
        await self._wait_for(Retry(self._submit.id, avoid))

    async def _wait_for(self, op: Op) -> None:
        queue = self._queue
        self._future = queue.loop.create_future()
        queue.turns[self._submit.id] = self
        queue.apply([op])
        # Nearly always done at once when there is no line: no trip round the event loop.
        self.dispatch = self._future.result() if self._future.done() else await self._future

    def leave(self, cost: int) -> None:
        """Leave the line, or give the slot back, charged with what the request really cost in
        tokens as the scheduler weighs them; 0 for one that met no engine."""
        future = self._future
        if future.done() and not future.cancelled():
            future.exception()  # a verdict that came as the caller left: nobody else reads it
        self._queue.turns.pop(self._submit.id, None)
        self._queue.apply([Cancel(self._submit.id, cost)])

    def decided(self, decision: Decision) -> None:
        if self._future.done():  # the caller left in this very turn of the loop
            return
        match decision:
            case Dispatch():
                queue = self._queue
                queue.forecast.dispatched(self._submit, decision, self.raw_wait_s, queue.now_ms())
                self._future.set_result(decision)
            case Reject(code="tier_draining", until_room_ms=room_ms):
                tier, jitter = self._submit.tier, random.uniform(0.8, 1.2)
                wait_s = estimate.retry_after_s(None if room_ms is None else room_ms / 1000, jitter)
                reason = self._queue.drain_reasons.get(tier, "")
                self._future.set_exception(errors.tier_draining(tier, reason, wait_s))
            case Reject(code=code, until_room_ms=room_ms):
                jitter = random.uniform(0.8, 1.2)  # so that those refused do not come back in step
                room_s = None if room_ms is None else room_ms / 1000
                wait_s = estimate.retry_after_s(room_s, jitter)
                self._future.set_exception(errors.queue_full(code, wait_s))
            case Expire(waited_ms=waited_ms) if self._passed_own_deadline:
                self._future.set_exception(errors.deadline_exceeded(waited_ms / 1000))
            case Expire() if self._queue.unserved:
                self._future.set_exception(errors.no_backend(self._submit.model))
            case Expire(waited_ms=waited_ms):
                wait_s = self._queue.drain_estimate_s()
                self._future.set_exception(errors.queue_timeout(waited_ms / 1000, wait_s))
            case Evicted():
                self._future.set_exception(errors.evicted(self.eviction_reason))

    @property
    def _passed_own_deadline(self) -> bool:
        deadline_ms = self._submit.expires_at_ms
        return deadline_ms is not None and deadline_ms <= self._queue.now_ms()

    def moved(self, tier: str) -> None:
        """It waits in another tier, of whose waits the estimate on arrival says nothing."""
        self._submit = self._submit._replace(tier=tier)
        self.raw_wait_s = None

    def refuse(self, error: errors.GatewayError) -> None:
        if not self._future.done():
            self._future.set_exception(error)


class Queue:
    """The line of one pool."""

    def __init__(self, policy: Policy, version: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.scheduler = Scheduler(policy, version)
        self.forecast = Forecast(self.scheduler)
        self.turns: dict[str, Turn] = {}
        self.drain_reasons: dict[str, str] = {}  # by tier: what those refused are told
        self.unserved = True  # no server is in service: then nobody waited for others' sake
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_ms: int | None = None

    def now_ms(self) -> int:
        return int(self.loop.time() * 1000)

    def turn(self, submit: Submit) -> Turn:
        return Turn(self, submit)

    def apply(self, ops: Iterable[Op]) -> None:
        """Tell the scheduler, hand out what it decided, and come back when it next wants to."""
        for decision in self.scheduler.apply(ops, self.now_ms()):
            turn = self.turns.get(decision.id)
            if turn is not None:
                turn.decided(decision)
        self._set_alarm()

    def edit(self, policy: Policy, version: int, canary: Canary | None = None) -> None:
        self.apply([Edit(policy, version, canary)])

    def evict(self, ids: Iterable[str], reason: str) -> None:
        """Remove waiting requests; their callers read ``reason``."""
        turns = {id: turn for id in ids if (turn := self.turns.get(id))}
        for turn in turns.values():
            turn.eviction_reason = reason
        self.apply([Evict(id) for id in turns])

    def move(self, tiers: Mapping[str, str]) -> None:
        """Let waiting requests, by id, wait in another tier."""
        for id, tier in tiers.items():
            self.turns[id].moved(tier)
        self.apply([Move(id, tier) for id, tier in tiers.items()])

    def boost(self, ids: Iterable[str], by: int) -> None:
        self.apply([Boost(id, by) for id in ids])

    def refuse_waiting(self, error: errors.GatewayError) -> None:
        """Answer everything that waits with ``error``, as when no backend will come back."""
        for turn in list(self.turns.values()):
            turn.refuse(error)

    def dispatched_per_s(self) -> float:
        now_ms, tiers = self.now_ms(), self.scheduler.line.tiers.values()
        return sum(tier.ledger.rates_per_s(now_ms)[1] for tier in tiers)

    def drain_estimate_s(self) -> float:
        """How long the line needs at the present rate; the wait an expired caller is told."""
        out_per_s = self.dispatched_per_s()
        return self.scheduler.waiting / out_per_s if out_per_s else errors.MAX_RETRY_S

    def _set_alarm(self) -> None:
        wake_at_ms = self.scheduler.wake_at_ms
        if wake_at_ms == self._alarm_ms:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm, self._alarm_ms = None, wake_at_ms
        if wake_at_ms is not None:
            # A millisecond late: at the moment itself the clock, cut to whole ms, may say one less.
            self._alarm = self.loop.call_at((wake_at_ms + 1) / 1000, self._ring)

    def _ring(self) -> None:
        self._alarm_ms = None
        self.apply(())
