"""A tier over a span of time, in numbers that merge: what history is made of.

Lows, highs and last values of what was seen once a second, counts of what happened, and a sketch
of the waits that ended.  Merging loses nothing of them, so a spike survives every zoom and counts
add up.  ``Tallies`` makes the finest buckets, as the gateway sees things happen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from gateway.core.ledger import Loss, middle_ms
from gateway.core.sketch import Sketch, pairs

FINEST_S = 10
# How the scheduler counts what a bucket's ``lost`` names.  Other codes never stood in its line.
LOSS_OF: dict[str, Loss] = {
    "queue_full": "rejected",
    "tenant_queue_full": "rejected",
    "tier_draining": "rejected",
    "queue_timeout": "expired",
    "deadline_exceeded": "expired",
    "evicted": "evicted",
    "displaced": "evicted",
    "cancelled": "cancelled",
    "client_disconnected": "cancelled",
}


class Bucket(NamedTuple):
    """In the order of its columns.  ``start`` is unix seconds, a multiple of ``step_s``.

    Ages of the oldest are seconds, 0 where nothing waits.  ``wait_p95_max_s`` is the worst p95 of
    five minutes, those still waiting included, that the live page showed; None: too few to say.
    """

    step_s: int
    pool: str
    tier: str
    start: int
    writer: str  # which process saw it; "" for what was merged
    seconds: int  # how many times the line was looked at
    waiting_min: int
    waiting_max: int
    waiting_last: int
    in_flight_min: int
    in_flight_max: int
    in_flight_last: int
    oldest_min_s: float
    oldest_max_s: float
    oldest_last_s: float
    wait_p95_max_s: float | None
    arrived: int
    dispatched: int
    lost: str  # "queue_full:3 evicted:1": left the line without a slot, by the refusal's code
    waits: str  # a ``Sketch`` of the queue waits that ended in a slot


def merged(parts: Iterable[Bucket], step_s: int) -> Bucket:
    """One bucket of ``step_s`` from the finer ones in it, at least one, in the order of time."""
    found = list(parts)
    last = found[-1]
    return Bucket(
        step_s=step_s,
        pool=last.pool,
        tier=last.tier,
        start=last.start // step_s * step_s,
        writer="",
        seconds=sum(part.seconds for part in found),
        waiting_min=min(part.waiting_min for part in found),
        waiting_max=max(part.waiting_max for part in found),
        waiting_last=last.waiting_last,
        in_flight_min=min(part.in_flight_min for part in found),
        in_flight_max=max(part.in_flight_max for part in found),
        in_flight_last=last.in_flight_last,
        oldest_min_s=min(part.oldest_min_s for part in found),
        oldest_max_s=max(part.oldest_max_s for part in found),
        oldest_last_s=last.oldest_last_s,
        wait_p95_max_s=max(
            (part.wait_p95_max_s for part in found if part.wait_p95_max_s is not None), default=None
        ),
        arrived=sum(part.arrived for part in found),
        dispatched=sum(part.dispatched for part in found),
        lost=text_of(total_counts(part.lost for part in found)),
        waits=str(Sketch.merged(part.waits for part in found)),
    )


def counts(text: str) -> Iterator[tuple[str, int]]:
    for pair in text.split():
        name, _, count = pair.rpartition(":")
        yield name, int(count)


def total_counts(texts: Iterable[str]) -> dict[str, int]:
    total: dict[str, int] = {}
    for text in texts:
        for name, count in counts(text):
            total[name] = total.get(name, 0) + count
    return total


def lost_as(how: Loss, text: str) -> int:
    """How many a stored ``lost`` has of one kind."""
    return sum(count for code, count in counts(text) if LOSS_OF.get(code) == how)


def judged(waits: str, lost: str, target_wait_ms: float) -> tuple[int, int]:
    """How many of a bucket waited their time out, and how many of these for longer than the target.

    As ``TierLedger`` judges them, but that a wait is known to 2.5 %, so one that near to the
    target may count on either side.
    """
    stored = pairs(waits)
    ended = dict(zip(stored[::2], stored[1::2], strict=True))
    expired = lost_as("expired", lost)
    late = sum(count for bucket, count in ended.items() if middle_ms(bucket) > target_wait_ms)
    return sum(ended.values()) + expired, late + expired


def text_of(counted: dict[str, int]) -> str:
    return " ".join(f"{name}:{count}" for name, count in sorted(counted.items()))


class _Now:
    """One tier in the ten seconds that are not over yet."""

    __slots__ = ("arrived", "dispatched", "in_flight", "lost", "oldest", "p95", "waiting", "waits")

    def __init__(self) -> None:
        self.waiting: list[int] = []
        self.in_flight: list[int] = []
        self.oldest: list[float] = []
        self.p95: list[float] = []
        self.arrived = 0
        self.dispatched = 0
        self.lost: dict[str, int] = {}
        self.waits = Sketch()


class Tallies:
    """The ten seconds that run: told what happens, it gives the buckets when they are over.

    They end with the second's tick that leaves them, so an event within a second of the end may
    count in the next ten.  A tier that nobody looked at leaves no bucket: that is a gap.
    """

    def __init__(self, writer: str) -> None:
        self._writer = writer
        self._start: int | None = None
        self._tiers: dict[tuple[str, str], _Now] = {}

    def arrived(self, pool: str, tier: str) -> None:
        self._of(pool, tier).arrived += 1

    def dispatched(self, pool: str, tier: str, wait_ms: int) -> None:
        """Given a slot.  A request that is sent again after a failure counts again."""
        now = self._of(pool, tier)
        now.dispatched += 1
        now.waits.add(wait_ms)

    def lost(self, pool: str, tier: str, code: str) -> None:
        lost = self._of(pool, tier).lost
        lost[code] = lost.get(code, 0) + 1

    def seen(
        self,
        pool: str,
        tier: str,
        *,
        waiting: int,
        in_flight: int,
        oldest_s: float | None,
        wait_p95_s: float | None,
    ) -> None:
        now = self._of(pool, tier)
        now.waiting.append(waiting)
        now.in_flight.append(in_flight)
        now.oldest.append(oldest_s or 0.0)
        if wait_p95_s is not None:
            now.p95.append(wait_p95_s)

    def turn_to(self, at: float) -> list[Bucket]:
        """What is over at ``at`` (unix seconds).  A clock that is set back ends nothing twice."""
        start = int(at) // FINEST_S * FINEST_S
        if self._start is None:
            self._start = start
        if start <= self._start:
            return []
        over = self.rest()
        self._start = start
        return over

    def rest(self) -> list[Bucket]:
        """What there is of the ten seconds that run; they begin anew."""
        tiers, self._tiers = self._tiers, {}
        start = self._start or 0
        return [self._bucket(start, *where, now) for where, now in tiers.items() if now.waiting]

    def _of(self, pool: str, tier: str) -> _Now:
        now = self._tiers.get((pool, tier))
        if now is None:
            now = self._tiers[pool, tier] = _Now()
        return now

    def _bucket(self, start: int, pool: str, tier: str, now: _Now) -> Bucket:
        return Bucket(
            step_s=FINEST_S,
            pool=pool,
            tier=tier,
            start=start,
            writer=self._writer,
            seconds=len(now.waiting),
            waiting_min=min(now.waiting),
            waiting_max=max(now.waiting),
            waiting_last=now.waiting[-1],
            in_flight_min=min(now.in_flight),
            in_flight_max=max(now.in_flight),
            in_flight_last=now.in_flight[-1],
            oldest_min_s=min(now.oldest),
            oldest_max_s=max(now.oldest),
            oldest_last_s=now.oldest[-1],
            wait_p95_max_s=max(now.p95, default=None),
            arrived=now.arrived,
            dispatched=now.dispatched,
            lost=text_of(now.lost),
            waits=str(now.waits),
        )
