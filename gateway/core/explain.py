"""Why a waiting request stands where it stands.

Values only: the sentences for people are made from them elsewhere, and the rule that chose the
tier is known to whoever submitted the request.
"""

from itertools import islice
from typing import Literal

from msgspec import Struct

from gateway.core import lending
from gateway.core.flows import WAITING, Flow, Request
from gateway.core.levels import TOP, aged, next_step_age_ms
from gateway.core.ordering import TAG_SCALE
from gateway.core.outlook import backend_lines, upcoming
from gateway.core.overdue import earlier_cost
from gateway.core.policy import TenantRules
from gateway.core.scheduler import Scheduler
from gateway.core.snapshot import BackendLine

EXACT_PLACES = 200
TOP_AHEAD = 5

Binds = Literal["turn", "limit", "holdback", "pace", "guard", "paused", "tenant_cap", "no_backend"]


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


def _exact_place(scheduler: Scheduler, request: Request) -> int | None:
    first = islice(upcoming(scheduler), EXACT_PLACES)
    return next((n for n, place in enumerate(first, start=1) if place.request is request), None)


def _ahead(scheduler: Scheduler, request: Request) -> list[Ahead]:
    """Who goes first, by level and tenant, from counts and tags alone: O(flows), not requests."""
    own = request.flow
    if own.level is None:
        return []
    before = [r for r in own.line if r.state == WAITING and r.seq < request.seq]
    own_cost = sum(r.cost for r in before)
    reached = own.tag + own_cost * TAG_SCALE // own.weight
    return _before(scheduler, own.level, reached, own, len(before), own_cost)


def cost_ahead(scheduler: Scheduler, tier_name: str, tenant_slug: str) -> int:
    """What would go before a request that came now: so for one not yet in line."""
    line = scheduler.line
    tier = line.tiers.get(tier_name)
    if tier is None:
        return 0
    level = line.side(tier, tenant_slug).terms.priority
    own = line.flows.get((tier_name, tenant_slug, ""))
    waiting, cost, tag = 0, 0, line.strict.clock[TOP - level]
    if own is not None:
        waiting, cost = own.waiting, own.cost
        tag = own.tag if own.level == level else max(tag, own.finish.get(level, 0))
    rules = line.policy_of(tenant_slug).tenants.get(tenant_slug) or TenantRules()
    reached = tag + cost * TAG_SCALE // rules.weight
    return sum(row.cost for row in _before(scheduler, level, reached, own, waiting, cost))


def _before(
    scheduler: Scheduler, level: int, reached: int, own: Flow | None, waiting: int, cost: int
) -> list[Ahead]:
    """Who goes before the tag ``reached`` at ``level``, where of the ``own`` flow so much does.

    In the same level a flow is ahead with what its tag lets it spend until then; above, with all
    it has.
    """
    ahead: dict[tuple[int, str], list[int]] = {}
    for flow in scheduler.line.flows.values():
        if flow.level is None or flow.level < level:
            continue
        many, spent = flow.waiting, flow.cost
        if flow is own:
            many, spent = waiting, cost
        elif flow.level == level:
            spent = min(flow.cost, max(0, reached - flow.tag) * flow.weight // TAG_SCALE)
            many = -(-flow.waiting * spent // flow.cost)
        if many:
            total = ahead.setdefault((flow.level, flow.tenant.slug), [0, 0])
            total[0] += many
            total[1] += spent
    rows = [Ahead(at, slug, many, spent) for (at, slug), (many, spent) in ahead.items()]
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
    expires_ms = request.arrived_ms + line.side(tier, flow.tenant.slug).max_wait_ms
    if request.expires_at_ms is not None:
        expires_ms = min(expires_ms, request.expires_at_ms)
    ahead = _ahead(scheduler, request)
    exact = _exact_place(scheduler, request) if flow.level is not None else None
    rough = 1 + sum(row.waiting for row in ahead) if flow.level is not None else None
    rescue_ms = None
    if scheduler.slots.rescue_permille and flow.level is not None:
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
        binds=_binds(scheduler, flow, urgent=level >= scheduler.slots.urgent_threshold),
        backends=backend_lines(scheduler),
        rescue_in_ms=None if rescue_ms is None else rescue_ms - now_ms,
        bound_cost=None if rescue_ms is None else _bound_cost(scheduler, rescue_ms),
    )


def _binds(scheduler: Scheduler, flow: Flow, *, urgent: bool) -> Binds:
    if flow.tier.paused:
        return "paused"
    if flow.parked:
        return "tenant_cap"
    backends = scheduler.slots.backends
    if not any(backend.open for backend in backends.by_name.values()):
        return "no_backend"
    if not backends.room(urgent=urgent):
        return "holdback" if backends.room(urgent=True) else "limit"
    if urgent:
        return "turn"
    if scheduler.slots.pace.binds:
        return "pace"
    first = lending.claimant(scheduler.line, backends) or scheduler.line.strict.best()
    if first and first.head and not backends.room(urgent=False, footprint=first.head.footprint):
        return "guard"
    return "turn"


def _bound_cost(scheduler: Scheduler, rescue_ms: int) -> int:
    """(B + c_max) / share, B being the cost of all that wait with a deadline no later."""
    earlier = earlier_cost(scheduler, rescue_ms)
    return -(-(earlier + scheduler.largest_cost) * 1000 // scheduler.slots.rescue_permille)
