"""What can be asked about requests: where they stand, why, and to have them cancelled.

``Register`` knows every request that is on its way and, for a quarter of an hour, those that are
over.  A tenant sees its own; an admin key sees all.  An id that is unknown and one that is another
tenant's are the same 404.
"""

import asyncio
import time
from collections import OrderedDict

import msgspec
from msgspec import Struct

from gateway import errors, keys
from gateway.auth import Caller
from gateway.core.explain import Explanation, explain
from gateway.exchange import Reply, Request
from gateway.journey import Journey

KEPT_S = 900.0
KEPT_MOST = 10_000
LISTED_MOST = 100
OVER = {"hung_up": "disconnected"}


class Eta(Struct, frozen=True):
    p50: float
    p90: float


class AheadView(Struct, frozen=True):
    requests: int
    tokens: int


class RequestView(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """One request as its owner sees it.  Higher priority is more urgent."""

    id: str
    object: str = "request"
    state: str
    model: str
    task_type: str
    tier: str
    priority: int | None
    effective_priority: int | None
    position: int | None = None
    ahead: AheadView | None = None
    eta_s: Eta | None = None
    queue_wait_ms: int
    next_boost_s: float | None = None
    reason: str
    policy_version: int
    created: int


class Register:
    def __init__(self) -> None:
        self.journeys: dict[str, Journey] = {}
        self._over: OrderedDict[str, tuple[float, str, RequestView]] = OrderedDict()
        self._shown: dict[tuple[str, str], str] = {}  # the caller's own ids

    def enter(self, journey: Journey) -> None:
        self.journeys[journey.id] = journey

    def known(self, journey: Journey) -> None:
        """The caller has proven itself: its own id for the request counts from here on, unless
        another request of the same tenant is using it."""
        assert journey.caller is not None
        if journey.shown_id != journey.id:
            held = self._shown.setdefault((journey.caller.tenant, journey.shown_id), journey.id)
            if held in self.journeys and held != journey.id:
                journey.shown_id = journey.id
            else:
                self._shown[journey.caller.tenant, journey.shown_id] = journey.id

    def leave(self, journey: Journey) -> None:
        del self.journeys[journey.id]
        now = _now()
        if journey.caller is not None and journey.call is not None:
            self._over[journey.id] = (now, journey.caller.tenant, view(journey, over=True))
        while self._over:
            oldest = next(iter(self._over))
            at, tenant, seen = self._over[oldest]
            if len(self._over) <= KEPT_MOST and now - at <= KEPT_S:
                break
            del self._over[oldest]
            if self._shown.get((tenant, seen.id)) == oldest:
                del self._shown[tenant, seen.id]

    def find(self, caller: Caller, wanted: str) -> Journey | RequestView:
        """By Laneway's id or the caller's own.

        Raises:
            GatewayError: 404.
        """
        own = self._shown.get((caller.tenant, wanted), wanted)
        journey = self.journeys.get(own)
        if journey is not None and journey.call is not None and _may_see(caller, journey):
            return journey
        over = self._over.get(own)
        if over is not None and (caller.kind == "admin" or over[1] == caller.tenant):
            return over[2]
        raise errors.request_not_found(wanted)

    def known_by(self, id: str) -> Journey | RequestView | None:
        """By Laneway's own id, whoever's it is: for those who may see all."""
        journey = self.journeys.get(id)
        if journey is not None and journey.call is not None:
            return journey
        over = self._over.get(id)
        return over[2] if over else None

    def listed(self, caller: Caller, state: str) -> list[RequestView]:
        """The newest first, at most 100."""
        live = (
            view(journey)
            for journey in reversed(self.journeys.values())
            if journey.call is not None and _may_see(caller, journey)
        )
        over = (
            seen
            for _, tenant, seen in reversed(self._over.values())
            if caller.kind == "admin" or tenant == caller.tenant
        )
        found: list[RequestView] = []
        for seen in (*live, *over):
            if not state or seen.state == state:
                found.append(seen)
            if len(found) == LISTED_MOST:
                break
        return found


async def answer(register: Register, caller: Caller, request: Request, reply: Reply) -> None:
    """``GET /v1/requests``, ``GET`` and ``DELETE /v1/requests/{id}``."""
    wanted = request.path.removeprefix("/v1/requests").strip("/")
    allowed = "GET, DELETE" if wanted else "GET"
    if request.method not in allowed.split(", "):
        raise errors.method_not_allowed(request.method, request.path, allowed)
    if not wanted:
        found = register.listed(caller, request.query.get("state", ""))
        body = msgspec.json.encode({"object": "list", "data": found})
    else:
        one = register.find(caller, wanted)
        if request.method == "DELETE" and caller.kind == "admin":
            keys.must_write(caller.key_id8, caller.key_rules.scope)
        if isinstance(one, Journey) and request.method == "DELETE":
            one.cut(errors.cancelled())
            await asyncio.wait([one.task], timeout=5.0)
            one = register.find(caller, one.id)
        body = msgspec.json.encode(view(one) if isinstance(one, Journey) else one)
    await reply.whole(200, {"content-type": "application/json"}, body)


async def answer_why(register: Register, caller: Caller, request: Request, reply: Reply) -> None:
    """``GET /api/v1/requests/{id}/explain``, for admin keys: it names other tenants."""
    wanted = request.path.removeprefix("/api/v1/requests/").removesuffix("/explain")
    document = why(register.find(caller, wanted))
    await reply.whole(200, {"content-type": "application/json"}, msgspec.json.encode(document))


def why(one: Journey | RequestView) -> dict[str, object]:
    """A request as its owner sees it and, while it waits, what explains its place."""
    if not isinstance(one, Journey):
        return {"request": one}
    found = _explained(one)
    document: dict[str, object] = {"request": _view(one, found)}
    if one.pool is not None:
        document["explanation"] = found
        rate = one.pool.queue.forecast.drain_per_s(one.pool.queue.now_ms())
        overdue = found is not None and found.rescue_in_ms is not None and found.rescue_in_ms <= 0
        if found is not None and overdue and found.bound_cost is not None and rate:
            # Only now: until a request is overdue, later arrivals may still have earlier deadlines.
            document["bound_s"] = round(found.bound_cost / rate, 1)
    return document


def view(journey: Journey, *, over: bool = False) -> RequestView:
    """``over``: it has left, and nothing explains it any more."""
    return _view(journey, None if over else _explained(journey), over=over)


def _explained(journey: Journey) -> Explanation | None:
    """Why it waits where it does; costs a walk along the line."""
    if journey.pool is None or journey.dispatch is not None:
        return None
    queue = journey.pool.queue
    return explain(queue.scheduler, journey.id, queue.now_ms())


def _view(journey: Journey, why: Explanation | None, *, over: bool = False) -> RequestView:
    caller, call, placement = journey.caller, journey.call, journey.placement
    assert caller is not None
    assert call is not None
    dispatch = journey.dispatch
    priority = placement.tier.priority if placement else None
    seen = RequestView(
        id=journey.shown_id,
        state=_state(journey, over),
        model=call.model,
        task_type=placement.task_type if placement else "",
        tier=placement.tier.name if placement else "",
        priority=priority,
        effective_priority=dispatch.priority if dispatch else priority,
        queue_wait_ms=round(journey.queue_wait_s * 1000),
        reason=", ".join(journey.reason()),
        policy_version=journey.policy_version,
        created=int(time.time() - journey.e2e_s),
    )
    if why is None or journey.pool is None:
        return seen
    queue = journey.pool.queue
    wait = queue.forecast.wait(why.tier, queue.now_ms(), why.ahead_cost)
    lifted = [f"aged:+{why.aged}"] * bool(why.aged) + [f"boost:{why.boosted:+}"] * bool(why.boosted)
    return msgspec.structs.replace(
        seen,
        effective_priority=why.effective_priority,
        position=why.position,
        ahead=AheadView(why.ahead_waiting, why.ahead_cost),
        eta_s=Eta(round(wait.p50_s, 1), round(wait.p90_s, 1)) if wait else None,
        next_boost_s=None if why.next_step_in_ms is None else why.next_step_in_ms / 1000,
        reason=", ".join([seen.reason, *lifted]),
    )


def _state(journey: Journey, over: bool) -> str:
    if over:
        if journey.code == "cancelled":
            return "cancelled"
        return OVER.get(journey.outcome, journey.outcome)
    return "waiting" if journey.dispatch is None else "running"


def _may_see(caller: Caller, journey: Journey) -> bool:
    owner = journey.caller
    return owner is not None and (caller.kind == "admin" or owner.tenant == caller.tenant)


def _now() -> float:
    return asyncio.get_running_loop().time()
