"""The state machine: operations in, decisions out.

    waiting → in flight → gone         rejected, expired, evicted and cancelled leave from waiting

One call does, in this order: what has come due by itself (an edit under way, ageing steps,
expiries), the operations as given, then dispatches until nothing more may run.  What waits is
kept by ``waitlist`` and ordered by ``ordering``; ``caps`` says who has to go, ``slots`` who runs.
``outlook`` and ``explain`` read all this and change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gateway.core import caps
from gateway.core.flows import GONE, IN_FLIGHT, WAITING, Request, TenantState, TierState
from gateway.core.ledger import Loss
from gateway.core.ops import (
    Boost,
    Cancel,
    Decision,
    Drain,
    Edit,
    Evict,
    Evicted,
    Expire,
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
from gateway.core.policy import Policy
from gateway.core.slots import Slots
from gateway.core.waitlist import Waitlist

AGEING_GRAIN_MS = 50  # ageing steps are waited for this coarsely; any call brings all up to date


class Scheduler:
    """The line of one pool.  Time is whole milliseconds that never go back."""

    def __init__(self, policy: Policy, version: int = 0) -> None:
        self.line = Waitlist(policy, version)
        self.slots = Slots(self.line)
        self.requests: dict[str, Request] = {}
        self.largest_cost = 1  # since the pool was last empty
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
            RemoveBackend: lambda op: self.slots.backends.remove(op.name),
            Edit: self._edit,
            Pause: self._pause,
            Drain: self._drain,
            Pace: self._set_pace,
        }

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
        self.slots.pace.refill(now_ms)
        line.rekey_some()
        if line.waiting:
            line.age()
        while (expiry := line.next_expiry()) and expiry[0] <= now_ms:
            self._give_up(expiry[2])
        for op in ops:
            self._acts[type(op)](op)
        decisions += self.slots.fill()
        if line.waiting or self.slots.in_flight:
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
        if (free_at_ms := self.slots.pace.free_at_ms) is not None:
            moments.append(free_at_ms)
        return min(moments, default=None)

    def waits(self, id: str) -> bool:
        return self._waiter(id) is not None

    def _waiter(self, id: str) -> Request | None:
        request = self.requests.get(id)
        return request if request is not None and request.state == WAITING else None

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
        code = self._refusal(tier, tenant, op)
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
            body_bytes=op.body_bytes,
            key=op.key,
            model=op.model,
            task_type=op.task_type,
        )
        self.requests[op.id] = request
        self.largest_cost = max(self.largest_cost, cost)
        tier.ledger.admitted(line.now_ms)
        self._line_up(request)

    def _refusal(self, tier: TierState, tenant: TenantState, op: Submit) -> RejectCode | None:
        """Why an arrival has to go; None once there is a place in line for it."""
        line = self.line
        if tier.draining:
            return "tier_draining"
        if caps.over(line, tier, tenant, op) is None:
            return None
        self._decisions += (
            self.slots.fill()
        )  # nobody is refused a place while the line can still move
        code = caps.over(line, tier, tenant, op)
        if code != "displaced":
            return code
        newest = caps.newest_below(line, tier.rules.priority)
        if newest is None:
            return "queue_full"
        self._drop(newest, "evicted")
        until_room_ms = caps.until_room_ms(newest.flow.tier, newest.cost, line.now_ms)
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
            self.slots.free(request, op.cost)

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
            self.slots.free(request, 0)
            request.avoid = op.avoid
            self._line_up(request)

    def _boost(self, op: Boost) -> None:
        if request := self._waiter(op.id):
            self.requests[op.id] = self.line.boost(request, op.by)

    def _move(self, op: Move) -> None:
        """No cap is asked: who waits is not refused for what an administrator changed."""
        request = self._waiter(op.id)
        if request is None or not self.line.knows_tier(op.tier):
            return
        if self.line.tier(op.tier) is not request.flow.tier:
            self.requests[op.id] = moved = self.line.move(request, self.line.tier(op.tier))
            self._expire_if_due(moved)

    def _set_backend(self, op: SetBackend) -> None:
        self.slots.backends.set(
            op.name, op.limit, op.held_back, open=op.open, kv_tokens=op.kv_tokens
        )

    def _edit(self, op: Edit) -> None:
        self.line.follow(op.policy, op.version, op.canary)
        self.slots.follow(op.policy)

    def _pause(self, op: Pause) -> None:
        if tier := self.line.tiers.get(op.tier):
            self.line.pause(tier, op.paused)

    def _drain(self, op: Drain) -> None:
        if tier := self.line.tiers.get(op.tier):
            tier.draining = op.draining
            tier.drains_until_ms = op.until_ms if op.draining else None

    def _set_pace(self, op: Pace) -> None:
        self.slots.pace.set(op.rate_tokens_per_s, op.burst_tokens, self.line.now_ms)
