"""Who gets the next free slot, and what is settled when one comes back.

Called by ``scheduler`` after every change of the line.  The lanes say who is first, ``lending``
whether a tenant's own slots are owed, ``placing`` where there is room.
"""

from gateway.core import lending
from gateway.core.flows import IN_FLIGHT, Flow, Request
from gateway.core.levels import TOP
from gateway.core.ops import Dispatch, Lane
from gateway.core.ordering import TAG_SCALE
from gateway.core.placing import Backends, PaceBucket, Stops
from gateway.core.policy import Policy
from gateway.core.waitlist import Waitlist

STRICT: Lane = "strict"
RESCUE: Lane = "rescue"
RESERVED: Lane = "reserved"


class Slots:
    """The slots of one pool's backends, given out to what waits in ``line``."""

    def __init__(self, line: Waitlist) -> None:
        self.in_flight = 0
        self.backends = Backends()
        self.stops = Stops()
        self.pace = PaceBucket()
        self.dispatched_cost = 0
        self._line = line
        self.follow(line.policy)

    def follow(self, policy: Policy) -> None:
        self.rescue_permille = round(policy.rescue_share * 1000)
        self.urgent_threshold = policy.urgent_threshold
        self.backends.share_holdback(round(policy.holdback_share * 1000))

    def fill(self) -> list[Dispatch]:
        """Send requests until the first in line may not go.

        The order of the questions matters.  Rescue is asked last, so an overdue request goes only
        where the strict lane's own choice could have gone: it takes a held-back slot when an
        urgent request was about to, and then it is not passed over.
        """
        line = self._line
        dispatched: list[Dispatch] = []
        while line.waiting and (first := line.strict.best()):
            flow, lane = first, STRICT
            urgent = first.level is not None and first.level >= self.urgent_threshold
            if self.pace.binds and not urgent:
                self.stops.paced += 1
                return dispatched
            if (
                line.reservations
                and not urgent
                and (owner := lending.claimant(line, self.backends))
            ):
                flow, lane = owner, STRICT if owner is first else RESERVED
            footprint = flow.head.footprint if flow.head else 0
            if not self.backends.room(urgent=urgent, footprint=footprint):
                if not urgent and self.backends.room(urgent=False):
                    self.stops.guarded += 1
                    return dispatched
                self.stops.blocked += 1
                self.stops.urgent_refused += urgent
                return dispatched
            overdue = line.rescue.turn(line.now_ms) if self.rescue_permille else None
            if overdue:
                flow, lane = overdue, RESCUE
            dispatched.append(self._send(flow, lane, urgent=urgent, footprint=footprint))
        return dispatched

    def _send(self, flow: Flow, lane: Lane, *, urgent: bool, footprint: int) -> Dispatch:
        """Give the head of ``flow`` a slot; ``urgent`` and ``footprint``, those of the strict
        lane's own choice, say which slots there are to choose from."""
        line = self._line
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
        return Dispatch(
            id=request.id,
            backend=backend.name,
            priority=TOP if rescued else level,
            lane=lane,
            waited_ms=waited_ms,
            boost=level - terms.priority,
            version=terms.version,
            boosted=flow.by and flow.by_hand(level, waited_ms),
        )

    def free(self, request: Request, cost: int | None) -> None:
        """Take a slot back and settle what was charged for it; ``cost`` None: the estimate."""
        line = self._line
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
