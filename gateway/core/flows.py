"""Requests, the flows they wait in, and the tiers and tenants that count them.

A flow is one tenant in one tier, first in first out; its level is its head's.  Which flow goes
before which is ``ordering``'s.  All of it is one file because each knows the others: a request its
flow, a flow its tier and tenant, and these who waits in them.

Counters are kept, never computed from the line: a frame or a cap must not scan 100,000 waiters.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from typing import NamedTuple

from msgspec import Struct

from gateway.core.ledger import TierLedger
from gateway.core.levels import Terms, aged, boosted
from gateway.core.policy import Policy, TenantRules, Tier

SLACK = 64  # dead entries a heap may carry, beside as many as live ones, before it is rebuilt

WAITING, IN_FLIGHT, GONE = range(3)
FlowKey = tuple[str, str, str]  # tier, tenant, and the request's id where a person boosted it


class Request(Struct, kw_only=True, eq=False):
    """One request from its submission until its slot is given back."""

    id: str
    seq: int  # its number by arrival
    cost: int
    prompt_tokens: int
    footprint: int
    sequences: int = 1
    prefix: str
    arrived_ms: int
    expires_at_ms: int | None
    avoid: str
    flow: Flow
    body_bytes: int = 0
    key: str = ""
    model: str = ""
    task_type: str = ""
    state: int = WAITING
    backend: str = ""  # from here on: as of its dispatch
    level: int = 0
    weight: int = 0
    paced: int = 0  # prompt tokens taken out of the pace bucket

    def __lt__(self, other: Request) -> bool:
        """Orders of age ask this between a request and its copy in another tier; one is gone."""
        return False


def seq_of(request: Request) -> int:
    return request.seq


class Flow:
    """One tenant's requests in one tier, oldest first.

    ``level`` is None while the flow is out of the lanes: empty or parked.  ``line`` may hold
    requests that are gone; ``head`` never is one.
    """

    __slots__ = (
        "by", "cost", "deadline_ms", "finish", "head", "heir", "idle", "in_flight", "key", "level",
        "line", "next_step_ms", "parked", "tag", "tenant", "terms", "tier", "unparked_ms",
        "waiting", "weight",
    )  # fmt: skip

    def __init__(self, key: FlowKey, tier: TierState, tenant: TenantState, by: int = 0) -> None:
        self.key = key
        self.tier = tier
        self.tenant = tenant
        self.terms = tier.terms
        self.weight = tenant.weight
        self.by = by
        self.line: deque[Request] = deque()
        self.head: Request | None = None
        self.waiting = 0
        self.cost = 0  # of those waiting
        self.in_flight = 0
        self.level: int | None = None
        self.tag = 0
        self.finish: dict[int, int] = {}  # by level: the tag its last dispatch there ended at
        self.deadline_ms = 0
        self.next_step_ms: int | None = None
        self.parked = False
        self.unparked_ms = 0
        self.heir: Flow | None = None  # what it was merged into when its tier went
        self.idle = False  # waits to be forgotten

    def __lt__(self, other: Flow) -> bool:
        """Heaps ask this where two entries name one request; only one of them can still be true."""
        return False

    def level_of(self, request: Request, now_ms: int) -> int:
        """Where ``request`` stands, or would stand as the head."""
        level = self.terms.priority + aged(self.terms, now_ms - request.arrived_ms)
        return boosted(level, self.by, self.tenant.ceiling) if self.by else level

    def by_hand(self, level: int, age_ms: int) -> int:
        """How much of a level a person's boost has given to a request of this age."""
        return level - self.terms.priority - aged(self.terms, age_ms)

    def add(self, request: Request) -> bool:
        """Put a request in its place by seq; True when it is the new head."""
        if self.line and self.line[-1].seq > request.seq:
            insort(self.line, request, key=seq_of)
        else:
            self.line.append(request)
        self.waiting += 1
        self.cost += request.cost
        if self.head is None or request.seq < self.head.seq:
            self.head = request
            return True
        return False

    def drop(self, request: Request) -> bool:
        """Count out a request that no longer waits here; True when the head changed."""
        self.waiting -= 1
        self.cost -= request.cost
        line = self.line
        if request is not self.head:
            if len(line) > 2 * self.waiting + SLACK:
                self.line = deque(r for r in line if r.state == WAITING)
            return False
        line.popleft()
        while line and line[0].state != WAITING:
            line.popleft()
        self.head = line[0] if line else None
        return True

    @property
    def home(self) -> Flow:
        """The flow itself, or the one it was merged into."""
        return self.heir.home if self.heir else self

    @property
    def barred(self) -> bool:
        """True when nothing of it may go, however many slots are free."""
        return self.tier.paused or self.tenant.full or self.tenant.fills(self.tier)


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

    def hand_over(self, other: Seniority, tenants: frozenset[str]) -> None:
        """Give those of ``tenants`` to ``other``."""
        entries = self._entries[self._start :]
        other._entries += [e for e in entries if e[2].flow.tenant.slug in tenants]
        self._entries = [e for e in entries if e[2].flow.tenant.slug not in tenants]
        self._start = 0

    def merge(self, other: Seniority) -> None:
        both = self._entries[self._start :] + other._entries[other._start :]
        self._entries = sorted(both, key=lambda entry: entry[:2])
        self._start = 0


class Mark(NamedTuple):
    """A request that was seen to be the longest overdue of its tier, and what stood before it."""

    request: Request
    terms: tuple[int, int]  # version and share: another policy owes something else
    dispatched_cost: int  # of the pool, until then
    earlier_cost: int  # B


class Side:
    """A tier as one version of the policy has it, and who waits in it under that version."""

    __slots__ = ("max_wait_ms", "seniority", "terms")

    def __init__(self, rules: Tier, terms: Terms) -> None:
        self.terms = terms
        self.max_wait_ms = round(rules.max_wait_s * 1000)
        self.seniority = Seniority()


class TierState:
    """One tier in one pool.  The caps follow an edit at once; ``terms`` reach flow by flow.

    ``canary`` is the tier as the newer of two versions has it, while there are two.
    """

    __slots__ = (
        "base", "canary", "draining", "drains_until_ms", "in_flight", "ledger", "mark",
        "overdue_since_ms", "paused", "rules", "waiting", "waiting_cost",
    )  # fmt: skip

    def __init__(self, rules: Tier, terms: Terms) -> None:
        self.rules = rules
        self.base = Side(rules, terms)
        self.canary: Side | None = None
        self.paused = False
        self.draining = False
        self.drains_until_ms: int | None = None
        self.waiting = 0
        self.waiting_cost = 0
        self.in_flight = 0
        self.ledger = TierLedger()
        self.mark: Mark | None = None  # who is longest overdue here
        self.overdue_since_ms: int | None = None  # one or another is

    @property
    def terms(self) -> Terms:
        return self.base.terms

    def follow(self, rules: Tier, terms: Terms) -> None:
        self.rules = rules
        seniority = self.base.seniority
        self.base = Side(rules, terms)
        self.base.seniority = seniority

    def inherit(self, gone: TierState) -> None:
        """Take over the line and the slots of a tier that a new policy no longer has."""
        self.waiting += gone.waiting
        self.waiting_cost += gone.waiting_cost
        self.in_flight += gone.in_flight
        self.base.seniority.merge(gone.base.seniority)
        self.ledger.inherit(gone.ledger)

    def split(self, rules: Tier, terms: Terms, tenants: frozenset[str]) -> None:
        """Two versions from now on: those of ``tenants`` wait under the newer one."""
        self.canary = Side(rules, terms)
        self.base.seniority.hand_over(self.canary.seniority, tenants)

    def join(self) -> None:
        """One version again."""
        if self.canary:
            self.base.seniority.merge(self.canary.seniority)
            self.canary = None

    @property
    def sides(self) -> tuple[Side, ...]:
        return (self.base, self.canary) if self.canary else (self.base,)

    def oldest(self) -> Request | None:
        return min(
            filter(None, (side.seniority.oldest() for side in self.sides)), key=_age, default=None
        )

    def newest(self) -> Request | None:
        return max(
            filter(None, (side.seniority.newest() for side in self.sides)), key=_age, default=None
        )


def _age(request: Request) -> tuple[int, int]:
    return request.arrived_ms, request.seq


class TenantState:
    """One tenant in one pool."""

    __slots__ = (
        "ceiling", "edition", "flows", "in_flight", "max_in_flight", "max_waiting", "slug",
        "tier_caps", "waiting", "weight",
    )  # fmt: skip

    def __init__(self, slug: str) -> None:
        self.slug = slug
        self.waiting = 0
        self.in_flight = 0
        self.flows: dict[FlowKey, Flow] = {}
        self.edition = -1

    def follow(self, policy: Policy, edition: int) -> None:
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
        self.edition = edition

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
