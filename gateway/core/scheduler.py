"""The state machine: operations in, decisions out.

    waiting → in flight → gone         rejected, expired, evicted and cancelled leave from waiting

One call does, in this order: what has come due by itself (an edit under way, ageing steps,
expiries), the operations as given, then dispatches until nothing more may run.  What waits is
kept by ``waitlist`` and ordered by ``ordering``; ``caps`` says who has to go, ``placing`` where a
request may run; ``outlook`` and ``explain`` read the line and change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gateway.core import caps, explain, lending, outlook
from gateway.core.flows import GONE, IN_FLIGHT, TOP, WAITING, Flow, Request
from gateway.core.ledger import Loss
from gateway.core.ops import (
    Boost,
    Cancel,
    Decision,
    Dispatch,
    Drain,
    Edit,
    Evict,
    Evicted,
    Expire,
    Lane,
    Move,
    Op,
    Pace,
    Pause,
    Reject,
    RejectCode,
    Release,
    RemoveBackend,
    Retry,
    SetBackend,
    Submit,
)
from gateway.core.ordering import TAG_SCALE
from gateway.core.placing import Backends, PaceBucket, Stops
from gateway.core.policy import Policy
from gateway.core.snapshot import Line
from gateway.core.standing import TenantState, TierState
from gateway.core.waitlist import Waitlist

AGEING_GRAIN_MS = 50  # ageing steps are waited for this coarsely; any call brings all up to date
MOST_BOOST = 5
STRICT: Lane = "strict"
RESCUE: Lane = "rescue"
RESERVED: Lane = "reserved"


class Scheduler:
    """The line of one pool.  Time is whole milliseconds that never go back."""

    def __init__(self, policy: Policy, version: int = 0) -> None:
        self.in_flight = 0
        self.line = Waitlist(policy, version)
        self.backends = Backends()
        self.stops = Stops()
        self.pace = PaceBucket()
        self.requests: dict[str, Request] = {}
        self.largest_cost = 1  # since the pool was last empty
        self.dispatched_cost = 0
        self._seq = 0
        self._decisions: list[Decision] = []
        self._acts: dict[type, Callable[..., None]] = {
            Submit: self._submit,
            Release: self._release,
            Retry: self._retry,
            Cancel: self._cancel,
            Boost: self._boost,
            Move: self._move,
            Evict: self._evict,
            SetBackend: self._set_backend,
            RemoveBackend: lambda op: self.backends.remove(op.name),
            Edit: self._edit,
            Pause: self._pause,
            Drain: self._drain,
            Pace: self._set_pace,
        }
        self._follow(policy)

    def apply(self, ops: Iterable[Op], now_ms: int) -> list[Decision]:
        """Take in what has happened; the answer is what follows from it, in order.

        Raises:
            ValueError: a known id is submitted again, or a tier was never heard of.  Nothing of
                the call has been done then.
        """
        ops = list(ops)
        self._check(ops)
        decisions = self._decisions = []
        line = self.line
        line.now_ms = now_ms
        self.pace.refill(now_ms)
        line.rekey_some()
        if line.waiting:
            line.age()
        while (expiry := line.next_expiry()) and expiry[0] <= now_ms:
            self._give_up(expiry[2])
        for op in ops:
            self._acts[type(op)](op)
        self._dispatch()
        if line.waiting or self.in_flight:
            line.sweep()
        elif line.tenants:
            line.clear()
            self.largest_cost = 1
        return decisions

    @property
    def waiting(self) -> int:
        return self.line.waiting

    @property
    def wake_at_ms(self) -> int | None:
        """When ``apply([])`` is next worth calling.

        Rescue needs no wake-up: it decides who goes, never whether anyone may.
        """
        line = self.line
        if line.unsettled:
            return line.now_ms
        if not line.waiting:
            return None
        moments = []
        if step := line.ageing.first():
            moments.append(-(-step[0] // AGEING_GRAIN_MS) * AGEING_GRAIN_MS)
        if expiry := line.next_expiry():
            moments.append(expiry[0])
        if (free_at_ms := self.pace.free_at_ms) is not None:
            moments.append(free_at_ms)
        return min(moments, default=None)

    def look(self, now_ms: int, head: int = 50, expect: outlook.Expect = outlook.unknown) -> Line:
        return outlook.look(self, now_ms, head, expect)

    def waits(self, id: str) -> bool:
        return self._waiter(id) is not None

    def _waiter(self, id: str) -> Request | None:
        request = self.requests.get(id)
        return request if request is not None and request.state == WAITING else None

    def explain(self, id: str, now_ms: int) -> explain.Explanation | None:
        return explain.explain(self, id, now_ms)

    # Operations

    def _check(self, ops: list[Op]) -> None:
        submitted: set[str] = set()
        to_come: set[str] = set()
        for op in ops:
            if isinstance(op, Submit):
                if op.id in self.requests or op.id in submitted:
                    raise ValueError(f"request {op.id!r} is already known")
                if not self.line.knows_tier(op.tier) and op.tier not in to_come:
                    raise ValueError(f"there is no tier {op.tier!r}")
                submitted.add(op.id)
            elif isinstance(op, Edit):
                to_come |= {tier.name for tier in op.policy.tiers}

    def _submit(self, op: Submit) -> None:
        line = self.line
        tier = line.tier(op.tier)
        tenant = line.tenant(op.tenant)
        cost = max(1, op.cost)
        code = self._refusal(tier, tenant, cost)
        if code:
            tier.ledger.lost(line.now_ms, "rejected")
            if code == "tier_draining":
                until_room_ms = caps.until_drained_ms(tier, line.now_ms)
            else:
                until_room_ms = caps.until_room_ms(tier, cost, line.now_ms)
            self._decisions.append(Reject(op.id, code, until_room_ms))
            return
        self._seq += 1
        request = Request(
            id=op.id,
            seq=self._seq,
            cost=cost,
            prompt_tokens=op.prompt_tokens,
            footprint=op.footprint,
            sequences=op.sequences,
            prefix=op.prefix,
            arrived_ms=line.now_ms if op.arrived_ms is None else op.arrived_ms,
            expires_at_ms=op.expires_at_ms,
            avoid=op.avoid,
            flow=line.flow(tier, tenant),
            key=op.key,
            model=op.model,
            task_type=op.task_type,
        )
        self.requests[op.id] = request
        self.largest_cost = max(self.largest_cost, cost)
        tier.ledger.admitted(line.now_ms)
        self._line_up(request)

    def _refusal(self, tier: TierState, tenant: TenantState, cost: int) -> RejectCode | None:
        """Why an arrival has to go; None once there is a place in line for it."""
        line = self.line
        if tier.draining:
            return "tier_draining"
        if caps.over(line, tier, tenant, cost) is None:
            return None
        self._dispatch()  # nobody is refused a place while the line can still move
        code = caps.over(line, tier, tenant, cost)
        if code != "displaced":
            return code
        newest = caps.newest_below(line, tier.rules.priority)
        if newest is None:
            return "queue_full"
        its_tier = newest.flow.tier
        self._drop(newest, "evicted")
        until_room_ms = caps.until_room_ms(its_tier, newest.cost, line.now_ms)
        self._decisions.append(Reject(newest.id, "displaced", until_room_ms))
        return None

    def _line_up(self, request: Request) -> None:
        """A request waits, unless it has waited for too long already."""
        self.line.join(request)
        self._expire_if_due(request)

    def _expire_if_due(self, request: Request) -> None:
        flow = request.flow
        side = self.line.side(flow.tier, flow.tenant.slug)
        expires_at_ms = request.arrived_ms + side.max_wait_ms
        if request.expires_at_ms is not None:
            expires_at_ms = min(expires_at_ms, request.expires_at_ms)
        if expires_at_ms <= self.line.now_ms:
            self._give_up(request)

    def _give_up(self, request: Request) -> None:
        self._drop(request, "expired")
        self._decisions.append(Expire(request.id, self.line.now_ms - request.arrived_ms))

    def _drop(self, request: Request, how: Loss) -> None:
        """A waiting request goes without having run."""
        request.flow.tier.ledger.lost(self.line.now_ms, how)
        del self.requests[request.id]
        self.line.leave(request, GONE)

    def _release(self, op: Release | Cancel) -> None:
        request = self.requests.get(op.id)
        if request and request.state == IN_FLIGHT:
            del self.requests[op.id]
            self._free(request, op.cost)

    def _cancel(self, op: Cancel) -> None:
        if request := self._waiter(op.id):
            self._drop(request, "cancelled")
        else:
            self._release(op)

    def _evict(self, op: Evict) -> None:
        if request := self._waiter(op.id):
            self._drop(request, "evicted")
            self._decisions.append(Evicted(op.id))

    def _retry(self, op: Retry) -> None:
        request = self.requests.get(op.id)
        if request and request.state == IN_FLIGHT:
            self._free(request, 0)
            request.avoid = op.avoid
            self._line_up(request)

    def _boost(self, op: Boost) -> None:
        if request := self._waiter(op.id):
            self.line.boost(request, max(-MOST_BOOST, min(MOST_BOOST, op.by)))

    def _move(self, op: Move) -> None:
        """No cap is asked: who waits is not refused for what an administrator changed."""
        request = self._waiter(op.id)
        if request is None or not self.line.knows_tier(op.tier):
            return
        if self.line.tier(op.tier) is not request.flow.tier:
            self.requests[op.id] = moved = self.line.move(request, self.line.tier(op.tier))
            self._expire_if_due(moved)

    def _set_backend(self, op: SetBackend) -> None:
        self.backends.set(op.name, op.limit, op.held_back, open=op.open, kv_tokens=op.kv_tokens)

    def _edit(self, op: Edit) -> None:
        self.line.follow(op.policy, op.version, op.canary)
        self._follow(op.policy)

    def _follow(self, policy: Policy) -> None:
        self.rescue_permille = round(policy.rescue_share * 1000)
        self.urgent_threshold = policy.urgent_threshold
        self.backends.share_holdback(round(policy.holdback_share * 1000))

    def _pause(self, op: Pause) -> None:
        if tier := self.line.tiers.get(op.tier):
            self.line.pause(tier, op.paused)

    def _drain(self, op: Drain) -> None:
        if tier := self.line.tiers.get(op.tier):
            tier.draining = op.draining
            tier.drains_until_ms = op.until_ms if op.draining else None

    def _set_pace(self, op: Pace) -> None:
        self.pace.set(op.rate_tokens_per_s, op.burst_tokens, self.line.now_ms)

    # Slots

    def _dispatch(self) -> None:
        """Send requests until the first in line may not go.

        The order of the questions matters.  Rescue is asked last, so an overdue request goes only
        where the strict lane's own choice could have gone: it takes a held-back slot when an
        urgent request was about to, and then it is not passed over.
        """
        line = self.line
        while line.waiting and (first := line.strict.best()):
            flow, lane = first, STRICT
            urgent = first.level is not None and first.level >= self.urgent_threshold
            if self.pace.binds and not urgent:
                self.stops.paced += 1
                return
            if line.reservations and not urgent and (owner := lending.claimant(self)):
                flow, lane = owner, STRICT if owner is first else RESERVED
            footprint = flow.head.footprint if flow.head else 0
            if not self.backends.room(urgent=urgent, footprint=footprint):
                if not urgent and self.backends.room(urgent=False):
                    self.stops.guarded += 1
                    return
                self.stops.blocked += 1
                self.stops.urgent_refused += urgent
                return
            overdue = line.rescue.turn(line.now_ms) if self.rescue_permille else None
            if overdue:
                flow, lane = overdue, RESCUE
            self._send(flow, lane, urgent=urgent, footprint=footprint)

    def _send(self, flow: Flow, lane: Lane, *, urgent: bool, footprint: int) -> None:
        """Give the head of ``flow`` a slot; ``urgent`` and ``footprint``, those of the strict
        lane's own choice, say which slots there are to choose from."""
        line = self.line
        request, level = flow.head, flow.level
        assert request is not None
        assert level is not None
        tier, tenant = flow.tier, flow.tenant
        backend = self.backends.choose(
            request.prefix, request.avoid, urgent=urgent, footprint=footprint
        )
        request.backend = backend.name
        request.level = level
        request.weight = flow.weight
        request.paced = (
            self.pace.take(request.prompt_tokens) if level < self.urgent_threshold else 0
        )

        self.in_flight += 1
        backend.take(request.sequences, request.footprint)
        tier.in_flight += 1
        tenant.in_flight += 1
        flow.in_flight += 1
        rescued = lane == RESCUE
        line.strict.charge(flow, request.cost, moves_clock=lane == STRICT)
        line.rescue.charge(request.cost, self.rescue_permille, rescued=rescued)
        self.dispatched_cost += request.cost
        line.leave(request, IN_FLIGHT)
        if tenant.full or tenant.fills(tier):
            line.look_again(tenant)

        terms, waited_ms = flow.terms, line.now_ms - request.arrived_ms
        late = waited_ms > terms.target_wait_ms
        tier.ledger.dispatched(line.now_ms, waited_ms, rescued=rescued, late=late)
        self._decisions.append(
            Dispatch(
                id=request.id,
                backend=backend.name,
                priority=TOP if rescued else level,
                lane=lane,
                waited_ms=waited_ms,
                boost=level - terms.priority,
                version=terms.version,
            )
        )

    def _free(self, request: Request, cost: int | None) -> None:
        """Take a slot back and settle what was charged for it; ``cost`` None: the estimate."""
        line = self.line
        flow = request.flow = request.flow.home
        if cost is not None:
            change = (max(0, cost) - request.cost) * TAG_SCALE // request.weight
            line.strict.settle(flow, request.level, change)
        self.pace.give_back(request.paced)
        self.backends.give_back(request.backend, request.sequences, request.footprint)
        tenant = flow.tenant
        self.in_flight -= 1
        flow.tier.in_flight -= 1
        tenant.in_flight -= 1
        flow.in_flight -= 1
        if tenant.capped:
            line.look_again(tenant)
        line.rest(flow)
