"""What came of a simulated run: one outcome a request, and the figures people compare.

Waits of those who never got a slot count for as long as they waited: without them a tier that
starves would look well, since only its luckiest were ever served.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal, NamedTuple

from gateway.core.estimate import cost
from gateway.core.snapshot import Line
from gateway.core.starvation import Passed

Fate = Literal[
    "waiting", "running", "completed", "expired", "displaced",
    "queue_full", "tenant_queue_full", "tier_draining", "rate_limited", "too_long",
]  # fmt: skip
REFUSED = frozenset(
    {"queue_full", "tenant_queue_full", "tier_draining", "rate_limited", "too_long"}
)


@dataclass(slots=True)
class Outcome:
    """One request.  Moments in ms on the gateway's clock, in s on the engine's."""

    id: str
    tenant: str
    task_type: str
    tier: str
    arrived_ms: int
    prompt_tokens: int
    output_tokens: int
    cost: int = 0  # as estimated on arrival: what order and shares are counted in
    fate: Fate = "waiting"
    left_ms: int | None = None  # the line: dispatched, expired or displaced
    dispatched_ms: int | None = None
    lane: str = ""
    boost: int = 0
    priority: int = 0  # the effective one at dispatch
    engine_wait_s: float | None = None
    first_token_s: float | None = None
    finished_s: float | None = None
    passed: Passed | None = None  # only where it was overdue

    @property
    def ttft_s(self) -> float | None:
        """From arrival at the gateway to the first token."""
        return None if self.first_token_s is None else self.first_token_s - self.arrived_ms / 1000


class Sample(NamedTuple):
    """Four a second.  ``running`` and ``engine_waiting`` as vLLM's gauges show them."""

    at_s: float
    generated_tokens: int
    in_flight: int
    running: int
    engine_waiting: int
    base_limit: int
    held_back: int
    lookahead: int
    waiting: int


class Spread(NamedTuple):
    """Seconds; nearest rank."""

    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    worst: float = 0.0


class Figures(NamedTuple):
    n: int
    completed: int
    refused: int
    displaced: int
    expired: int
    waiting: int  # when the run ended
    queue_wait: Spread  # of all that were let in
    ttft: Spread
    prompt_tokens: int  # of those dispatched
    output_tokens: int  # of those completed


class Bound(NamedTuple):
    """The request that came closest to the starvation bound, or went furthest past it."""

    overdue: int
    violations: int
    worst_share: float  # of the bound, in cost; above 1 it is broken
    wait_s: float
    bound_s: float  # target wait, and the bound in cost at the rate served meanwhile

    def __str__(self) -> str:
        return (
            f"{self.overdue} overdue, {self.violations} past the bound; closest: waited "
            f"{self.wait_s:.1f} s of {self.bound_s:.1f} s ({self.worst_share:.3f} in cost)"
        )


def spread(values: Iterable[float]) -> Spread:
    ordered = sorted(values)
    if not ordered:
        return Spread()
    ranks = (ceil(share * len(ordered)) - 1 for share in (0.5, 0.95, 0.99, 1.0))
    return Spread(*(ordered[rank] for rank in ranks))


def jain(shares: Sequence[float]) -> float:
    """Jain's index: 1 for equal shares, 1/n where one has all."""
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 1.0


@dataclass(frozen=True, slots=True)
class Report:
    end_ms: int
    outcomes: Sequence[Outcome]
    samples: Sequence[Sample]
    line: Line  # as it stood at the end, everyone who waits in its head

    @property
    def tiers(self) -> dict[str, Figures]:
        return self.by(lambda outcome: outcome.tier)

    @property
    def tenants(self) -> dict[str, Figures]:
        return self.by(lambda outcome: outcome.tenant)

    @property
    def task_types(self) -> dict[str, Figures]:
        return self.by(lambda outcome: outcome.task_type)

    def by(self, key: Callable[[Outcome], str]) -> dict[str, Figures]:
        groups: dict[str, list[Outcome]] = {}
        for outcome in self.outcomes:
            groups.setdefault(key(outcome), []).append(outcome)
        return {name: self.figures(group) for name, group in groups.items()}

    def figures(self, group: Sequence[Outcome]) -> Figures:
        let_in = [one for one in group if one.fate not in REFUSED]
        done = [one for one in group if one.fate == "completed"]
        return Figures(
            n=len(group),
            completed=len(done),
            refused=len(group) - len(let_in),
            displaced=sum(one.fate == "displaced" for one in group),
            expired=sum(one.fate == "expired" for one in group),
            waiting=sum(one.fate == "waiting" for one in group),
            queue_wait=spread(self.queue_wait_s(one) for one in let_in),
            ttft=spread(one.ttft_s for one in group if one.ttft_s is not None),
            prompt_tokens=sum(e.prompt_tokens for e in group if e.dispatched_ms is not None),
            output_tokens=sum(one.output_tokens for one in done),
        )

    def queue_wait_s(self, outcome: Outcome) -> float:
        """At least this long, where it never got a slot."""
        left_ms = self.end_ms if outcome.left_ms is None else outcome.left_ms
        return (left_ms - outcome.arrived_ms) / 1000

    def goodput_per_s(self, from_s: float = 0.0, until_s: float | None = None) -> float:
        """Output tokens per second."""
        first, last = self._at(from_s), self._at(self.end_ms / 1000 if until_s is None else until_s)
        return (last.generated_tokens - first.generated_tokens) / (last.at_s - first.at_s)

    def mean(
        self, of: Callable[[Sample], float], from_s: float = 0.0, until_s: float | None = None
    ) -> float:
        last_s = self.end_ms / 1000 if until_s is None else until_s
        found = [of(sample) for sample in self.samples if from_s <= sample.at_s <= last_s]
        return sum(found) / len(found)

    def served(self, from_s: float = 0.0, until_s: float | None = None) -> dict[str, int]:
        """The real cost, not the estimated one, of what was dispatched for each tenant."""
        last_ms = self.end_ms if until_s is None else until_s * 1000
        shares = {outcome.tenant: 0 for outcome in self.outcomes}
        for one in self.outcomes:
            if one.dispatched_ms is not None and from_s * 1000 <= one.dispatched_ms < last_ms:
                shares[one.tenant] += cost(one.prompt_tokens, one.output_tokens)
        return shares

    def jain(self, from_s: float = 0.0, until_s: float | None = None) -> float:
        """How equal tenants' shares were; meant for tenants who always wanted more."""
        return jain(list(self.served(from_s, until_s).values()))

    def bound(self, share: float) -> Bound:
        """Hold every overdue request against the bound of a rescue share."""
        overdue = [one for one in self.outcomes if one.passed is not None]
        worst = Bound(len(overdue), 0, 0.0, 0.0, 0.0)
        violations = 0
        for one in overdue:
            due_ms, let_pass, owed = one.passed or Passed(0, 0, 1)
            used = let_pass * share / owed
            violations += used > 1
            if used > worst.worst_share:
                wait_s = self.queue_wait_s(one)
                target_s = (due_ms - one.arrived_ms) / 1000
                bound_s = target_s + (wait_s - target_s) / used
                worst = Bound(len(overdue), 0, used, wait_s, bound_s)
        return worst._replace(violations=violations)

    def _at(self, at_s: float) -> Sample:
        return min(self.samples, key=lambda sample: abs(sample.at_s - at_s))
