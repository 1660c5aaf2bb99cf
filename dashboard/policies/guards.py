"""When a canary is taken back by itself: pure, so that a test sets the clock and the figures.

Canary tenants are held against the others over the same minutes, tier by tier: load that hits both
trips nothing.  Few requests prove nothing, so each guard says how many it needs.
"""

from collections.abc import Collection, Iterable
from math import ceil
from typing import NamedTuple

FEWEST = 20  # waits on each side before their p95 are compared
FEWEST_LOST = 3  # refused or failed: one alone is chance
POINTS = 0.01  # above the others' share
TIMES = 2.0  # the others' p95 ...
LONGER_S = 1.0  # ... and at least this much above it
LABELS = {"wait": "wait p95", "refused": "refusals", "errors": "errors", "alert": "crit alert"}
GUARDS = tuple(LABELS)


class Group(NamedTuple):
    """What became of one tier's requests under one version.  A request that expired has waited too."""

    n: int = 0
    refused: int = 0  # turned away, expired, displaced
    failed: int = 0
    waits: tuple[float, ...] = ()  # seconds, ascending
    waiting: int = 0
    oldest_s: float | None = None  # of those that wait

    def p(self, share: float) -> float | None:
        """Nearest rank; None without a wait."""
        return self.waits[ceil(share * len(self.waits)) - 1] if self.waits else None

    @property
    def p50_s(self) -> float | None:
        return self.p(0.5)

    @property
    def p95_s(self) -> float | None:
        return self.p(0.95)

    @property
    def refused_share(self) -> float:
        return self.refused / self.n if self.n else 0.0

    @property
    def failed_share(self) -> float:
        return self.failed / self.n if self.n else 0.0


class Pair(NamedTuple):
    """A tier on both sides; "" is all tiers together, of which waits are not compared."""

    tier: str
    target_s: float  # as the version before has it
    canary: Group
    others: Group


def tripped(pairs: Iterable[Pair], guards: Collection[str]) -> str:
    """Why the canary has to go back, as a sentence; empty while all is well."""
    for pair in pairs:
        for guard, check in _CHECKS.items():
            said = check(pair) if guard in guards else ""
            if said:
                return f"{pair.tier or 'all tiers'}: {said}"
    return ""


def _wait(pair: Pair) -> str:
    canary, others = pair.canary, pair.others
    if not pair.tier:
        return ""
    ours, theirs = canary.p95_s, others.p95_s
    enough = min(len(canary.waits), len(others.waits)) >= FEWEST
    if enough and ours and theirs is not None and ours > max(TIMES * theirs, theirs + LONGER_S):
        return f"wait p95 {ours:.1f} s against {theirs:.1f} s of the others"
    # A line that stands still finishes nothing: then who waits there has to tell.
    longest = max(theirs or 0.0, others.oldest_s or 0.0)
    oldest = canary.oldest_s or 0.0
    if oldest > pair.target_s + LONGER_S and oldest > TIMES * longest + LONGER_S:
        return f"one has waited for {oldest:.1f} s, of the others nobody for over {longest:.1f} s"
    return ""


def _refused(pair: Pair) -> str:
    return _lost(
        pair.canary.refused, pair.canary.refused_share, pair.others.refused_share, "refused"
    )


def _errors(pair: Pair) -> str:
    return _lost(pair.canary.failed, pair.canary.failed_share, pair.others.failed_share, "failed")


def _lost(many: int, ours: float, theirs: float, how: str) -> str:
    if many < FEWEST_LOST or ours <= theirs + POINTS:
        return ""
    return f"{100 * ours:.1f} % {how} against {100 * theirs:.1f} % of the others"


# A crit alert is no figure: ``canary`` looks for one.
_CHECKS = {"wait": _wait, "refused": _refused, "errors": _errors}
