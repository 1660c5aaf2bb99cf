"""Running statistics of one tier: what the live page shows and the alerts judge.

Every event costs O(1); a frame costs some hundred additions, however many wait.  Waits are kept
in logarithmic buckets of 5 % in a ring of seconds with running totals, so a frame never merges
300 histograms; those still waiting are counted by the second they arrived in, so it never scans
the line either.  Times of waiting requests are therefore whole seconds, rounded down.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import chain
from math import log
from typing import Literal, NamedTuple

WINDOW_S = 300  # of waits
MINUTE_S = 60  # the shorter window, for somebody who wants to see an effect
BURN_MIN = (30, 60, 360)  # windows of the burn, beside the ring
OBJECTIVE = 0.99  # of all requests wait no longer than their tier's target
RATE_S = 30
BUCKET_RATIO = 1.05
LOG_RATIO = log(BUCKET_RATIO)
FEWEST = {50: 5, 95: 20, 99: 100}  # below these a quantile is noise, so there is none

Loss = Literal["rejected", "expired", "evicted", "cancelled"]
LOSSES: tuple[Loss, ...] = ("rejected", "expired", "evicted", "cancelled")


class Quantile(NamedTuple):
    value_ms: float
    at_least: bool  # those still waiting may make it longer than this


class Waits(NamedTuple):
    """Waits that ended in the window and the ages of those still waiting, together."""

    n: int
    worst_ms: int
    p50: Quantile | None
    p95: Quantile | None
    p99: Quantile | None


def bucket_of(wait_ms: int) -> int:
    """0 for no wait at all, else 1 + the number of 5 % steps above 1 ms."""
    return 1 + int(log(wait_ms) / LOG_RATIO) if wait_ms > 0 else 0


def floor_ms(bucket: int) -> float:
    return BUCKET_RATIO ** (bucket - 1) if bucket else 0.0


def middle_ms(bucket: int) -> float:
    return floor_ms(bucket) * (1 + BUCKET_RATIO) / 2


class _Second:
    """What happened in one second."""

    __slots__ = ("admitted", "dispatched", "late", "lost", "rescued", "waits", "worst_ms")

    def __init__(self) -> None:
        self.admitted = 0
        self.dispatched = 0
        self.late = 0
        self.rescued = 0
        self.worst_ms = 0
        self.lost = dict.fromkeys(LOSSES, 0)
        self.waits: dict[int, int] = {}


class TierLedger:
    """The last five minutes of one tier, and the ages of what waits in it."""

    def __init__(self) -> None:
        self._ring: list[_Second | None] = [None] * WINDOW_S
        self._second: int | None = None
        self._since_s = 0
        self._waits: dict[int, int] = {}  # totals of the ring, by bucket
        self._waiting: dict[int, list[int]] = {}  # by second of arrival: requests, cost
        self._minutes: deque[list[int]] = deque(maxlen=BURN_MIN[-1])  # minute, judged, late
        self.dispatched_ms = 0  # when one last went

    def admitted(self, now_ms: int) -> None:
        self._at(now_ms).admitted += 1

    def joined(self, arrived_ms: int, cost: int) -> None:
        """A request waits: one just admitted, or one that came back."""
        waiting = self._waiting.get(arrived_ms // 1000)
        if waiting is None:
            self._waiting[arrived_ms // 1000] = [1, cost]
        else:
            waiting[0] += 1
            waiting[1] += cost

    def left(self, arrived_ms: int, cost: int) -> None:
        waiting = self._waiting[arrived_ms // 1000]
        if waiting[0] == 1:
            del self._waiting[arrived_ms // 1000]
        else:
            waiting[0] -= 1
            waiting[1] -= cost

    def dispatched(self, now_ms: int, wait_ms: int, *, rescued: bool, late: bool = False) -> None:
        """``late``: it waited longer than its tier aims at."""
        self.dispatched_ms = now_ms
        second = self._at(now_ms)
        second.dispatched += 1
        second.late += late
        self._judged(now_ms, late)
        second.rescued += rescued
        if wait_ms > second.worst_ms:
            second.worst_ms = wait_ms
        bucket = bucket_of(wait_ms)
        second.waits[bucket] = second.waits.get(bucket, 0) + 1
        self._waits[bucket] = self._waits.get(bucket, 0) + 1

    def lost(self, now_ms: int, how: Loss) -> None:
        self._at(now_ms).lost[how] += 1
        if how == "expired":  # it waited as long as anybody may, so longer than the target
            self._judged(now_ms, late=True)

    def _judged(self, now_ms: int, late: bool) -> None:
        minute = now_ms // 60_000
        if not self._minutes or self._minutes[-1][0] != minute:
            self._minutes.append([minute, 0, 0])
        self._minutes[-1][1] += 1
        self._minutes[-1][2] += late

    def remember(self, minutes: Iterable[tuple[int, int, int]]) -> None:
        """Take over what an earlier process judged, as (minute, judged, late), so that the longer
        windows of the burn do not begin anew.  The minute is of this ledger's clock."""
        sums: dict[int, list[int]] = {}
        for minute, judged, late in chain(minutes, self._minutes):
            known = sums.setdefault(minute, [minute, 0, 0])
            known[1] += judged
            known[2] += late
        self._minutes = deque((sums[minute] for minute in sorted(sums)), self._minutes.maxlen)

    def inherit(self, gone: TierLedger) -> None:
        """Count those who wait elsewhere until now; their tier's past goes with it."""
        for second, (requests, cost) in gone._waiting.items():
            waiting = self._waiting.setdefault(second, [0, 0])
            waiting[0] += requests
            waiting[1] += cost

    def waiting_since(self, moment_ms: int) -> tuple[int, int]:
        """How many wait that arrived at or before a moment, to the second, and their cost."""
        counts = [w for second, w in self._waiting.items() if second * 1000 <= moment_ms]
        return sum(count for count, _ in counts), sum(cost for _, cost in counts)

    def aged(self, now_ms: int, age_ms: int) -> int:
        """How many have waited at least ``age_ms``; one may be counted up to a second late."""
        latest = now_ms - age_ms - 999
        return sum(w[0] for second, w in self._waiting.items() if second * 1000 <= latest)

    def rates_per_s(self, now_ms: int) -> tuple[float, float]:
        """Admitted and dispatched a second: the last 30 full seconds, the newest weighing most."""
        self._turn_to(now_ms // 1000)
        come = gone = weights = 0
        for ago in range(1, RATE_S + 1):
            second = now_ms // 1000 - ago
            if second < self._since_s:
                break
            weight = RATE_S + 1 - ago
            weights += weight
            counts = self._ring[second % WINDOW_S]
            if counts is not None:
                come += weight * counts.admitted
                gone += weight * counts.dispatched
        return (come / weights, gone / weights) if weights else (0.0, 0.0)

    def events(self, now_ms: int) -> tuple[int, int]:
        """Admitted and dispatched in the whole window."""
        self._turn_to(now_ms // 1000)
        seconds = [second for second in self._ring if second is not None]
        return sum(s.admitted for s in seconds), sum(s.dispatched for s in seconds)

    def last_minute(self, now_ms: int) -> tuple[int, dict[Loss, int]]:
        """Rescue dispatches and losses of the last 60 seconds."""
        self._turn_to(now_ms // 1000)
        now_s = now_ms // 1000
        minute = [self._ring[second % WINDOW_S] for second in range(now_s - 59, now_s + 1)]
        counts = [second for second in minute if second is not None]
        lost = {how: sum(second.lost[how] for second in counts) for how in LOSSES}
        return sum(second.rescued for second in counts), lost

    def burn(self, now_ms: int, overdue: int) -> list[float | None]:
        """How fast late requests use up what the objective allows: over 5 and 30 min, 1 and 6 h.

        1.0 is exactly the share allowed.  The ``overdue`` still wait, and are late already.  None:
        there is nothing to judge.
        """
        self._turn_to(now_ms // 1000)
        recent = [second for second in self._ring if second is not None]
        expired = sum(second.lost["expired"] for second in recent)
        judged = sum(second.dispatched for second in recent) + expired
        late = sum(second.late for second in recent) + expired
        burns = [_burn(late + overdue, judged + overdue)]
        for window in BURN_MIN:
            minutes = [m for m in self._minutes if m[0] > now_ms // 60_000 - window]
            judged, late = sum(m[1] for m in minutes), sum(m[2] for m in minutes)
            burns.append(_burn(late + overdue, judged + overdue))
        return burns

    def waits_of_minute(self, now_ms: int) -> Waits:
        """``waits`` over one minute."""
        self._turn_to(now_ms // 1000)
        now_s = now_ms // 1000
        ended: dict[int, int] = {}
        worst = 0
        for ago in range(MINUTE_S):
            second = self._ring[(now_s - ago) % WINDOW_S]
            if second is not None:
                worst = max(worst, second.worst_ms)
                for bucket, count in second.waits.items():
                    ended[bucket] = ended.get(bucket, 0) + count
        return self._with_waiting(now_ms, ended, worst)

    def waits(self, now_ms: int) -> Waits:
        """Quantiles twice over: those waiting at their age so far, and as endless.

        Where both fall into one bucket the number is known; where not, only that it is at least
        this.  Without it a stuck queue would look healthy, because nothing finishes.
        """
        self._turn_to(now_ms // 1000)
        worst = max((second.worst_ms for second in self._ring if second is not None), default=0)
        return self._with_waiting(now_ms, self._waits, worst)

    def _with_waiting(self, now_ms: int, ended: dict[int, int], worst: int) -> Waits:
        lower = dict(ended)
        still = 0
        for second, (requests, _) in self._waiting.items():
            age_ms = max(0, now_ms - second * 1000 - 999)
            bucket = bucket_of(age_ms)
            lower[bucket] = lower.get(bucket, 0) + requests
            still += requests
            worst = max(worst, age_ms)
        n = sum(ended.values()) + still
        known = sorted(ended.items())
        seen = sorted(lower.items())
        quantiles = {
            q: _quantile(seen, known, -(-n * q // 100)) if n >= fewest else None
            for q, fewest in FEWEST.items()
        }
        return Waits(n, worst, quantiles[50], quantiles[95], quantiles[99])

    def _at(self, now_ms: int) -> _Second:
        now_s = now_ms // 1000
        if now_s != self._second:
            self._turn_to(now_s)
        second = self._ring[now_s % WINDOW_S]
        if second is None:
            second = self._ring[now_s % WINDOW_S] = _Second()
        return second

    def _turn_to(self, now_s: int) -> None:
        """Forget the seconds that leave the window."""
        if self._second is None:
            self._second = self._since_s = now_s
        for second in range(max(self._second, now_s - WINDOW_S) + 1, now_s + 1):
            gone = self._ring[second % WINDOW_S]
            if gone is None:
                continue
            self._ring[second % WINDOW_S] = None
            for bucket, count in gone.waits.items():
                self._waits[bucket] -= count
                if not self._waits[bucket]:
                    del self._waits[bucket]
        self._second = max(self._second, now_s)


def _burn(late: int, judged: int) -> float | None:
    return late / judged / (1 - OBJECTIVE) if judged else None


def _quantile(
    seen: list[tuple[int, int]], known: list[tuple[int, int]], rank: int
) -> Quantile | None:
    """The wait of the given rank, counted from 1: least by ``seen``, most by ``known``."""
    lower = _bucket_at(seen, rank)
    if lower is None:
        return None
    if _bucket_at(known, rank) == lower:
        return Quantile(middle_ms(lower), at_least=False)
    return Quantile(floor_ms(lower), at_least=True)


def _bucket_at(counts: list[tuple[int, int]], rank: int) -> int | None:
    for bucket, count in counts:
        rank -= count
        if rank <= 0:
            return bucket
    return None
