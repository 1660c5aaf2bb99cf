"""Reads the line and changes nothing of it: how it looks, and who would go next.

``upcoming`` rehearses the scheduler's own pick on copies of its heaps, so what is shown cannot
disagree with what happens.
"""

from collections.abc import Callable, Iterator
from heapq import heappop, heappush, heapreplace, merge
from itertools import islice
from typing import NamedTuple

from gateway.core import overdue
from gateway.core.flows import WAITING, Flow, Request, TierState, seq_of
from gateway.core.levels import TOP, aged, next_step_age_ms
from gateway.core.ordering import TAG_SCALE
from gateway.core.overdue import Overdue
from gateway.core.scheduler import Scheduler
from gateway.core.snapshot import (
    BackendLine,
    BurnView,
    GroupView,
    HeadRow,
    Line,
    LostView,
    TierView,
    seconds,
    wait_view,
)
from gateway.core.waitlist import Waitlist

# A tier and the cost that goes before → the p50 and p90 of the wait in seconds, where known.
Expect = Callable[[str, int], tuple[float, float] | None]


def unknown(tier: str, ahead: int) -> None:
    return None


class Place(NamedTuple):
    """One of the next to go, and the level it would go at."""

    request: Request
    level: int


class _Ghost:
    """A flow as it would be after some of its requests had gone."""

    __slots__ = ("_rest", "deadline_ms", "finish", "head", "level", "tag")

    def __init__(self, flow: Flow) -> None:
        self._rest = iter(request for request in flow.line if request.state == WAITING)
        self.head: Request | None = next(self._rest)
        self.level = flow.level
        self.tag = flow.tag
        self.finish = dict(flow.finish)
        self.deadline_ms = flow.deadline_ms

    def advance(self, flow: Flow, now_ms: int, clock: list[int]) -> bool:
        """True when a head is left, at the level and with the tag it would have."""
        self.head = next(self._rest, None)
        if self.head is None:
            self.level = None
            return False
        self.deadline_ms = max(self.head.arrived_ms + flow.terms.target_wait_ms, flow.unparked_ms)
        level = flow.level_of(self.head, now_ms)
        if level != self.level:
            self.level = level
            self.tag = max(clock[TOP - level], self.finish.get(level, 0))
        return True


def upcoming(scheduler: Scheduler) -> Iterator[Place]:
    """Who would be dispatched, in order, if slots came free at once and nothing else happened.

    Limits, pace, memory and caps on tenants are left out: they say when, not who first.  So are
    reserved slots, which bind for as long as slots are short.
    """
    line = scheduler.line
    now_ms = line.now_ms
    heaps = [list(heap) for heap in line.strict.heaps]
    clock = list(line.strict.clock)
    overdue = list(line.rescue.by_deadline.heap) if scheduler.slots.rescue_permille else []
    strict_pass, rescue_pass = line.rescue.strict_pass, line.rescue.rescue_pass
    active = line.rescue.active
    ghosts: dict[Flow, _Ghost] = {}

    def best() -> Flow | None:
        for place, heap in enumerate(heaps):
            while heap:
                tag, seq, flow = heap[0]
                now = ghosts.get(flow, flow)
                if now.level == TOP - place and now.tag == tag and now.head and now.head.seq == seq:
                    return flow
                heappop(heap)
        return None

    def earliest() -> Flow | None:
        while overdue and overdue[0][0] <= now_ms:
            due_ms, seq, flow = overdue[0]
            now = ghosts.get(flow, flow)
            if now.level is None or now.head is None:
                heappop(overdue)
            elif (now.deadline_ms, now.head.seq) != (due_ms, seq):
                heapreplace(overdue, (now.deadline_ms, now.head.seq, flow))
            else:
                return flow
        return None

    while flow := best():
        first = earliest()
        if first and not active:
            rescue_pass = max(rescue_pass, strict_pass)
        active = first is not None
        rescued = first is not None and rescue_pass <= strict_pass
        if first is not None and rescued:
            flow = first
        ghost = ghosts.get(flow)
        if ghost is None:
            ghost = ghosts[flow] = _Ghost(flow)
        request, level = ghost.head, ghost.level
        assert request is not None
        assert level is not None
        yield Place(request, level)
        if rescued:
            rescue_pass += request.cost * (1000 - scheduler.slots.rescue_permille)
        else:
            strict_pass += request.cost * scheduler.slots.rescue_permille
            clock[TOP - level] = max(clock[TOP - level], ghost.tag)
        ghost.tag = ghost.finish[level] = ghost.tag + request.cost * TAG_SCALE // flow.weight
        if ghost.advance(flow, now_ms, clock) and ghost.level is not None and ghost.head:
            heappush(heaps[TOP - ghost.level], (ghost.tag, ghost.head.seq, flow))


def held(scheduler: Scheduler) -> Iterator[Request]:
    """Those of whom nobody may go, however many slots are free, by arrival."""
    lines = [flow.line for flow in scheduler.line.flows.values() if flow.parked and flow.waiting]
    return (r for r in merge(*lines, key=seq_of) if r.state == WAITING)


def look(scheduler: Scheduler, now_ms: int, head: int = 50, expect: Expect = unknown) -> Line:
    line = scheduler.line
    late = overdue.watch(scheduler, now_ms)
    ahead = 0
    rows = []
    for number, (request, level) in enumerate(islice(upcoming(scheduler), head), start=1):
        rows.append(_row(number, request, level, now_ms, expect(_tier_of(request), ahead)))
        ahead += request.cost
    rows += [
        _row(None, request, request.flow.level_of(request, now_ms), now_ms, None)
        for request in islice(held(scheduler), head - len(rows))
    ]
    return Line(
        version=line.version,
        urgent_threshold=scheduler.slots.urgent_threshold,
        in_flight=scheduler.slots.in_flight,
        waiting=line.waiting,
        backends=backend_lines(scheduler),
        tiers=tuple(
            _tier_view(tier, late.get(tier.rules.name), now_ms) for tier in line.tiers.values()
        ),
        head=tuple(rows),
        groups=tuple(_groups(line, now_ms)),
    )


def _groups(line: Waitlist, now_ms: int) -> Iterator[GroupView]:
    """Empty without a canary.  O(flows)."""
    for tier in line.tiers.values() if line.canary else ():
        newer = sum(
            flow.waiting
            for flow in line.flows.values()
            if flow.tier is tier and line.on_canary(flow.tenant.slug)
        )
        for side, waiting in zip(tier.sides, (tier.waiting - newer, newer), strict=True):
            oldest = side.seniority.oldest()
            age_s = seconds(now_ms - oldest.arrived_ms) if oldest else None
            yield GroupView(tier.rules.name, side.terms.version, waiting, age_s)


def backend_lines(scheduler: Scheduler) -> tuple[BackendLine, ...]:
    return tuple(
        BackendLine(b.name, b.in_flight, b.base_limit, b.held_back, b.open)
        for b in scheduler.slots.backends.by_name.values()
    )


def _tier_view(tier: TierState, late: Overdue | None, now_ms: int) -> TierView:
    rules, ledger, terms = tier.rules, tier.ledger, tier.terms
    oldest = tier.oldest() if tier.waiting else None
    in_per_s, out_per_s = ledger.rates_per_s(now_ms)
    rescued, lost = ledger.last_minute(now_ms)
    first_step_ms = next_step_age_ms(terms, 0)
    past_target = ledger.aged(now_ms, terms.target_wait_ms)
    in_5m, out_5m = ledger.events(now_ms)
    return TierView(
        name=rules.name,
        priority=rules.priority,
        state="paused" if tier.paused else "draining" if tier.draining else "open",
        waiting=tier.waiting,
        waiting_tokens=tier.waiting_cost,
        in_flight=tier.in_flight,
        oldest_s=seconds(now_ms - oldest.arrived_ms) if oldest else None,
        wait=wait_view(ledger.waits(now_ms)),
        wait_1m=wait_view(ledger.waits_of_minute(now_ms)),
        in_per_s=round(in_per_s, 2),
        out_per_s=round(out_per_s, 2),
        in_5m=in_5m,
        out_5m=out_5m,
        aged=0 if first_step_ms is None else ledger.aged(now_ms, first_step_ms),
        overdue=past_target,
        rescued_per_min=rescued,
        lost_per_min=LostView(**lost),
        passed_over_s=seconds(late.passed_over_ms) if late else None,
        bound_used=round(late.bound_used, 3) if late and late.bound_used is not None else None,
        burn=BurnView(*(_tenths(burn) for burn in ledger.burn(now_ms, past_target))),
        target_wait_s=rules.target_wait_s,
        max_wait_s=rules.max_wait_s,
        max_waiting=rules.max_waiting,
    )


def _row(
    place: int | None,
    request: Request,
    level: int,
    now_ms: int,
    eta_s: tuple[float, float] | None,
) -> HeadRow:
    flow, terms = request.flow, request.flow.terms
    waited_ms = now_ms - request.arrived_ms
    lifted = aged(terms, waited_ms)
    return HeadRow(
        place=place,
        id=request.id,
        tenant=flow.tenant.slug,
        tier=_tier_of(request),
        task_type=request.task_type,
        key=request.key,
        model=request.model,
        priority=terms.priority,
        aged=lifted,
        boost=level - terms.priority - lifted,
        effective_priority=level,
        waited_s=seconds(waited_ms),
        tokens_in=request.prompt_tokens,
        tokens_out=max(0, request.footprint - request.prompt_tokens),
        overdue=waited_ms >= terms.target_wait_ms,
        held="" if place is not None else "paused" if flow.tier.paused else "tenant_cap",
        eta_s=eta_s,
    )


def _tier_of(request: Request) -> str:
    return request.flow.tier.rules.name


def _tenths(burn: float | None) -> float | None:
    return None if burn is None else round(burn, 1)
