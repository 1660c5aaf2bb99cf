"""The production scheduler and modelled engines on a virtual clock: arrivals in, a report out.

The gateway's half is no model: ``Scheduler``, ``capacity``, ``estimate`` and ``admission`` are
the ones that serve, steered poll by poll as the live gateway steers them, so a preview cannot
disagree with them about order.  Modelled are vLLM (``engine``), the network (one delay) and the
callers, who never hang up, retry or slow down.

Nothing is drawn here: equal arrivals give equal reports.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Protocol

from gateway.core import admission, estimate, quota
from gateway.core.engine import EngineConfig, Event, Finished, FirstToken, Started
from gateway.core.modelled import Server
from gateway.core.ops import Decision, Dispatch, Evicted, Expire, Op, Reject, Release, Submit
from gateway.core.outlook import look
from gateway.core.policy import KeyRules, Placement, Policy, Statement, TenantRules, resolve
from gateway.core.report import Outcome, Report, Sample
from gateway.core.scheduler import Scheduler
from gateway.core.starvation import Watch
from gateway.core.steering import Steering
from gateway.core.wire import vllm_priority

SAMPLE_MS = 250
ENDPOINT = "/v1/chat/completions"


class Arrival(Protocol):
    """A request to come; ``gateway.arrivals`` draws and reads them."""

    @property
    def at_s(self) -> float: ...
    @property
    def tenant(self) -> str: ...
    @property
    def task_type(self) -> str: ...
    @property
    def prompt_tokens(self) -> int: ...
    @property
    def output_tokens(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What the arrivals meet.  The defaults are the live gateway's before one cold engine."""

    policy: Policy
    engines: Mapping[str, EngineConfig] = field(default_factory=lambda: {"gpu": EngineConfig()})
    refill_s: float = 0.02  # from a reply's last byte to the next request in the engine
    stored: int | None = None  # the base limit of each backend when last seen; None: cold
    fixed: int | None = None  # an administrator's max_in_flight, instead of the law
    poll_s: float | None = None  # None: as often as the law asks
    outage_s: tuple[float, float] = (0.0, 0.0)  # metrics are away from one moment to the other
    charges_quotas: bool = False
    says: "Callable[[Arrival], Statement] | None" = None  # None: its task type alone
    told: Callable[[float], None] | None = None  # hears how far it is, in s; may raise to stop it
    until_s: float | None = None  # None: until all that arrived is over


def simulate(setup: Setup, arrivals: Iterable[Arrival]) -> Report:
    """Play ``arrivals``, which are in order of time; endless ones need ``setup.until_s``.

    Raises:
        ValueError: an arrival comes before the one ahead of it.
    """
    return _Run(setup, iter(arrivals)).play()


class _Run:
    def __init__(self, setup: Setup, arrivals: Iterator[Arrival]) -> None:
        self.setup = setup
        self.policy = setup.policy
        self.scheduler = Scheduler(setup.policy)
        self.servers = {
            name: Server(name, config, setup.stored, setup.fixed)
            for name, config in setup.engines.items()
        }
        self.serving = list(self.servers.values())
        self.steering = Steering(self.scheduler, setup.policy)
        self.outputs = estimate.Outputs()
        self.tats: quota.Tats = {}
        self.charges: dict[str, tuple[quota.Charge, ...]] = {}
        self.watch = Watch()
        self.outcomes: dict[str, Outcome] = {}
        self.samples: list[Sample] = []
        self._arrivals = arrivals
        self._coming = next(arrivals, None)
        self._leaving: list[tuple[int, str]] = []  # replies on their way out of the gateway
        self._placements: dict[tuple[str, Statement], Placement] = {}
        self._longest = max(config.most_tokens for config in setup.engines.values())
        self._sample_ms = 0
        self._wake_ms: int | None = None
        self.now_ms = 0

    def play(self) -> Report:
        until_ms = None if self.setup.until_s is None else round(self.setup.until_s * 1000)
        self._apply(self.steering.share_out(self.serving, 0))
        for server in self.servers.values():
            server.poll_ms = self._poll_in_ms(server)
        next_ms = 0
        while self._coming or self.scheduler.waiting or self.scheduler.slots.in_flight:
            next_ms = max(next_ms, self._next_ms())
            if until_ms is not None and next_ms > until_ms:
                self.now_ms = until_ms
                break
            self.now_ms = next_ms
            self._turn()
            next_ms += 1  # each moment is dealt with as a whole
        for outcome in self.outcomes.values():
            if outcome.fate == "waiting":
                outcome.passed = self.watch.so_far(outcome.id)
        self._sample()
        line = look(self.scheduler, self.now_ms, head=self.scheduler.waiting)
        return Report(self.now_ms, tuple(self.outcomes.values()), tuple(self.samples), line)

    # The clock

    def _next_ms(self) -> int:
        moments = [self._sample_ms]
        if self._coming:
            moments.append(round(self._coming.at_s * 1000))
        if self._leaving:
            moments.append(self._leaving[0][0])
        if self._wake_ms is not None:
            moments.append(self._wake_ms)
        for server in self.servers.values():
            moments.append(server.poll_ms)
            next_ms = server.next_ms
            if next_ms is not None:
                moments.append(next_ms)
        return min(moments)

    def _turn(self) -> None:
        """All that happens at this moment, in the order in which the gateway would hear of it."""
        now_ms = self.now_ms
        for server in self.servers.values():
            next_ms = server.next_ms
            if next_ms is not None and next_ms <= now_ms:
                for event in server.advance(now_ms):
                    self._happened(event)
        ops: list[Op] = []
        while self._leaving and self._leaving[0][0] <= now_ms:
            ops.append(self._release(heappop(self._leaving)[1]))
        while self._coming and round(self._coming.at_s * 1000) <= now_ms:
            arrival, self._coming = self._coming, next(self._arrivals, None)
            if self._coming and self._coming.at_s < arrival.at_s:
                raise ValueError("the arrivals are not in order of time")
            submit = self._arrived(arrival)
            if submit:
                ops.append(submit)
        if ops or (self._wake_ms is not None and self._wake_ms <= now_ms):
            self._apply(ops)
        for server in self.servers.values():
            if server.poll_ms <= now_ms:
                self._poll(server)
        if self._sample_ms <= now_ms:
            self._sample()

    def _sample(self) -> None:
        servers = self.servers.values()
        self.samples.append(
            Sample(
                at_s=self.now_ms / 1000,
                generated_tokens=sum(s.engine.counters.generation_tokens for s in servers),
                in_flight=self.scheduler.slots.in_flight,
                running=sum(server.running for server in servers),
                engine_waiting=sum(server.waiting for server in servers),
                base_limit=sum(server.law.base_limit for server in servers),
                held_back=sum(server.held_back for server in servers),
                lookahead=sum(server.law.lookahead for server in servers),
                waiting=self.scheduler.waiting,
            )
        )
        self._sample_ms = self.now_ms + SAMPLE_MS
        if self.setup.told:
            self.setup.told(self.now_ms / 1000)

    # One request's way

    def _arrived(self, arrival: Arrival) -> Submit | None:
        """Through the door: its tier, its cost, its quota.  None: refused there."""
        wanted = self._place(arrival)
        tier = wanted.tier
        outcome = Outcome(
            id=f"r{len(self.outcomes)}",
            tenant=arrival.tenant,
            task_type=arrival.task_type,
            tier=tier.name,
            arrived_ms=self.now_ms,
            prompt_tokens=arrival.prompt_tokens,
            output_tokens=arrival.output_tokens,
        )
        self.outcomes[outcome.id] = outcome
        if arrival.prompt_tokens + arrival.output_tokens > self._longest:
            outcome.fate = "too_long"
            return None
        expected = self.outputs.expect(arrival.tenant, arrival.task_type, "")
        outcome.cost = estimate.cost(arrival.prompt_tokens, expected)
        if self.setup.charges_quotas:
            door = admission.Door(
                self.policy, arrival.tenant, self._rules(arrival.tenant), "", KeyRules()
            )
            admitted = admission.admit(
                door, self.tats, wanted, cost=outcome.cost, now_ms=self.now_ms
            )
            if admitted.exceeded:
                outcome.fate = "rate_limited"
                return None
            self.charges[outcome.id] = admitted.charges
            tier = admitted.placement.tier
            outcome.tier = tier.name
        self.steering.arrived(tier.priority, self.now_ms)
        due_ms = self.now_ms + round(tier.target_wait_s * 1000)
        self.watch.joined(outcome.id, outcome.cost, due_ms)
        return Submit(outcome.id, tier.name, outcome.tenant, outcome.cost, outcome.prompt_tokens)

    def _place(self, arrival: Arrival) -> Placement:
        says = self.setup.says
        said = says(arrival) if says else Statement(endpoint=ENDPOINT, task_type=arrival.task_type)
        key = (arrival.tenant, said)
        placement = self._placements.get(key)
        if placement is None:
            placement = resolve(self.policy, self._rules(arrival.tenant), KeyRules(), said)
            self._placements[key] = placement
        return placement

    def _rules(self, tenant: str) -> TenantRules:
        return self.policy.tenants.get(tenant) or TenantRules()

    def _apply(self, ops: list[Op]) -> None:
        self.watch.moved_on(self.now_ms)
        for decision in self.scheduler.apply(ops, self.now_ms):
            self._decided(decision)
        self._wake_ms = self.scheduler.wake_at_ms

    def _decided(self, decision: Decision) -> None:
        outcome = self.outcomes[decision.id]
        match decision:
            case Dispatch():
                outcome.passed = self.watch.dispatched(outcome.id)
                outcome.fate = "running"
                outcome.left_ms = outcome.dispatched_ms = self.now_ms
                outcome.lane, outcome.boost = decision.lane, decision.boost
                outcome.priority = decision.priority
                server = self.servers[decision.backend]
                server.submit(
                    outcome.id,
                    outcome.prompt_tokens,
                    outcome.output_tokens,
                    vllm_priority(decision.priority, scheduled_by_priority=server.by_priority),
                    self.now_ms,
                )
                return
            case Reject():
                outcome.fate = decision.code
            case Expire() | Evicted():
                outcome.fate = "expired"
                outcome.passed = self.watch.so_far(outcome.id)
        outcome.left_ms = self.now_ms
        self.watch.left(outcome.id)
        quota.refund(self.tats, self.charges.pop(outcome.id, ()), self.now_ms)

    def _happened(self, event: Event) -> None:
        outcome = self.outcomes[event.id]
        match event:
            case Started() if outcome.engine_wait_s is None:
                outcome.engine_wait_s = event.at_s - (outcome.dispatched_ms or 0) / 1000
            case FirstToken():
                outcome.first_token_s = event.at_s
            case Finished():
                outcome.finished_s = event.at_s
                leaves_ms = max(self.now_ms, round((event.at_s + self.setup.refill_s) * 1000))
                heappush(self._leaving, (leaves_ms, event.id))

    def _release(self, id: str) -> Release:
        outcome = self.outcomes[id]
        outcome.fate = "completed"
        self.outputs.learn(outcome.tenant, outcome.task_type, "", outcome.output_tokens)
        tier = self.policy.tier(outcome.tier)
        if tier:
            served_s = (self.now_ms - (outcome.dispatched_ms or 0)) / 1000
            self.steering.finished(tier.priority, served_s)
        cost = estimate.cost(outcome.prompt_tokens, outcome.output_tokens)
        quota.settle(self.tats, self.charges.pop(id, ()), self.now_ms, tokens=cost)
        return Release(id, cost)

    # Polls

    def _poll_in_ms(self, server: Server) -> int:
        return round((self.setup.poll_s or server.law.poll_s) * 1000)

    def _poll(self, server: Server) -> None:
        self._apply([])  # a line that has stood still since is stopped still: count that
        from_s, until_s = self.setup.outage_s
        shown = not from_s <= self.now_ms / 1000 < until_s
        scrape = server.scrape() if shown else None
        self.steering.polled(server, scrape, self.now_ms, serving=self.serving)
        self._apply(self.steering.share_out(self.serving, self.now_ms))
        server.poll_ms = self.now_ms + self._poll_in_ms(server)
