"""How many slots above M a pool keeps for urgent tiers, from the urgent traffic it sees.

Pure, as ``capacity`` is: the shell tells of each urgent request's arrival and end, and asks once a
poll.
"""

from collections.abc import Sequence
from math import ceil, exp, sqrt
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from gateway.core.capacity import COLD_START, NEVER_DRY

URGENT_DECAY_S = 10.0


class Reserve(Struct, frozen=True, kw_only=True):
    """A pool's urgent traffic, from which its holdback follows.  One a pool, not one a backend."""

    arrivals: float = 0.0  # decayed count; per second it is arrivals / URGENT_DECAY_S
    arrived_at_ms: int = 0
    e2e_s: float = 0.0
    refused_polls: int = 0
    overloaded: bool = False

    def load(self, now_ms: int) -> float:
        """Slots that urgent requests hold by themselves: by Little, arrivals per second by E2E."""
        faded = self.arrivals * exp(-max(0, now_ms - self.arrived_at_ms) / 1000 / URGENT_DECAY_S)
        return faded / URGENT_DECAY_S * self.e2e_s


def arrived(reserve: Reserve, now_ms: int, sequences: int = 1) -> Reserve:
    """An urgent request for so many slots came to the door."""
    passed_s = max(0, now_ms - reserve.arrived_at_ms) / 1000
    faded = reserve.arrivals * exp(-passed_s / URGENT_DECAY_S)
    return replace(reserve, arrivals=faded + sequences, arrived_at_ms=now_ms)


def finished(reserve: Reserve, e2e_s: float) -> Reserve:
    """An urgent request's upstream exchange is closed, ``e2e_s`` after its dispatch."""
    return replace(reserve, e2e_s=0.9 * reserve.e2e_s + 0.1 * e2e_s if reserve.e2e_s else e2e_s)


def polled(
    reserve: Reserve, *, refused: bool, waiting: int, in_flight: int, base_limit: int
) -> Reserve:
    """Notice when urgent traffic alone exceeds capacity; all numbers are urgent ones of the pool.

    Then held-back slots only build a queue inside the engine, where nothing can be reordered.
    ``refused``: since the last poll an urgent request found every slot taken.  Refused on two polls
    in a row while urgent ones hold half of M: no holdback until no urgent request waits.
    """
    refused_polls = reserve.refused_polls + 1 if refused else 0
    overloaded = waiting > 0 and (
        reserve.overloaded or (refused_polls >= 2 and in_flight >= base_limit / 2)
    )
    return replace(reserve, refused_polls=refused_polls, overloaded=overloaded)


class Holdback(NamedTuple):
    held_back: tuple[int, ...]  # one a backend, in the order given
    short: bool  # urgent traffic exceeds its reserve


def share_out(
    reserve: Reserve, base_limits: Sequence[int], share: float, now_ms: int, *, ramping: int = 0
) -> Holdback:
    """How many slots above M each backend keeps for urgent tiers; recomputed at each poll.

    In the worst case no low request finishes and urgent ones free only what they hold themselves;
    2.33 standard deviations more than that, at least ``share`` of M, at most a quarter of it.
    For each backend whose M is still being found at least COLD_START: it is far from full, and urgent
    requests of a cold first second waited 0.24 s for one slot in nine (measured).
    """
    pool = sum(base_limits)
    load = reserve.load(now_ms)
    wanted = ceil(load + NEVER_DRY * sqrt(load))
    least = max(1, ceil(share * pool), COLD_START * ramping)
    most = max(least, pool // 4)
    if reserve.overloaded:
        return Holdback(tuple(0 for _ in base_limits), short=True)
    slots = max(least, min(wanted, most))
    return Holdback(tuple(-(-slots * m // pool) for m in base_limits), short=wanted > most)
