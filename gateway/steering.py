"""How much each server of a pool is given: every poll and every failure ends in one ``share_out``.

The laws are ``core.capacity``'s and ``core.breaker``'s.  This tells them what was seen, and the
scheduler what they say.
"""

import random
from collections.abc import Mapping

from gateway.backend import Backend
from gateway.core import capacity
from gateway.core.ops import Op, Pace, SetBackend
from gateway.core.policy import Policy
from gateway.queue import Queue

URGENT_EVERY_MS = 450  # once a poll of the pool, however many servers it has
BLIND_SLOTS = 64  # the most for a server that has never shown metrics


class Steering:
    def __init__(self, queue: Queue, backends: Mapping[str, Backend], policy: Policy) -> None:
        self.policy = policy
        self.reserve = capacity.Reserve()  # what urgent tiers need at the moment
        self.reserve_is_short = False
        self._queue = queue
        self._backends = backends
        self._urgent_refused_seen = 0
        self._urgent_looked_ms = 0

    # Servers come and go

    def came_up(self, backend: Backend) -> None:
        """A server that starts, or starts again, has cold caches: its limit is found anew."""
        backend.up = backend.seen = True
        backend.law = capacity.start()
        self.share_out()

    def went_down(self, backend: Backend) -> None:
        backend.up = False
        self.share_out()

    def failed(self, backend: Backend) -> None:
        """A request met a sick server."""
        jitter = random.uniform(0.8, 1.2)  # so that gateways do not probe in step
        if backend.breaker.failed(self._queue.now_ms(), jitter):
            self.share_out()

    def succeeded(self, backend: Backend) -> None:
        """A request or a probe was answered.  After a probe the limit is found anew."""
        was_open = backend.breaker.is_open
        backend.breaker.succeeded(self._queue.now_ms())
        if was_open:
            backend.law = capacity.start()
            self.share_out()

    def overloaded(self, backend: Backend) -> None:
        """The server's own queue was full.  It gets nothing until the next poll, half a second at
        most; by then the law has shrunk its limit."""
        backend.refusals += 1
        self._queue.apply([SetBackend(backend.name, backend.law.base_limit, 0, False)])

    # What was seen

    def urgent(self, priority: int) -> bool:
        return priority >= self.policy.urgent_threshold

    def arrived(self, priority: int) -> None:
        if self.urgent(priority):
            self.reserve = capacity.arrived(self.reserve, self._queue.now_ms())

    def finished(self, priority: int, e2e_s: float) -> None:
        """``e2e_s`` from dispatch to the end."""
        if self.urgent(priority):
            self.reserve = capacity.finished(self.reserve, e2e_s)

    def polled(self, backend: Backend, shown: bool) -> None:
        """Take in one poll: what the server showed and what the line saw since the last one."""
        self._queue.apply(())  # a line that has stood still since is stopped still: count that
        now_ms, seen = self._queue.now_ms(), self._seen(backend)
        most = backend.row.max_in_flight
        if shown or backend.figures.at_s:
            scrape = backend.figures.scrape if shown else None
            backend.law = capacity.observe(backend.law, scrape, seen, now_ms, fixed=most)
        else:
            cap = most or BLIND_SLOTS
            backend.law = capacity.observe_answers(backend.law, seen, now_ms, cap=cap)
        backend.refusals = 0
        if now_ms - self._urgent_looked_ms >= URGENT_EVERY_MS:
            self._urgent_looked_ms = now_ms
            self._watch_urgent()
        self.share_out()

    def _seen(self, backend: Backend) -> capacity.Seen:
        scheduler = self._queue.scheduler
        stops, before = scheduler.stops, backend.stops_seen
        backend.stops_seen = (stops.blocked, stops.paced)
        return capacity.Seen(
            in_flight=scheduler.backends.by_name[backend.name].in_flight,
            blocked=stops.blocked > before[0],
            paced=stops.paced > before[1],
            refusals=backend.refusals,
        )

    def _watch_urgent(self) -> None:
        scheduler = self._queue.scheduler
        urgent = [t for t in scheduler.line.tiers.values() if self.urgent(t.rules.priority)]
        refused = scheduler.stops.urgent_refused
        self.reserve = capacity.polled(
            self.reserve,
            refused=refused > self._urgent_refused_seen,
            waiting=sum(tier.waiting for tier in urgent),
            in_flight=sum(tier.in_flight for tier in urgent),
            base_limit=sum(backend.law.base_limit for backend in self._in_service()),
        )
        self._urgent_refused_seen = refused

    # What follows

    def _in_service(self) -> list[Backend]:
        """The servers to send to.  When more than half are broken but some are not, the least bad
        stay in service: fewer would only break under the load of all."""
        usable = [backend for backend in self._backends.values() if backend.usable]
        whole = [backend for backend in usable if not backend.breaker.is_open]
        broken = [backend for backend in usable if backend.breaker.is_open]
        if whole and len(broken) > len(usable) / 2:
            broken.sort(key=lambda backend: backend.breaker.open_until_ms or 0)
            return whole + broken[: len(usable) // 2 - len(whole)]
        return whole

    def share_out(self) -> None:
        """Tell the scheduler what each server may run, how many slots urgent tiers keep of that,
        and how fast less urgent work may grow."""
        serving = self._in_service()
        limits = [backend.law.base_limit for backend in serving]
        kept: tuple[int, ...] = tuple(0 for _ in serving)
        if serving and self.policy.holdback_share:
            now_ms = self._queue.now_ms()
            reserve = capacity.holdback(self.reserve, limits, self.policy.holdback_share, now_ms)
            kept, self.reserve_is_short = reserve.held_back, reserve.short
        ops: list[Op] = [_slots(one, held) for one, held in zip(serving, kept, strict=True)]
        ops += [
            SetBackend(backend.name, backend.law.base_limit, 0, False)
            for backend in self._backends.values()
            if backend not in serving
        ]
        if self.policy.holdback_share and serving:
            rate = sum(backend.law.pace_tokens_per_s for backend in serving)
            ops.append(Pace(int(rate), capacity.PACE_BURST_TOKENS * len(serving)))
        else:
            ops.append(Pace(None))
        self._queue.apply(ops)


def _slots(backend: Backend, held_back: int) -> SetBackend:
    """An administrator's ``max_in_flight`` bounds everything, held-back slots included."""
    limit, most = backend.law.base_limit, backend.row.max_in_flight
    if most is not None:
        held_back = min(held_back, most - 1)
        limit = most - held_back
    return SetBackend(backend.name, limit, held_back, True)
