"""History merged, step by step: the same whether it runs once, twice or late; pruned, not lost."""

from random import Random

import pytest

from gateway import tasks
from gateway.core.buckets import counts
from gateway.core.sketch import ERROR, Sketch
from gateway.models import KEPT_S, QueueBucket
from gateway.rollup import prune, roll_up
from tests.support.buckets import bucket, sketch, store

pytestmark = pytest.mark.django_db

DAY = 86_400
NOON = 1_795_000_000 // DAY * DAY


def merged(step_s: int) -> list[tuple]:
    rows = QueueBucket.objects.filter(step_s=step_s).order_by("start", "tier", "pool")
    return list(rows.values_list("start", "tier", "waiting_max", "dispatched", "lost", "waits"))


def a_day(seed: int = 1) -> dict[int, list[int]]:
    """Waits by ten seconds; stored as two tiers."""
    draw = Random(seed)
    waits = {
        start: [round(draw.lognormvariate(6, 1.5)) for _ in range(draw.randrange(4))]
        for start in range(NOON, NOON + DAY, 10)
    }
    store(*(bucket(at, ms, waiting=len(ms), lost="evicted:1") for at, ms in waits.items()))
    return waits


def test_a_day_comes_to_the_same_counts_and_extremes_in_every_step():
    waits = a_day()
    every = sorted(ms for found in waits.values() for ms in found)

    roll_up(NOON + DAY + 20)

    for step_s in KEPT_S:
        rows = QueueBucket.objects.filter(step_s=step_s)
        assert rows.count() == DAY // step_s
        assert sum(rows.values_list("dispatched", flat=True)) == len(every)
        lost = [dict(counts(text)) for text in rows.values_list("lost", flat=True)]
        assert sum(one["evicted"] for one in lost) == len(waits)
        assert max(rows.values_list("waiting_max", flat=True)) == 3
    whole = QueueBucket.objects.get(step_s=DAY)
    exact = every[-(-len(every) * 95 // 100) - 1]
    (p95_s,) = sketch(whole.waits).quantiles_s(95)
    assert p95_s * 1000 == pytest.approx(exact, rel=ERROR)


def test_it_may_run_twice_and_in_pieces():
    a_day()
    for now in range(NOON + 7, NOON + DAY + 3600, 4 * 3600 + 77):
        roll_up(now)
    in_pieces = [merged(step_s) for step_s in KEPT_S]

    assert roll_up(NOON + DAY + 3600) == 0
    assert [merged(step_s) for step_s in KEPT_S] == in_pieces
    QueueBucket.objects.exclude(step_s=10).delete()
    roll_up(NOON + DAY + 3600)
    assert [merged(step_s) for step_s in KEPT_S] == in_pieces


def test_a_minute_is_merged_when_its_last_rows_are_written():
    store(*(bucket(NOON + n * 10, [5]) for n in range(6)))

    roll_up(NOON + 60)
    assert merged(60) == []
    roll_up(NOON + 76)
    assert [row[0] for row in merged(60)] == [NOON]


@pytest.mark.parametrize("late_s", [20, 3500, 40_000])
@pytest.mark.parametrize("tier", ["standard", "batch"], ids=["seen", "unseen"])
def test_rows_that_came_late_are_taken_in(late_s, tier):
    """After an hour at the latest, in every step."""
    store(*(bucket(at, [5]) for at in range(NOON, NOON + DAY, 600)))
    roll_up(NOON + DAY + 20)
    before = {step_s: total(step_s) for step_s in KEPT_S}
    store(bucket(NOON + DAY - late_s, [5] * 9, writer="late", tier=tier))

    (roll_up if late_s < 3600 else prune)(NOON + DAY + 60)

    assert {step_s: total(step_s) - n for step_s, n in before.items()} == dict.fromkeys(KEPT_S, 9)


def total(step_s: int) -> int:
    return sum(row[3] for row in merged(step_s))


def test_what_was_pruned_below_is_not_made_again_from_less():
    store(*(bucket(NOON + n * 10, [7]) for n in range(6)))
    roll_up(NOON + 76)
    QueueBucket.objects.filter(step_s=10, start__lt=NOON + 30).delete()
    store(bucket(NOON + 50, [7], writer="late"))

    prune(NOON + 160)

    assert merged(60)[0][3] == 6


def test_pools_and_tiers_stay_apart():
    store(*(bucket(NOON, [5], pool=pool, tier=tier) for pool in "ab" for tier in ("x", "y")))

    roll_up(NOON + 100)

    assert len(merged(60)) == 4


def test_what_is_too_old_goes_and_what_it_came_to_stays():
    now = NOON + 60 * DAY
    store(*(bucket(NOON + n * 10, [7] * 2) for n in range(360)), bucket(now - 3600, [7]))

    prune(now)

    assert merged(10) == [(now - 3600, "standard", 3, 1, "", str(Sketch.of([7])))]
    assert [row[0] for row in merged(60)] == [now - 3600]
    assert (merged(3600)[0][0], merged(3600)[0][3]) == (NOON, 720)
    assert merged(DAY)[0][3] == 720


def test_the_tasks_run_on_nothing():
    tasks.roll_up_history()
    tasks.prune_history()
    tasks.prune_samples()

    assert QueueBucket.objects.count() == 0
