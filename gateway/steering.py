"""How much each server of a live pool is given: every poll and every failure ends in one
``share_out``.

The conclusions are ``core.steering``'s and the breaker's; this tells them what was seen, and the
scheduler what they say.
"""

import random
from collections.abc import Mapping

from gateway.backend import Backend
from gateway.core import capacity, holdback, steering
from gateway.core.ops import SetBackend
from gateway.core.policy import Policy
from gateway.queue import Queue


class Steering:
    def __init__(self, queue: Queue, backends: Mapping[str, Backend], policy: Policy) -> None:
        self._queue = queue
        self._backends = backends
        self._law = steering.Steering(queue.scheduler, policy)

    def edit(self, policy: Policy) -> None:
        self._law.policy = policy
        self.share_out()

    @property
    def reserve(self) -> holdback.Reserve:
        """What urgent tiers need at the moment."""
        return self._law.reserve

    @property
    def urgent_is_short(self) -> bool:
        return self._law.urgent_is_short(self._queue.now_ms())

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

    def erred(self, backend: Backend) -> None:
        """It answered that it had failed: quick answers like that would draw the whole line.  Yet it
        lives, so the last one in service stays: a request that makes every server fail must not
        take the pool from everybody else."""
        if any(other is not backend for other in self.serving()):
            self.failed(backend)

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
        self._queue.apply([_closed(backend)])

    # What was seen

    def arrived(self, priority: int, sequences: int) -> None:
        self._law.arrived(priority, self._queue.now_ms(), sequences)

    def served(self, backend: Backend, priority: int, service_s: float) -> None:
        """A request was answered to its end, ``service_s`` after its dispatch."""
        self.succeeded(backend)
        self._law.finished(priority, service_s)

    def polled(self, backend: Backend, shown: bool) -> None:
        """Take in one poll, in which the server showed its metrics or did not."""
        self._queue.apply(())  # a line that has stood still since is stopped still: count that
        self._law.polled(
            backend,
            backend.figures.scrape if shown else None,
            self._queue.now_ms(),
            serving=self.serving(),
            shows_metrics=shown or backend.figures.at_s > 0,
        )
        self.share_out()

    # What follows

    def serving(self) -> list[Backend]:
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
        """Tell the scheduler what each server may run."""
        serving = self.serving()
        resting = [one for one in self._backends.values() if one not in serving]
        ops = self._law.share_out(serving, self._queue.now_ms())
        self._queue.apply([*ops, *map(_closed, resting)])


def _closed(backend: Backend) -> SetBackend:
    return SetBackend(backend.name, backend.law.base_limit, 0, False)
