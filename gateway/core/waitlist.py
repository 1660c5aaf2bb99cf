"""Everything that waits in one pool: flows in their lanes, and the tiers and tenants they count in.

Whatever changes about a request or a flow goes through here, so that lanes and counters agree
after every method.  It decides nothing: who is refused, sent or given up is ``scheduler``'s.
"""

from __future__ import annotations

from collections import deque
from copy import copy
from heapq import heapify, heappop, heappush

from gateway.core.canary import Canary
from gateway.core.flows import (
    GONE,
    SLACK,
    WAITING,
    Flow,
    FlowKey,
    Request,
    Side,
    TenantState,
    TierState,
    seq_of,
)
from gateway.core.levels import MOST_BOOST, Terms, next_step_age_ms, terms_of
from gateway.core.ordering import RescueLane, Soonest, StrictLane, ageing_moment
from gateway.core.policy import Policy

REKEY_FLOWS = 300  # of an edit, a call: 2-4 ms
REKEY_REQUESTS = 8  # moving so many requests to another flow costs as much as re-keying one flow
SWEEP = 4  # idle flows looked at a call

Expiry = tuple[int, int, Request]  # moment, seq, who


class Waitlist:
    def __init__(self, policy: Policy, version: int) -> None:
        self.policy = policy
        self.version = version
        self.canary: Canary | None = None
        self._edition = 0  # counts edits, so that a tenant's copy of its rules tells its age
        self.now_ms = 0
        self.waiting = 0
        self.body_bytes = 0  # of those waiting
        self.tiers: dict[str, TierState] = {}  # most urgent first
        self.tenants: dict[str, TenantState] = {}
        self.reservations: dict[str, int] = {}  # slots by tenant, as the policy says
        self.flows: dict[FlowKey, Flow] = {}
        self.strict = StrictLane()
        self.rescue = RescueLane()
        self.ageing = Soonest(ageing_moment)
        self._heirs: dict[str, str] = {}  # of tiers that a policy has removed
        self._deadlines: list[Expiry] = []  # callers' own
        self._stale: deque[Flow] = deque()  # flows that follow an earlier version
        self._idle: deque[Flow] = deque()
        self.follow(policy, version)

    # Looking things up

    def knows_tier(self, name: str) -> bool:
        return name in self.tiers or name in self._heirs

    def tier(self, name: str) -> TierState:
        """The tier of this name, or what took its place."""
        while name not in self.tiers:
            name = self._heirs[name]
        return self.tiers[name]

    def tenant(self, slug: str) -> TenantState:
        tenant = self.tenants.get(slug)
        if tenant is None:
            tenant = self.tenants[slug] = TenantState(slug)
        if tenant.edition != self._edition:
            tenant.follow(self.policy_of(slug), self._edition)
        return tenant

    def on_canary(self, slug: str) -> bool:
        return self.canary is not None and slug in self.canary.tenants

    def policy_of(self, slug: str) -> Policy:
        """The version that a tenant follows."""
        return self.canary.policy if self.canary and slug in self.canary.tenants else self.policy

    def side(self, tier: TierState, slug: str) -> Side:
        """The tier as a tenant's version has it."""
        return tier.canary if tier.canary and self.on_canary(slug) else tier.base

    def _terms(self, flow: Flow) -> Terms:
        return self.side(flow.tier, flow.tenant.slug).terms

    def flow(self, tier: TierState, tenant: TenantState, id: str = "") -> Flow:
        key = (tier.rules.name, tenant.slug, id)
        flow = self.flows.get(key)
        if flow is not None and flow.terms is not self._terms(flow):
            self._renew(flow)
            flow = self.flows.get(key)
        if flow is None:
            flow = self.flows[key] = tenant.flows[key] = Flow(key, tier, tenant)
            flow.terms = self._terms(flow)
        return flow

    # Coming and going

    def join(self, request: Request) -> None:
        """A request waits, in its flow's order of seq."""
        request.state = WAITING
        tier, tenant = request.flow.tier, request.flow.tenant
        self.waiting += 1
        self.body_bytes += request.body_bytes
        tenant.waiting += 1
        tier.waiting += 1
        tier.waiting_cost += request.cost
        self.side(tier, tenant.slug).seniority.add(request)
        tier.ledger.joined(request.arrived_ms, request.cost)
        if request.expires_at_ms is not None:
            heappush(self._deadlines, (request.expires_at_ms, request.seq, request))
            if len(self._deadlines) > 2 * self.waiting + SLACK:
                self._deadlines = [d for d in self._deadlines if d[2].state == WAITING]
                heapify(self._deadlines)
        flow = request.flow
        if flow.head is None:
            flow.parked = flow.barred
            flow.unparked_ms = 0
        if flow.add(request):
            self.rekey(flow)

    def leave(self, request: Request, state: int) -> None:
        """A request waits no longer; ``state`` says what it does instead."""
        request.state = state
        flow = request.flow
        tier = flow.tier
        self.waiting -= 1
        self.body_bytes -= request.body_bytes
        flow.tenant.waiting -= 1
        tier.waiting -= 1
        tier.waiting_cost -= request.cost
        for side in tier.sides:
            side.seniority.compact(tier.waiting)
        tier.ledger.left(request.arrived_ms, request.cost)
        if flow.drop(request):
            self.rekey(flow)
            self.rest(flow)

    def move(self, request: Request, tier: TierState) -> Request:
        """Let a request wait in another tier, boosted as before."""
        by, tenant = request.flow.by, request.flow.tenant
        flow = self.flow(tier, tenant, request.id if by else "")
        flow.by = by
        return self._change(request, flow)

    def boost(self, request: Request, by: int) -> Request:
        """Give a request a flow of its own, ``by`` levels away; 0 puts it back into its line."""
        if request.flow.terms is not self._terms(request.flow):
            self._renew(request.flow)
        flow, by = request.flow, max(-MOST_BOOST, min(MOST_BOOST, by))
        boosted = self.flow(flow.tier, flow.tenant, request.id if by else "")
        boosted.by = by
        if boosted is flow:
            self.rekey(flow)
            return request
        return self._change(request, boosted)

    def _change(self, request: Request, flow: Flow) -> Request:
        """Let a request wait in another flow.  A copy does: what still names the old one, in line
        or in either order of age, then reads that it is gone, and nothing has to be searched."""
        self.leave(request, GONE)
        moved = copy(request)
        moved.flow = flow
        self.join(moved)
        return moved

    # Standing in the lanes

    def rekey(self, flow: Flow) -> None:
        """Stand a flow where its head belongs at this moment."""
        head = flow.head
        if head is None or flow.parked:
            self.strict.leave(flow)
            return
        terms = flow.terms
        step_age_ms = next_step_age_ms(terms, self.now_ms - head.arrived_ms)
        flow.next_step_ms = None if step_age_ms is None else head.arrived_ms + step_age_ms
        flow.deadline_ms = max(head.arrived_ms + terms.target_wait_ms, flow.unparked_ms)
        level = flow.level_of(head, self.now_ms)
        if level == flow.level:
            self.strict.push(flow)
        else:
            self.strict.enter(flow, level)
        self.ageing.watch(flow)
        self.rescue.by_deadline.watch(flow)

    def park_or_unpark(self, flow: Flow) -> None:
        """Look again at whether a flow may go; its rescue clock starts anew when it again may."""
        if flow.head is None or flow.parked == flow.barred:
            return
        flow.parked = not flow.parked
        if not flow.parked:
            flow.unparked_ms = self.now_ms
        self.rekey(flow)

    def look_again(self, tenant: TenantState) -> None:
        """After a slot was taken or given back: the tenant's caps may bind or bind no more."""
        for flow in tenant.flows.values():
            self.park_or_unpark(flow)

    def pause(self, tier: TierState, paused: bool) -> None:
        tier.paused = paused
        for flow in self.flows.values():
            if flow.tier is tier:
                self.park_or_unpark(flow)

    def age(self) -> None:
        """Lift every flow whose head has come to its next ageing step."""
        while (step := self.ageing.first()) and step[0] <= self.now_ms:
            self.rekey(step[1])

    def next_expiry(self) -> Expiry | None:
        """The first request to expire, by its tier's max wait or its caller's deadline.

        A tier's max wait needs no heap: under one version its oldest request expires first.
        """
        if not self.waiting:
            self._deadlines.clear()
            return None
        while self._deadlines and self._deadlines[0][2].state != WAITING:
            heappop(self._deadlines)
        first = self._deadlines[0] if self._deadlines else None
        for tier in self.tiers.values():
            if not tier.waiting:
                continue
            for side in tier.sides:
                oldest = side.seniority.oldest()
                if oldest:
                    expiry = (oldest.arrived_ms + side.max_wait_ms, oldest.seq, oldest)
                    if first is None or expiry[:2] < first[:2]:
                        first = expiry
        return first

    # A new policy

    @property
    def unsettled(self) -> bool:
        """True while some flows still follow an earlier version."""
        return bool(self._stale)

    def follow(self, policy: Policy, version: int, canary: Canary | None = None) -> None:
        """Caps and max waits hold at once; flows are re-keyed some at a time, each as a whole.

        Until then a flow stands where its own version put it, and says that version when it is
        dispatched.  A removed tier's line goes to the nearest tier below it.
        """
        self.policy, self.version, self.canary = policy, version, canary
        self._edition += 1
        slugs = policy.tenants.keys() | (canary.policy.tenants.keys() if canary else ())
        rules_of = {slug: self.policy_of(slug).tenants.get(slug) for slug in sorted(slugs)}
        self.reservations = {
            slug: rules.reserved for slug, rules in rules_of.items() if rules and rules.reserved
        }
        for state in self.tiers.values():
            state.join()
        gone, self.tiers = self.tiers, {}
        for rules in policy.by_urgency:
            terms = terms_of(policy, version, rules)
            tier = gone.pop(rules.name, None)
            if tier is None:
                tier = TierState(rules, terms)
            else:
                tier.follow(rules, terms)
            self.tiers[rules.name] = tier
            self._heirs.pop(rules.name, None)
        for name, tier in gone.items():
            heir = self.tiers[policy.tier_at(tier.rules.priority).name]
            heir.inherit(tier)
            self._heirs[name] = heir.rules.name
            for flow in self.flows.values():
                if flow.tier is tier:
                    flow.tier = heir
        if canary:
            for state in self.tiers.values():
                newer = canary.policy.tier(state.rules.name) or state.rules
                terms = terms_of(canary.policy, canary.version, newer)
                state.split(newer, terms, canary.tenants)
        self._stale = deque(self.flows.values())
        self.rekey_some()

    def rekey_some(self) -> None:
        budget = REKEY_FLOWS
        while self._stale and budget > 0:
            flow = self._stale.popleft()
            budget -= 1
            known = self.flows.get(flow.key) is flow
            if known and flow.terms is not self._terms(flow):
                if flow.key[0] != flow.tier.rules.name:
                    budget -= flow.waiting // REKEY_REQUESTS
                self._renew(flow)

    def _renew(self, flow: Flow) -> None:
        tenant = self.tenant(flow.tenant.slug)
        if flow.key[0] != flow.tier.rules.name:
            self._merge(flow, self.flow(flow.tier, tenant, flow.key[2]))
            return
        flow.terms = self._terms(flow)
        flow.weight = tenant.weight
        self.park_or_unpark(flow)
        self.rekey(flow)

    def _merge(self, flow: Flow, heir: Flow) -> None:
        """Move all of a flow whose tier is gone into the flow that takes its place."""
        del self.flows[flow.key]
        del flow.tenant.flows[flow.key]
        self.strict.leave(flow)
        self.strict.take_over(flow, heir)
        was_empty = heir.head is None
        both = [request for request in (*heir.line, *flow.line) if request.state == WAITING]
        heir.line = deque(sorted(both, key=seq_of))
        for request in flow.line:
            request.flow = heir
        heir.head = heir.line[0] if heir.line else None
        heir.by = flow.by
        heir.waiting += flow.waiting
        heir.cost += flow.cost
        heir.in_flight += flow.in_flight
        if was_empty:
            heir.parked = heir.barred
            heir.unparked_ms = 0
        flow.line.clear()
        flow.head = None
        flow.waiting = flow.cost = flow.in_flight = 0
        flow.heir = heir
        self.rekey(heir)
        self.rest(heir)

    # Forgetting

    def rest(self, flow: Flow) -> None:
        """Note a flow that has nothing left, to forget it once its tags mean nothing."""
        if flow.head is None and not flow.in_flight and not flow.idle:
            flow.idle = True
            self._idle.append(flow)

    def sweep(self) -> None:
        """Forget some flows that are idle and owe nothing, and dead entries of the lanes."""
        for _ in range(min(SWEEP, len(self._idle))):
            flow = self._idle.popleft()
            if flow.head is not None or flow.in_flight or flow.heir:
                flow.idle = False
            elif flow.key[2] or self.strict.forgettable(flow):  # a boosted one never comes back
                del self.flows[flow.key]
                del flow.tenant.flows[flow.key]
            else:
                self._idle.append(flow)
        self.ageing.compact(len(self.flows))
        self.rescue.by_deadline.compact(len(self.flows))

    def clear(self) -> None:
        """Nothing waits and nothing runs: all tags and debts start from nought."""
        self.flows.clear()
        self.tenants.clear()
        self.strict.clear()
        self.rescue.settle()
        self.ageing.clear()
        self._deadlines.clear()
        self._stale.clear()
        self._idle.clear()
