"""Reads the line and changes nothing: how it looks, who would go next, and why not sooner.

``upcoming`` rehearses the scheduler's own pick on copies of its heaps, so what is shown cannot
disagree with what happens.  Sentences for people are made elsewhere from the values here.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush, heapreplace
from itertools import islice
from typing import TYPE_CHECKING, Literal, NamedTuple

from msgspec import Struct

from gateway.core.flows import TOP, WAITING, Flow, Request, aged, next_step_age_ms
from gateway.core.ordering import TAG_SCALE
from gateway.core.snapshot import (
    BackendLine,
    HeadRow,
    Line,
    LostView,
    TierView,
    seconds,
    wait_view,
)
from gateway.core.standing import TierState

if TYPE_CHECKING:
    from gateway.core.scheduler import Scheduler

EXACT_PLACES = 200
TOP_AHEAD = 5

Binds = Literal["turn", "limit", "holdback", "pace", "paused", "tenant_cap", "no_backend"]


class Place(NamedTuple):
    """One of the next to go, and the level it would go at."""

    request: Request
    level: int


class Ahead(Struct, frozen=True):
    """Who goes before a request, by level and tenant."""

    level: int
    tenant: str
    waiting: int
    cost: int


class Explanation(Struct, frozen=True, kw_only=True):
    """Why a waiting request stands where it stands.  Ages and moments from now are in ms."""

    id: str
    tenant: str
    tier: str
    priority: int  # the tier's
    aged: int
    boosted: int  # by a person
    effective_priority: int
    waited_ms: int
    next_step_in_ms: int | None  # until ageing lifts it further
    expires_in_ms: int
    tag: int | None  # of its flow; None while it is parked
    level_clock: int  # virtual time of its level; tag - clock says how far its tenant is ahead
    position: int | None
    position_is_exact: bool
    ahead: tuple[Ahead, ...]  # the five heaviest
    ahead_waiting: int
    ahead_cost: int
    binds: Binds  # what stops it at this moment; "turn": only those ahead
    backends: tuple[BackendLine, ...]
    rescue_in_ms: int | None  # 0 or less: it is overdue; None: no rescue lane, or parked
    bound_cost: int | None  # at most this much is dispatched before it, counted from the rescue


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

    Limits, pace and caps on tenants are left out: they say when, not who first.
    """
    line = scheduler.line
    now_ms = line.now_ms
    heaps = [list(heap) for heap in line.strict.heaps]
    clock = list(line.strict.clock)
    overdue = list(line.rescue.by_deadline.heap) if scheduler.rescue_permille else []
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
            rescue_pass += request.cost * (1000 - scheduler.rescue_permille)
        else:
            strict_pass += request.cost * scheduler.rescue_permille
            clock[TOP - level] = max(clock[TOP - level], ghost.tag)
        ghost.tag = ghost.finish[level] = ghost.tag + request.cost * TAG_SCALE // flow.weight
        if ghost.advance(flow, now_ms, clock) and ghost.level is not None and ghost.head:
            heappush(heaps[TOP - ghost.level], (ghost.tag, ghost.head.seq, flow))


def look(scheduler: Scheduler, now_ms: int, head: int) -> Line:
    line = scheduler.line
    return Line(
        version=line.version,
        urgent_threshold=scheduler.urgent_threshold,
        in_flight=scheduler.in_flight,
        waiting=line.waiting,
        backends=_backends(scheduler),
        tiers=tuple(_tier_view(tier, now_ms) for tier in line.tiers.values()),
        head=tuple(
            _row(number, place, now_ms)
            for number, place in enumerate(islice(upcoming(scheduler), head), start=1)
        ),
    )


def _backends(scheduler: Scheduler) -> tuple[BackendLine, ...]:
    return tuple(
        BackendLine(b.name, b.in_flight, b.base_limit, b.held_back, b.open)
        for b in scheduler.backends.by_name.values()
    )


def _tier_view(tier: TierState, now_ms: int) -> TierView:
    rules, ledger, terms = tier.rules, tier.ledger, tier.terms
    oldest = tier.seniority.oldest() if tier.waiting else None
    in_per_s, out_per_s = ledger.rates_per_s(now_ms)
    rescued, lost = ledger.last_minute(now_ms)
    first_step_ms = next_step_age_ms(terms, 0)
    return TierView(
        name=rules.name,
        priority=rules.priority,
        state="paused" if tier.paused else "open",
        waiting=tier.waiting,
        waiting_tokens=tier.waiting_cost,
        in_flight=tier.in_flight,
        oldest_s=seconds(now_ms - oldest.arrived_ms) if oldest else None,
        wait=wait_view(ledger.waits(now_ms)),
        in_per_s=round(in_per_s, 2),
        out_per_s=round(out_per_s, 2),
        aged=0 if first_step_ms is None else ledger.aged(now_ms, first_step_ms),
        overdue=ledger.aged(now_ms, terms.target_wait_ms),
        rescued_per_min=rescued,
        lost_per_min=LostView(**lost),
        target_wait_s=rules.target_wait_s,
        max_wait_s=rules.max_wait_s,
        max_waiting=rules.max_waiting,
    )


def _row(number: int, place: Place, now_ms: int) -> HeadRow:
    request, level = place
    terms = request.flow.terms
    waited_ms = now_ms - request.arrived_ms
    return HeadRow(
        place=number,
        id=request.id,
        tenant=request.flow.tenant.slug,
        tier=request.flow.tier.rules.name,
        priority=terms.priority,
        boost=level - terms.priority,
        effective_priority=level,
        waited_s=seconds(waited_ms),
        tokens=request.cost,
        overdue=waited_ms >= terms.target_wait_ms,
    )


def position(scheduler: Scheduler, id: str) -> int | None:
    request = scheduler.requests.get(id)
    if request is None or request.state != WAITING or request.flow.level is None:
        return None
    place = _exact_place(scheduler, request)
    return place or 1 + sum(row.waiting for row in _ahead(scheduler, request))


def _exact_place(scheduler: Scheduler, request: Request) -> int | None:
    first = islice(upcoming(scheduler), EXACT_PLACES)
    return next((n for n, place in enumerate(first, start=1) if place.request is request), None)


def _ahead(scheduler: Scheduler, request: Request) -> list[Ahead]:
    """Who goes first, by level and tenant, from counts and tags alone: O(flows), not requests.

    In the request's own level a flow is ahead with what its tag lets it spend before the request
    is reached; above, with all it has.
    """
    own = request.flow
    level = own.level
    if level is None:
        return []
    before = [r for r in own.line if r.state == WAITING and r.seq < request.seq]
    own_cost = sum(r.cost for r in before)
    reached = own.tag + own_cost * TAG_SCALE // own.weight
    ahead: dict[tuple[int, str], list[int]] = {}
    for flow in scheduler.line.flows.values():
        if flow.level is None or flow.level < level:
            continue
        waiting, cost = flow.waiting, flow.cost
        if flow is own:
            waiting, cost = len(before), own_cost
        elif flow.level == level:
            spent = min(cost, max(0, reached - flow.tag) * flow.weight // TAG_SCALE)
            waiting = -(-waiting * spent // cost)
            cost = spent
        if waiting:
            total = ahead.setdefault((flow.level, flow.tenant.slug), [0, 0])
            total[0] += waiting
            total[1] += cost
    rows = [Ahead(at, slug, waiting, cost) for (at, slug), (waiting, cost) in ahead.items()]
    return sorted(rows, key=lambda row: (-row.cost, -row.level, row.tenant))


def explain(scheduler: Scheduler, id: str, now_ms: int) -> Explanation | None:
    """None for a request that does not wait (or is not known)."""
    request = scheduler.requests.get(id)
    if request is None or request.state != WAITING:
        return None
    flow, line = request.flow, scheduler.line
    terms, tier = flow.terms, flow.tier
    waited_ms = now_ms - request.arrived_ms
    gained = aged(terms, waited_ms)
    level = flow.level_of(request, now_ms)
    step_age_ms = next_step_age_ms(terms, waited_ms)
    expires_ms = request.arrived_ms + tier.max_wait_ms
    if request.expires_at_ms is not None:
        expires_ms = min(expires_ms, request.expires_at_ms)
    ahead = _ahead(scheduler, request)
    exact = _exact_place(scheduler, request) if flow.level is not None else None
    rough = 1 + sum(row.waiting for row in ahead) if flow.level is not None else None
    rescue_ms = None
    if scheduler.rescue_permille and flow.level is not None:
        rescue_ms = max(request.arrived_ms + terms.target_wait_ms, flow.unparked_ms)
    return Explanation(
        id=id,
        tenant=flow.tenant.slug,
        tier=tier.rules.name,
        priority=terms.priority,
        aged=gained,
        boosted=level - terms.priority - gained,
        effective_priority=level,
        waited_ms=waited_ms,
        next_step_in_ms=None if step_age_ms is None else step_age_ms - waited_ms,
        expires_in_ms=expires_ms - now_ms,
        tag=None if flow.level is None else flow.tag,
        level_clock=line.strict.clock[TOP - (level if flow.level is None else flow.level)],
        position=exact or rough,
        position_is_exact=exact is not None,
        ahead=tuple(ahead[:TOP_AHEAD]),
        ahead_waiting=sum(row.waiting for row in ahead),
        ahead_cost=sum(row.cost for row in ahead),
        binds=_binds(scheduler, flow, urgent=level >= scheduler.urgent_threshold),
        backends=_backends(scheduler),
        rescue_in_ms=None if rescue_ms is None else rescue_ms - now_ms,
        bound_cost=None if rescue_ms is None else _bound_cost(scheduler, rescue_ms),
    )


def _binds(scheduler: Scheduler, flow: Flow, *, urgent: bool) -> Binds:
    if flow.tier.paused:
        return "paused"
    if flow.parked:
        return "tenant_cap"
    backends = scheduler.backends
    if not any(backend.open for backend in backends.by_name.values()):
        return "no_backend"
    if not backends.room(urgent=urgent):
        return "holdback" if backends.room(urgent=True) else "limit"
    return "pace" if scheduler.pace.binds and not urgent else "turn"


def _bound_cost(scheduler: Scheduler, rescue_ms: int) -> int:
    """(B + c_max) / share, B being the cost of all that wait with a deadline no later."""
    earlier = sum(
        tier.ledger.waiting_since(rescue_ms - tier.terms.target_wait_ms)[1]
        for tier in scheduler.line.tiers.values()
    )
    return -(-(earlier + scheduler.largest_cost) * 1000 // scheduler.rescue_permille)
