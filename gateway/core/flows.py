"""Requests, the flows they wait in, and the level each flow stands at.

A flow is one tenant in one tier, first in first out; its level is its head's: the tier's
priority, lifted by ageing up to a ceiling, moved by a person's boost.  Which flow goes before
which is ``ordering``'s.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from gateway.core.policy import Policy, Tier

if TYPE_CHECKING:
    from gateway.core.standing import TenantState, TierState

TOP, BOTTOM = 10, -10  # levels; the policy admits no others
SLACK = 64  # dead entries a heap may carry, beside as many as live ones, before it is rebuilt

WAITING, IN_FLIGHT, GONE = range(3)
FlowKey = tuple[str, str, str]  # tier, tenant, and the request's id where a person boosted it


class Terms(NamedTuple):
    """What one version of the policy says about the order of one tier's flows."""

    version: int
    priority: int
    target_wait_ms: int
    gain: int  # the most that ageing adds here: 0 where it is off or the ceiling is below
    after_ms: int
    step_ms: int


def terms_of(policy: Policy, version: int, tier: Tier) -> Terms:
    target_wait_ms = round(tier.target_wait_s * 1000)
    ageing = policy.ageing
    if ageing is None or not tier.ages:
        return Terms(version, tier.priority, target_wait_ms, 0, 0, 1)
    gain = min(ageing.most, max(0, ageing.ceiling - tier.priority))
    step_ms = max(1, round(ageing.step_s * 1000))
    return Terms(
        version, tier.priority, target_wait_ms, gain, round(ageing.after_s * 1000), step_ms
    )


def aged(terms: Terms, age_ms: int) -> int:
    """How far ageing lifts a request of this age; with the defaults 3 at 30 s, 5 from 50 s on."""
    if not terms.gain or age_ms < terms.after_ms:
        return 0
    return min(terms.gain, age_ms // terms.step_ms)


def next_step_age_ms(terms: Terms, age_ms: int) -> int | None:
    """The age at which ``aged`` next answers more, or None when it never will."""
    gained = aged(terms, age_ms)
    if gained >= terms.gain:
        return None
    return max(terms.after_ms, (gained + 1) * terms.step_ms)


def boosted(level: int, by: int, ceiling: int) -> int:
    """Move a level by a person's boost: past the ageing ceiling, never past the tenant's own."""
    if by < 0:
        return max(BOTTOM, level + by)
    return max(level, min(TOP, ceiling, level + by))


class Request:
    """One request from its submission until its slot is given back."""

    __slots__ = (
        "arrived_ms", "avoid", "backend", "cost", "expires_at_ms", "flow", "footprint", "id", "key",
        "level", "model", "paced", "prefix", "prompt_tokens", "seq", "sequences", "state", "task_type",
        "weight",
    )  # fmt: skip

    def __init__(
        self,
        *,
        id: str,
        seq: int,
        cost: int,
        prompt_tokens: int,
        footprint: int,
        sequences: int = 1,
        prefix: str,
        arrived_ms: int,
        expires_at_ms: int | None,
        avoid: str,
        flow: Flow,
        key: str = "",
        model: str = "",
        task_type: str = "",
    ) -> None:
        self.id = id
        self.seq = seq
        self.cost = cost
        self.prompt_tokens = prompt_tokens
        self.footprint = footprint
        self.sequences = sequences
        self.prefix = prefix
        self.arrived_ms = arrived_ms
        self.expires_at_ms = expires_at_ms
        self.avoid = avoid
        self.flow = flow
        self.key = key
        self.model = model
        self.task_type = task_type
        self.state = WAITING
        self.backend = ""  # from here on: as of its dispatch
        self.level = 0
        self.weight = 0
        self.paced = 0  # prompt tokens taken out of the pace bucket

    def copied_into(self, flow: Flow) -> Request:
        copy = Request.__new__(Request)
        for name in Request.__slots__:
            setattr(copy, name, getattr(self, name))
        copy.flow = flow
        return copy

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

    def withdraw(self, request: Request) -> bool:
        """Let a request go that waits on elsewhere; True when the head changed.  O(n)."""
        self.line.remove(request)
        self.waiting -= 1
        self.cost -= request.cost
        if request is not self.head:
            return False
        self.head = next((r for r in self.line if r.state == WAITING), None)
        return True

    @property
    def home(self) -> Flow:
        """The flow itself, or the one it was merged into."""
        return self.heir.home if self.heir else self

    @property
    def barred(self) -> bool:
        """True when nothing of it may go, however many slots are free."""
        return self.tier.paused or self.tenant.full or self.tenant.fills(self.tier)
