"""What the scheduler remembers of a tier and of a tenant: their rules, counts and order of age.

Counters are kept, never computed from the line: a frame or a cap must not scan 100,000 waiters.
"""

from __future__ import annotations

from bisect import insort

from gateway.core.flows import SLACK, WAITING, Flow, FlowKey, Request, Terms
from gateway.core.ledger import TierLedger
from gateway.core.policy import Policy, TenantRules, Tier


class Seniority:
    """The waiting requests of one tier by arrival, oldest first.

    Both ends are asked for: the oldest expires first, the newest is displaced first.  Requests
    that no longer wait stay until they reach an end or outnumber the others.
    """

    def __init__(self) -> None:
        self._entries: list[tuple[int, int, Request]] = []
        self._start = 0

    def add(self, request: Request) -> None:
        entry = (request.arrived_ms, request.seq, request)
        if self._entries and entry < self._entries[-1]:
            insort(self._entries, entry, lo=self._start)
        else:
            self._entries.append(entry)

    def oldest(self) -> Request | None:
        entries = self._entries
        while self._start < len(entries):
            request = entries[self._start][2]
            if request.state == WAITING:
                return request
            self._start += 1
        return None

    def newest(self) -> Request | None:
        entries = self._entries
        while len(entries) > self._start:
            if entries[-1][2].state == WAITING:
                return entries[-1][2]
            entries.pop()
        return None

    def compact(self, waiting: int) -> None:
        if len(self._entries) > 2 * waiting + SLACK:
            self._entries = [e for e in self._entries[self._start :] if e[2].state == WAITING]
            self._start = 0

    def merge(self, other: Seniority) -> None:
        both = self._entries[self._start :] + other._entries[other._start :]
        self._entries = sorted(both, key=lambda entry: entry[:2])
        self._start = 0


class TierState:
    """One tier in one pool.  The caps follow an edit at once; ``terms`` reach flow by flow."""

    __slots__ = (
        "draining", "drains_until_ms", "in_flight", "ledger", "max_wait_ms", "paused", "rules",
        "seniority", "terms", "waiting", "waiting_cost",
    )  # fmt: skip

    def __init__(self, rules: Tier, terms: Terms) -> None:
        self.follow(rules, terms)
        self.paused = False
        self.draining = False
        self.drains_until_ms: int | None = None
        self.waiting = 0
        self.waiting_cost = 0
        self.in_flight = 0
        self.seniority = Seniority()
        self.ledger = TierLedger()

    def follow(self, rules: Tier, terms: Terms) -> None:
        self.rules = rules
        self.terms = terms
        self.max_wait_ms = round(rules.max_wait_s * 1000)

    def inherit(self, gone: TierState) -> None:
        """Take over the line and the slots of a tier that a new policy no longer has."""
        self.waiting += gone.waiting
        self.waiting_cost += gone.waiting_cost
        self.in_flight += gone.in_flight
        self.seniority.merge(gone.seniority)
        self.ledger.inherit(gone.ledger)


class TenantState:
    """One tenant in one pool."""

    __slots__ = (
        "ceiling", "flows", "in_flight", "max_in_flight", "max_waiting", "slug", "tier_caps",
        "version", "waiting", "weight",
    )  # fmt: skip

    def __init__(self, slug: str) -> None:
        self.slug = slug
        self.waiting = 0
        self.in_flight = 0
        self.flows: dict[FlowKey, Flow] = {}
        self.version = -1

    def follow(self, policy: Policy, version: int) -> None:
        rules = policy.tenants.get(self.slug) or TenantRules()
        self.ceiling = rules.ceiling
        self.weight = rules.weight
        self.max_waiting = rules.max_waiting
        self.max_in_flight = rules.max_in_flight
        self.tier_caps = {
            name: limits.max_in_flight
            for name, limits in rules.tier_limits.items()
            if limits.max_in_flight is not None
        }
        self.version = version

    @property
    def full(self) -> bool:
        return self.max_in_flight is not None and self.in_flight >= self.max_in_flight

    @property
    def capped(self) -> bool:
        """True where a slot taken or given back may park or unpark a flow."""
        return self.max_in_flight is not None or bool(self.tier_caps)

    def fills(self, tier: TierState) -> bool:
        """True when as much of it runs in ``tier`` as may.  Flows are few, so nothing is kept."""
        most = self.tier_caps.get(tier.rules.name) if self.tier_caps else None
        if most is None:
            return False
        return sum(flow.in_flight for flow in self.flows.values() if flow.tier is tier) >= most
