"""The scheduler, awaited: requests wait here for a slot upstream.

The only caller of ``core.scheduler`` in the live gateway; it decides nothing itself.  All of it
runs on one event loop, so the scheduler needs no lock, and every clean-up is a plain call: a
second cancellation cannot land in the middle of one.
"""

import asyncio
from collections.abc import Iterable
from types import TracebackType

from gateway import errors
from gateway.core.ops import (
    Cancel,
    Decision,
    Dispatch,
    Edit,
    Evict,
    Evicted,
    Expire,
    Op,
    Reject,
    Release,
    Retry,
    Submit,
)
from gateway.core.policy import Policy
from gateway.core.scheduler import Scheduler


class Turn:
    """One request's place in the line, then its slot: ``async with queue.turn(…) as turn``.

    Entering waits for the dispatch.  Leaving gives the slot back, charged with ``cost``: what
    the request really used, in tokens weighted as the scheduler weighs them.
    """

    __slots__ = ("_future", "_queue", "_submit", "cost", "dispatch", "eviction_reason")

    def __init__(self, queue: "Queue", submit: Submit) -> None:
        self._queue = queue
        self._submit = submit
        self.cost: int | None = None
        self.eviction_reason = ""
        self.dispatch: Dispatch  # set on entering; replaced by ``again``

    @property
    def id(self) -> str:
        return self._submit.id

    async def __aenter__(self) -> "Turn":
        await self._wait_for(self._submit)
        return self

    async def again(self, avoid: str) -> None:
        """Hand the slot back unused and wait for another, at the old place in the line."""
        await self._wait_for(Retry(self.id, avoid))

    async def _wait_for(self, op: Op) -> None:
        self._future: asyncio.Future[Dispatch] = self._queue.loop.create_future()
        self._queue.turns[self.id] = self
        try:
            self._queue.apply([op])
            # Nearly always done at once when there is no line: no trip round the event loop.
            self.dispatch = self._future.result() if self._future.done() else await self._future
        except BaseException:
            self._leave(Cancel(self.id, 0))
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave(Release(self.id, self.cost))

    def _leave(self, op: Cancel | Release) -> None:
        self._queue.turns.pop(self.id, None)
        self._queue.apply([op])

    def decided(self, decision: Decision) -> None:
        if self._future.done():  # the caller left in this very turn of the loop
            return
        match decision:
            case Dispatch():
                self._future.set_result(decision)
            case Reject(code=code, retry_after_ms=wait_ms):
                self._future.set_exception(errors.queue_full(code, wait_ms / 1000))
            case Expire(waited_ms=waited_ms):
                wait_s = self._queue.drain_estimate_s()
                self._future.set_exception(errors.queue_timeout(waited_ms / 1000, wait_s))
            case Evicted():
                self._future.set_exception(errors.evicted(self.eviction_reason))

    def refuse(self, error: errors.GatewayError) -> None:
        if not self._future.done():
            self._future.set_exception(error)


class Queue:
    """The line of one pool."""

    def __init__(self, policy: Policy, version: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.scheduler = Scheduler(policy, version)
        self.turns: dict[str, Turn] = {}
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

    def edit(self, policy: Policy, version: int) -> None:
        self.apply([Edit(policy, version)])

    def evict(self, request_id: str, reason: str) -> None:
        """Remove a waiting request; its caller reads ``reason``."""
        turn = self.turns.get(request_id)
        if turn is not None:
            turn.eviction_reason = reason
            self.apply([Evict(request_id)])

    def refuse_waiting(self, error: errors.GatewayError) -> None:
        """Answer everything that waits with ``error``, as when no backend will come back."""
        for turn in list(self.turns.values()):
            turn.refuse(error)

    def drain_estimate_s(self) -> float:
        """How long the line needs at the present rate; the wait an expired caller is told."""
        now_ms, tiers = self.now_ms(), self.scheduler.line.tiers.values()
        out_per_s = sum(tier.ledger.rates_per_s(now_ms)[1] for tier in tiers)
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
