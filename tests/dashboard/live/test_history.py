"""History for the charts: thinned out without hiding a spike or a gap."""

from datetime import UTC, datetime, timedelta

import pytest

from dashboard.live import history
from dashboard.live.history import Reading, columns
from gateway.models import QueueSample

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def reading(at, waiting, tier="standard", p95_s=None):
    return Reading(at, tier, waiting, None, p95_s)


def sample(ago_s, waiting, tier="standard", pool="default", p95_s=None):
    return QueueSample(
        pool=pool,
        tier=tier,
        at=NOW - timedelta(seconds=ago_s),
        waiting=waiting,
        in_flight=1,
        oldest_s=2.0,
        wait_p50_s=None,
        wait_p95_s=p95_s,
        in_per_s=1.0,
        out_per_s=1.0,
    )


def test_a_spike_of_one_second_survives():
    thinned = columns([reading(100, 3), reading(101, 900), reading(102, 4)])

    assert thinned["at"] == [100, 102]
    assert thinned["tiers"]["standard"]["waiting"] == [900, 4]


def test_a_gap_of_more_than_three_seconds_is_null():
    thinned = columns([reading(100, 3), reading(110, 4)])

    assert thinned["at"] == [100, 102, 110]
    assert thinned["tiers"]["standard"]["waiting"] == [3, None, 4]


@pytest.mark.parametrize("pause_s", [1, 2, 3])
def test_a_late_sample_is_no_gap(pause_s):
    thinned = columns([reading(101, 3), reading(101 + pause_s, 4)])

    assert None not in thinned["tiers"]["standard"]["waiting"]


def test_a_percentile_that_was_unknown_stays_unknown():
    thinned = columns([reading(100, 3), reading(101, 3, p95_s=1.5), reading(102, 3)])

    assert thinned["tiers"]["standard"]["p95_s"] == [1.5, None]


def test_tiers_share_one_axis_of_time():
    thinned = columns([reading(100, 1), reading(100, 2, "batch"), reading(102, 3)])

    assert thinned["tiers"]["batch"]["waiting"] == [2, None]
    assert thinned["tiers"]["standard"]["waiting"] == [1, 3]


def test_a_quarter_of_an_hour_is_at_most_450_points():
    thinned = columns(reading(float(at), at % 7) for at in range(900))

    assert len(thinned["at"]) == 450


def test_the_moment_of_the_last_reading_is_told_exactly():
    assert columns([reading(100, 1), reading(101.25, 2)])["until"] == 101.25


def test_nothing_gives_an_empty_history():
    assert columns([]) == {"at": [], "until": None, "tiers": {}}


@pytest.mark.django_db
def test_recent_reads_one_pool_and_no_more_than_the_window():
    QueueSample.objects.bulk_create(
        [sample(1000, 1), sample(10, 5, p95_s=2.5), sample(10, 9, pool="other")]
    )

    message = history.recent("default", NOW)

    assert (message["k"], message["pool"], message["step_s"]) == ("hist", "default", 2)
    assert message["tiers"]["standard"] == {"waiting": [5], "oldest_s": [2.0], "p95_s": [2.5]}
    assert message["at"] == [int(NOW.timestamp()) - 10]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("since_ago_s", "waiting"),
    [(2000, [4, None, 9, 5]), (11, [9, 5]), (9, [5]), (-1e9, [])],  # a clock may be wrong
)
def test_recent_brings_what_a_page_missed_by_whole_steps(since_ago_s, waiting):
    rows = [sample(899, 4), sample(12, 8), sample(11, 9), sample(9.5, 5)]
    QueueSample.objects.bulk_create(rows)

    past = history.recent("default", NOW, NOW.timestamp() - since_ago_s)

    assert past["tiers"].get("standard", {"waiting": []})["waiting"] == waiting


@pytest.mark.django_db
def test_pools_are_those_with_samples_in_the_window():
    QueueSample.objects.bulk_create(
        [sample(5, 1), sample(5, 1, pool="gpu"), sample(5000, 1, pool="gone")]
    )

    assert history.pools(NOW) == ["default", "gpu"]


@pytest.mark.django_db
def test_history_takes_one_query(django_assert_num_queries):
    QueueSample.objects.bulk_create([sample(ago, 1) for ago in range(100)])

    with django_assert_num_queries(1):
        history.recent("default", NOW)
