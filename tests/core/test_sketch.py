"""Sketches and buckets: merging loses nothing, and a percentile stays within its stated error."""

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.buckets import FINEST_S, Bucket, Tallies, counts, merged, text_of
from gateway.core.sketch import ERROR, Sketch, pairs
from tests.support.buckets import sketch as stored

WAITS_MS = st.lists(st.integers(0, 40 * 86_400_000), min_size=1, max_size=60)


def exact_ms(waits_ms: list[int], percent: int) -> int:
    return sorted(waits_ms)[ceil(len(waits_ms) * percent / 100) - 1]


@given(st.lists(WAITS_MS, min_size=1, max_size=6), st.sampled_from([1, 50, 95, 99, 100]))
def test_a_quantile_of_merged_sketches_is_within_its_error_of_the_exact_one(parts, percent):
    whole = Sketch()
    for waits_ms in parts:
        whole.merge(pairs(str(Sketch.of(waits_ms))))

    exact = exact_ms([wait for waits_ms in parts for wait in waits_ms], percent)
    (told_s,) = whole.quantiles_s(percent)
    assert told_s * 1000 == pytest.approx(exact, rel=ERROR + 1e-9, abs=0.06)


@given(WAITS_MS, WAITS_MS)
def test_what_was_merged_can_be_taken_away_again(kept, gone):
    sketch = Sketch.of(kept)
    sketch.merge(pairs(str(Sketch.of(gone))))
    sketch.take_away(pairs(str(Sketch.of(gone))))

    assert sketch.n == len(kept)
    assert {b: n for b, n in sketch.counts.items() if n} == Sketch.of(kept).counts
    assert sketch.quantiles_s(1, 95, 100) == Sketch.of(kept).quantiles_s(1, 95, 100)


@pytest.mark.parametrize(("n", "known"), [(4, 0), (5, 1), (19, 1), (20, 2), (99, 2), (100, 3)])
def test_too_few_waits_say_nothing(n, known):
    told = Sketch.of([100] * n).told_s()

    assert len(told) == 3
    assert sum(wait_s is not None for wait_s in told) == known


def test_a_sketch_of_nothing_is_empty_text():
    assert (str(Sketch()), stored("").n) == ("", 0)
    assert Sketch().told_s() == Sketch().quantiles_s(50, 95, 99) == [None] * 3


SECOND = st.fixed_dictionaries(
    {
        "waiting": st.integers(0, 5000),
        "in_flight": st.integers(0, 64),
        "oldest_s": st.none() | st.floats(0, 1e4),
        "wait_p95_s": st.none() | st.floats(0, 1e4),
    }
)
EVENTS = st.lists(
    st.sampled_from(["arrived", "queue_full", "evicted"]) | st.integers(0, 10**7), max_size=8
)


@given(st.lists(st.tuples(SECOND, EVENTS), min_size=1, max_size=150))
def test_rollups_bound_what_was_seen_and_their_counts_add_up(seconds):
    tallies = Tallies("gw")
    fine: list[Bucket] = []
    for at, (seen, events) in enumerate(seconds):
        fine += tallies.turn_to(float(at))
        tallies.seen("default", "batch", **seen)
        for event in events:
            if event == "arrived":
                tallies.arrived("default", "batch")
            elif isinstance(event, int):
                tallies.dispatched("default", "batch", event)
            else:
                tallies.lost("default", "batch", event)
    fine += tallies.rest()
    minutes = [
        merged([b for b in fine if b.start // 60 == minute], 60)
        for minute in range(len(seconds) // 60 + bool(len(seconds) % 60))
    ]
    whole = merged(minutes, 3600)

    waiting = [seen["waiting"] for seen, _ in seconds]
    oldest = [seen["oldest_s"] or 0.0 for seen, _ in seconds]
    p95 = [seen["wait_p95_s"] for seen, _ in seconds if seen["wait_p95_s"] is not None]
    happened = [event for _, events in seconds for event in events]
    waits_ms = [event for event in happened if isinstance(event, int)]
    assert all(b.start == n * FINEST_S for n, b in enumerate(fine))
    assert whole.seconds == len(seconds)
    assert (whole.waiting_min, whole.waiting_max) == (min(waiting), max(waiting))
    assert whole.waiting_last == waiting[-1]
    assert (whole.oldest_min_s, whole.oldest_max_s) == (min(oldest), max(oldest))
    assert whole.wait_p95_max_s == max(p95, default=None)
    assert whole.arrived == happened.count("arrived")
    assert whole.dispatched == len(waits_ms)
    lost = dict(counts(whole.lost))
    assert lost.get("queue_full", 0) == happened.count("queue_full")
    assert lost.get("evicted", 0) == happened.count("evicted")
    assert whole.waits == str(Sketch.of(waits_ms))


def test_ten_seconds_end_once_also_when_the_clock_is_set_back():
    tallies = Tallies("gw")

    def second(at: float) -> list[int]:
        over = tallies.turn_to(at)
        tallies.seen("default", "batch", waiting=1, in_flight=0, oldest_s=None, wait_p95_s=None)
        return [bucket.start for bucket in over]

    assert [second(at) for at in (1008.0, 1009.0, 1010.2, 1005.0, 1019.0, 1020.0)] == [
        *([], [], [1000], [], [], [1010])
    ]


def test_seconds_nobody_looked_at_are_no_bucket():
    tallies = Tallies("gw")
    tallies.turn_to(0.0)
    tallies.arrived("default", "batch")

    assert tallies.turn_to(10.0) == []


def test_counts_of_names_survive_being_stored():
    assert dict(counts(text_of({"queue_full": 3, "evicted": 1}))) == {"queue_full": 3, "evicted": 1}
