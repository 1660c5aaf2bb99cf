"""How long many requests waited, small enough to store and exact enough to merge.

Counts in the same 5 % buckets as the live page's (``ledger``).  Sketches of parts add up to the
sketch of the whole, so a percentile over any span comes from the waits themselves: percentiles of
parts cannot be averaged.  A quantile is off by at most ``ERROR`` of itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil

from gateway.core.ledger import BUCKET_RATIO, FEWEST, bucket_of, middle_ms

ERROR = (BUCKET_RATIO - 1) / 2  # of the wait in whole milliseconds


class Sketch:
    """``Sketch.of(waits_ms)``, or ``Sketch.read(text)`` of what ``str`` wrote."""

    __slots__ = ("counts", "n")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.n = 0

    @classmethod
    def of(cls, waits_ms: Iterable[int]) -> Sketch:
        sketch = cls()
        for wait_ms in waits_ms:
            sketch.add(wait_ms)
        return sketch

    @classmethod
    def read(cls, text: str) -> Sketch:
        sketch = cls()
        sketch.merge(text)
        return sketch

    def add(self, wait_ms: int) -> None:
        bucket = bucket_of(wait_ms)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        self.n += 1

    def merge(self, text: str, times: int = 1) -> None:
        """Add a stored sketch; with ``times`` -1 take one away that was added before."""
        for pair in text.split():
            bucket, _, count = pair.partition(":")
            more = int(count) * times
            self.counts[int(bucket)] = self.counts.get(int(bucket), 0) + more
            self.n += more

    def quantile_s(self, percent: int) -> float | None:
        """The wait that ``percent`` of all are at most, in seconds (nearest rank); None of none."""
        rank = ceil(self.n * percent / 100)
        for bucket in sorted(self.counts):
            rank -= self.counts[bucket]
            if rank <= 0 and self.n:
                return round(middle_ms(bucket) / 1000, 4)
        return None

    def told_s(self, percent: int) -> float | None:
        """The same, unless there are too few waits to say: 5 for p50, 20 for p95, 100 for p99."""
        return self.quantile_s(percent) if self.n >= FEWEST[percent] else None

    def __str__(self) -> str:
        return " ".join(f"{bucket}:{count}" for bucket, count in sorted(self.counts.items()))
