"""What came of a load run: one outcome a request, counted and ranked per tier.

Memory is bounded, so that a run may go on for ever.  Used by ``gateway.loadgen`` and the command
that prints it.
"""

import math
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gateway.arrivals import Arrival

KEPT_SAMPLES = 20_000  # of each time, a tier: the latest


class Outcome(NamedTuple):
    """How one request ended: ``ok``, ``hung_up``, ``refused``, ``failed`` or, when the run was
    over first, ``unfinished``.  Refusals and failures carry the gateway's code, or ours where it
    gave none."""

    kind: str
    code: str = ""
    tier: str = ""
    priority: int | None = None
    queue_wait_s: float | None = None
    ttft_s: float | None = None
    e2e_s: float | None = None


@dataclass
class TierTally:
    sent: int = 0
    ok: int = 0
    hung_up: int = 0
    unfinished: int = 0
    oldest_unfinished_s: float = 0.0
    priority: int | None = None  # the least seen: ageing only ever raises it
    refused: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    samples: dict[str, deque[float]] = field(
        default_factory=lambda: {
            name: deque(maxlen=KEPT_SAMPLES) for name in ("queue_wait_s", "ttft_s", "e2e_s")
        }
    )

    def add(self, outcome: Outcome) -> None:
        self.sent += 1
        self.ok += outcome.kind == "ok"
        self.hung_up += outcome.kind == "hung_up"
        if outcome.kind == "unfinished":
            self.unfinished += 1
            self.oldest_unfinished_s = max(self.oldest_unfinished_s, outcome.e2e_s or 0.0)
        if outcome.kind == "refused":
            self.refused[outcome.code] += 1
        if outcome.kind == "failed":
            self.failed[outcome.code] += 1
        if outcome.priority is not None:
            known = self.priority
            self.priority = outcome.priority if known is None else min(known, outcome.priority)
        if outcome.kind == "ok":
            for name, kept in self.samples.items():
                value = getattr(outcome, name)
                if value is not None:
                    kept.append(value)

    def as_json(self) -> dict[str, Any]:
        waits = {
            name: {"p50": quantile(kept, 0.5), "p95": quantile(kept, 0.95)}
            for name, kept in self.samples.items()
        }
        counts = {"sent": self.sent, "ok": self.ok, "hung_up": self.hung_up}
        ends = {"refused": dict(self.refused), "failed": dict(self.failed)}
        left = {"unfinished": self.unfinished, "oldest_unfinished_s": self.oldest_unfinished_s}
        return {"priority": self.priority, **counts, **ends, **left, **waits}


@dataclass
class Tally:
    """What came of a run, per tier; waits and times are of the requests that succeeded."""

    tiers: dict[str, TierTally] = field(default_factory=dict)
    open: int = 0
    unsent: int = 0  # due while --concurrency-limit were open already
    asked_tokens: int = 0  # what all that was sent will generate
    late_s: float = 0.0  # how late, at worst, this generator itself was
    tier_of: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, arrival: Arrival, outcome: Outcome) -> None:
        """Count it.  Who leaves the line early never learns the tier: the last one that the same
        tenant's requests of this type were given stands for it, else ``?`` and the type."""
        who = (arrival.tenant, arrival.task_type)
        if outcome.tier:
            self.tier_of[who] = outcome.tier
        tier = outcome.tier or self.tier_of.get(who, f"?{arrival.task_type}")
        self.tiers.setdefault(tier, TierTally()).add(outcome)

    @property
    def unfinished(self) -> int:
        return sum(tier.unfinished for tier in self.tiers.values())

    @property
    def by_urgency(self) -> list[tuple[str, TierTally]]:
        def urgency(item: tuple[str, TierTally]) -> float:
            return math.inf if item[1].priority is None else -item[1].priority

        return sorted(self.tiers.items(), key=urgency)

    def as_json(self) -> dict[str, Any]:
        counts = {"unsent": self.unsent, "asked_tokens": self.asked_tokens}
        return {
            **counts,
            "late_s": self.late_s,
            "tiers": {name: tier.as_json() for name, tier in self.by_urgency},
        }


def quantile(values: Iterable[float], share: float) -> float | None:
    """The value that ``share`` of all are at most (nearest rank); None where there are none."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)] if ranked else None
