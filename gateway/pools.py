"""The servers that share one line, and what their line needs to know of them.

A ``Pool`` joins the pure decisions (scheduler, estimates, capacity) with what was seen; it asks
nobody anything.  ``backends`` asks.
"""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway import errors
from gateway.core import capacity, estimate
from gateway.core.ops import SetBackend
from gateway.core.policy import Policy, Tier
from gateway.core.snapshot import BackendState, EngineView, PoolView, pool_view
from gateway.core.wire import Call
from gateway.models import BackendRow
from gateway.queue import Queue
from gateway.scrape import Figures
from gateway.upstream import Origin

if TYPE_CHECKING:
    from gateway.journey import Journey

BLIND_SLOTS = 64  # the most for a server that has never shown metrics
NO_BACKEND_TTL_S = 60.0  # how long a line is held while no backend is up
Cards = dict[str, dict[str, object]]


@dataclass
class Backend:
    """One model server as the gateway sees it at the moment."""

    row: BackendRow
    origin: Origin
    api_key: str = ""
    up: bool = False
    seen: bool = False  # has answered at least once since this process started
    failures: int = 0
    error: str = "not asked yet"
    models: Cards = field(default_factory=dict)
    figures: Figures = field(default_factory=Figures)
    before: Figures = field(default_factory=Figures)
    law: capacity.Law = field(default_factory=capacity.start)
    refusals: int = 0  # since the last poll
    stops_seen: tuple[int, int] = (0, 0)
    discovered_at: float = float("-inf")
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def name(self) -> str:
        return self.row.name

    @property
    def usable(self) -> bool:
        return self.up and self.row.enabled

    @property
    def honours_priority(self) -> bool:
        """Only a server known to run first-come-first-served gets no number: it would ignore it,
        silently and with status 200 (vllm/config/scheduler.py)."""
        return self.row.scheduling_policy != "fcfs"

    @property
    def state(self) -> BackendState:
        if not self.row.enabled:
            return "draining"
        if self.up:
            return "up"
        return "down" if self.seen or self.failures else "unknown"

    def view(self) -> EngineView:
        scrape = self.figures.scrape
        return EngineView(
            name=self.name,
            url=self.row.url,
            state=self.state,
            engine_running=scrape.running,
            engine_waiting=scrape.waiting,
            kv_usage=scrape.kv_usage,
            tokens_per_s=self.figures.tokens_per_s(self.before),
            preemptions=int(scrape.preemptions_total),
            scheduling_policy=self.row.scheduling_policy,
            error="" if self.up else self.error,
        )


class Pool:
    def __init__(self, name: str, policy: Policy, version: int) -> None:
        self.name = name
        self.policy = policy
        self.queue = Queue(policy, version)
        self.backends: dict[str, Backend] = {}
        self.outputs = estimate.Outputs()
        self.reserve = capacity.Reserve()
        self._dark_since: float | None = asyncio.get_running_loop().time()

    # Costs

    def cost_of(self, call: Call, tenant: str, task_type: str) -> int:
        """What a call will probably cost, in the scheduler's tokens."""
        expected = self.outputs.expect(
            tenant, task_type, call.model, max_tokens=call.max_tokens, sequences=call.sequences
        )
        return estimate.cost(call.prompt_tokens, expected)

    def latest_start_ms(self, tier: Tier, deadline_s: float | None) -> int | None:
        """The moment after which the caller has no use for an answer, where it named one.

        Raises:
            GatewayError: it would pass before the request's turn, by the middle estimate.
        """
        if deadline_s is None:
            return None
        now_ms = self.queue.now_ms()
        wait = self.queue.forecast.wait(tier.name, now_ms)
        if not estimate.feasible(wait, tier.max_wait_s, deadline_s) and wait is not None:
            raise errors.deadline_unreachable(wait.p50_s, wait.p50_s)
        return now_ms + round(deadline_s * 1000)

    def learn(self, journey: "Journey") -> None:
        """Take in a finished answer: how long answers are."""
        call, caller, placement = journey.call, journey.caller, journey.placement
        tokens = journey.tokens().completion_tokens
        if call and caller and placement and tokens is not None:
            self.outputs.learn(
                caller.tenant, placement.task_type, call.model, tokens, sequences=call.sequences
            )

    # Who is there

    def any_backend(self) -> Backend:
        """A server for work that needs no slot."""
        usable = [backend for backend in self.backends.values() if backend.usable]
        if not usable:
            raise errors.no_backend(self.name)
        return min(usable, key=lambda backend: backend.figures.scrape.running)

    def models(self) -> Cards:
        merged: Cards = {}
        for backend in self.backends.values():
            for model, card in backend.models.items():
                merged.setdefault(model, card)
        return merged

    def refuse_if_dark(self, model: str) -> None:
        """The line is held while servers restart, but not for ever."""
        if self._dark_for_s() >= NO_BACKEND_TTL_S:
            raise errors.no_backend(model)

    def watch_darkness(self) -> None:
        if any(backend.up for backend in self.backends.values()):
            self._dark_since = None
        elif self._dark_since is None:
            self._dark_since = asyncio.get_running_loop().time()
        if self._dark_for_s() >= NO_BACKEND_TTL_S:
            self.queue.refuse_waiting(errors.no_backend(self.name))

    def _dark_for_s(self) -> float:
        if self._dark_since is None:
            return 0.0
        return asyncio.get_running_loop().time() - self._dark_since

    # Capacity

    def edit(self, policy: Policy, version: int) -> None:
        self.policy = policy
        self.queue.edit(policy, version)
        self.share_out()

    def came_up(self, backend: Backend) -> None:
        """A server that starts, or starts again, has cold caches: its limit is found anew."""
        backend.up = backend.seen = True
        backend.law = capacity.start()
        self.share_out()

    def went_down(self, backend: Backend) -> None:
        backend.up = False
        self.share_out()

    def overloaded(self, backend: Backend) -> None:
        """The server's own queue was full.  It gets nothing until the next poll, half a second at
        most; by then the law has shrunk its limit."""
        backend.refusals += 1
        self._set(backend, held_back=0, open=False)

    def polled(self, backend: Backend, shown: bool) -> None:
        """Take in one poll: what the server showed and what the line saw since the last one."""
        now_ms = self.queue.now_ms()
        seen = self._seen(backend)
        if shown or backend.figures.at_s:
            scrape = backend.figures.scrape if shown else None
            backend.law = capacity.observe(
                backend.law, scrape, seen, now_ms, fixed=backend.row.max_in_flight
            )
        else:
            cap = backend.row.max_in_flight or BLIND_SLOTS
            backend.law = capacity.observe_answers(backend.law, seen, now_ms, cap=cap)
        backend.refusals = 0
        self.share_out()

    def share_out(self) -> None:
        """Tell the scheduler what each server may run, and how many slots urgent tiers keep."""
        usable = [backend for backend in self.backends.values() if backend.usable]
        limits = [backend.law.base_limit for backend in usable]
        share = self.policy.holdback_share
        kept: tuple[int, ...] = tuple(0 for _ in usable)
        if usable and share:
            kept = capacity.holdback(self.reserve, limits, share, self.queue.now_ms()).held_back
        for backend, held_back in zip(usable, kept, strict=True):
            self._set(backend, held_back, open=True)
        for backend in self.backends.values():
            if not backend.usable:
                self._set(backend, 0, open=False)

    def _set(self, backend: Backend, held_back: int, *, open: bool) -> None:
        """An administrator's ``max_in_flight`` bounds everything, held-back slots included."""
        limit, most = backend.law.base_limit, backend.row.max_in_flight
        if most is not None:
            held_back = min(held_back, most - 1)
            limit = most - held_back
        self.queue.apply([SetBackend(backend.name, limit, held_back, open)])

    def _seen(self, backend: Backend) -> capacity.Seen:
        """What the line met since this backend's last poll."""
        self.queue.apply(())  # a line that has stood still since is stopped still: count that
        scheduler = self.queue.scheduler
        stops, before = scheduler.stops, backend.stops_seen
        backend.stops_seen = (stops.blocked, stops.paced)
        return capacity.Seen(
            in_flight=scheduler.backends.by_name[backend.name].in_flight,
            blocked=stops.blocked > before[0],
            paced=stops.paced > before[1],
            refusals=backend.refusals,
        )

    def view(self) -> PoolView:
        line = self.queue.scheduler.look(self.queue.now_ms())
        engines = [backend.view() for backend in self.backends.values()]
        return pool_view(self.name, sorted(self.models()), line, engines)
