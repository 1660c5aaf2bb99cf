"""How long many requests waited, small enough to store and exact enough to merge.

Counts in the same 5 % buckets as the live page's (``ledger``).  Sketches of parts add up to the
sketch of the whole, so a percentile over any span comes from the waits themselves: percentiles of
parts cannot be averaged.  A quantile is off by at most ``ERROR`` of itself.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import ceil

import msgspec

from gateway.core.ledger import BUCKET_RATIO, FEWEST, bucket_of, middle_ms

ERROR = (BUCKET_RATIO - 1) / 2  # of the wait in whole milliseconds


read_pairs = msgspec.json.Decoder(list[int]).decode  # a year's chart reads thousands


class Sketch:
    """``Sketch.of(waits_ms)``; ``str`` makes the text to store, ``pairs`` reads it for ``merge``."""

    __slots__ = ("counts", "n")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.n = 0

    @classmethod
    def merged(cls, stored: Iterable[str]) -> Sketch:
        sketch = cls()
        for text in stored:
            sketch.merge(pairs(text))
        return sketch

    @classmethod
    def of(cls, waits_ms: Iterable[int]) -> Sketch:
        sketch = cls()
        for wait_ms in waits_ms:
            sketch.add(wait_ms)
        return sketch

    def add(self, wait_ms: int) -> None:
        bucket = bucket_of(wait_ms)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        self.n += 1

    def merge(self, stored: Sequence[int]) -> None:
        counts, known = self.counts, self.counts.get
        for bucket, count in zip(stored[::2], stored[1::2], strict=True):
            counts[bucket] = known(bucket, 0) + count
        self.n += sum(stored[1::2])

    def take_away(self, stored: Sequence[int]) -> None:
        """Undo the merge of it."""
        for bucket, count in zip(stored[::2], stored[1::2], strict=True):
            self.counts[bucket] -= count
        self.n -= sum(stored[1::2])

    def quantiles_s(self, *percents: int) -> list[float | None]:
        """The waits that so many percent are at most, in seconds (nearest rank); None of none."""
        if not self.n:
            return [None] * len(percents)
        buckets = sorted(self.counts)
        passed = list(accumulate(map(self.counts.__getitem__, buckets)))
        ranked = (bisect_left(passed, ceil(self.n * percent / 100)) for percent in percents)
        return [round(middle_ms(buckets[n]) / 1000, 4) for n in ranked]

    def told_s(self) -> list[float | None]:
        """p50, p95 and p99, each None where there are too few waits to say: 5, 20 and 100."""
        known = zip(self.quantiles_s(*FEWEST), FEWEST.values(), strict=True)
        return [wait_s if self.n >= fewest else None for wait_s, fewest in known]

    def __str__(self) -> str:
        flat = [number for pair in sorted(self.counts.items()) for number in pair]
        return msgspec.json.encode(flat).decode() if flat else ""


def pairs(text: str) -> list[int]:
    """Bucket, count, bucket, count: what a stored sketch says."""
    return read_pairs(text) if text else []
