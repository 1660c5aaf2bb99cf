"""History at any zoom: the right step, no spike hidden, gaps as gaps, percentiles from sketches."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.alerts.models import Annotation
from dashboard.live.series import LEVELS, MOST, grid, series
from gateway.core.policy import default_policy
from gateway.core.sketch import ERROR
from gateway.models import PolicyVersion, QueueSample
from tests.support.buckets import bucket, store
from tests.support.people import member, person

DAY = 86_400
NOW = 1_795_000_000 // DAY * DAY  # midnight: every step begins anew


@given(st.floats(10, 396 * DAY), st.floats(0, 396 * DAY))
def test_any_range_is_at_most_450_points_and_covers_it(length_s, ago_s):
    end = NOW - ago_s
    points = grid(end - length_s, end, NOW)

    assert 1 <= points.size <= MOST
    assert points.step_s % points.level_s == 0
    assert points.first <= end - length_s
    assert points.end >= end


@pytest.mark.parametrize(
    ("length_s", "level_s", "step_s"),
    [
        (300, 1, 2),
        (900, 1, 3),
        (3600, 1, 9),
        (6 * 3600, 10, 50),
        (DAY, 60, 240),
        (7 * DAY, 600, 1800),
        (30 * DAY, 3600, 7200),
        (396 * DAY, 3600, 79200),
    ],
)
def test_a_range_is_read_from_the_coarsest_level_that_is_fine_enough(length_s, level_s, step_s):
    points = grid(NOW - length_s, NOW, NOW)

    assert (points.level_s, points.step_s) == (level_s, step_s)


def test_a_range_long_ago_is_read_from_what_is_still_there():
    assert grid(NOW - 40 * DAY, NOW - 40 * DAY + 900, NOW).level_s == 3600
    assert max(LEVELS) == DAY


def of(length_s, **how):
    return series("default", None, NOW - length_s, NOW, NOW, **how)


@pytest.mark.django_db
def test_a_spike_of_ten_seconds_shows_in_a_day():
    store(*(bucket(NOW - ago, waiting=900 if ago == 5000 else 3) for ago in range(10, 20_000, 10)))

    drawn = of(DAY)["tiers"]["standard"]

    assert max(w for w in drawn["waiting_max"] if w is not None) == 900
    assert min(w for w in drawn["waiting_min"] if w is not None) == 3
    assert drawn["waiting_max"].count(900) == 1


@pytest.mark.django_db
def test_what_nobody_saw_is_a_gap_and_not_a_nought():
    store(*(bucket(NOW - ago) for ago in [*range(10, 3000, 10), *range(9000, 12_000, 10)]))

    answer = of(6 * 3600)
    drawn = answer["tiers"]["standard"]

    for name, column in drawn.items():
        assert len(column) == len(answer["at"]), name
    in_gap = [n for n, at in enumerate(answer["at"]) if NOW - 8900 < at / 1000 < NOW - 3100]
    assert in_gap
    assert all(column[n] is None for column in drawn.values() for n in in_gap)
    assert drawn["waiting"][-1] == 3
    assert drawn["lost"][-1] == 0


@pytest.mark.django_db
def test_counts_add_up_whatever_the_zoom():
    store(
        *(
            bucket(NOW - ago, [100] * 3, lost="queue_full:2 evicted:1")
            for ago in range(10, 3 * 3600, 10)
        )
    )

    for length_s in (2 * 3600, 6 * 3600, DAY):
        answer = of(length_s)
        drawn = answer["tiers"]["standard"]
        seen = [n for n in drawn["lost"] if n is not None]
        assert sum(seen) == pytest.approx(3 * min(length_s, 3 * 3600 - 10) / 10, abs=3 * 24)
        assert {rate for rate in drawn["out_per_s"] if rate is not None} == {0.3}


@pytest.mark.django_db
def test_percentiles_come_from_the_waits_themselves():
    """An average of percentiles would put the p95 of one slow minute in ten at a tenth of it."""
    fast = [bucket(NOW - ago, [100] * 10) for ago in range(10, 3000, 10)]
    slow = [bucket(NOW - ago, [60_000] * 10) for ago in range(3000, 6000, 10)]
    store(*fast, *slow)

    drawn = of(DAY)["tiers"]["standard"]
    told = [p for p in drawn["p99"] if p is not None]

    assert told[0] == pytest.approx(60.0, rel=ERROR)
    assert told[-1] == pytest.approx(0.1, rel=ERROR)
    assert all(
        p == pytest.approx(60.0, rel=ERROR) or p == pytest.approx(0.1, rel=ERROR) for p in told
    )


@pytest.mark.django_db
def test_a_percentile_of_too_few_waits_is_none():
    store(bucket(NOW - 20, [100] * 6))

    drawn = of(7200)["tiers"]["standard"]

    assert drawn["p50"][-1] == pytest.approx(0.1, rel=ERROR)
    assert drawn["p95"][-1] is None


@pytest.mark.django_db
def test_the_newest_minutes_come_from_finer_rows():
    """Coarse rows are merged some time after their end."""
    store(
        *(bucket(NOW - 3600 + n * 60, step_s=60, writer="", waiting=5) for n in range(50)),
        *(bucket(NOW - 600 + n * 10, waiting=8) for n in range(60)),
        bucket(NOW - 3600, waiting=99),  # older than what was merged of it: not read
    )

    drawn = of(DAY)["tiers"]["standard"]

    assert drawn["waiting"][-1] == 8
    assert max(w for w in drawn["waiting_max"] if w is not None) == 8
    assert 5 in drawn["waiting"]


@pytest.mark.django_db
def test_two_gateways_that_saw_the_same_seconds_add_up():
    store(
        *(bucket(NOW - ago, [50] * 5, writer=w) for w in ("a", "b") for ago in range(10, 7200, 10))
    )

    drawn = of(7200)["tiers"]["standard"]

    assert {rate for rate in drawn["in_per_s"] if rate is not None} == {1.0}


def sample(at, waiting, tier="standard", p95_s=None):
    return QueueSample(
        pool="default",
        tier=tier,
        at=datetime.fromtimestamp(at, UTC),
        waiting=waiting,
        in_flight=1,
        oldest_s=2.0,
        wait_p95_s=p95_s,
        in_per_s=1.5,
        out_per_s=1.0,
    )


@pytest.mark.django_db
def test_minutes_are_drawn_from_single_seconds_and_their_waits_from_sketches():
    QueueSample.objects.bulk_create(
        sample(NOW - ago, 700 if ago == 31 else 4, p95_s=1.5 if ago == 30 else None)
        for ago in range(1, 200)
        if not 100 < ago < 120
    )
    store(*(bucket(NOW - ago, [2000] * 20, lost="evicted:1") for ago in range(10, 200, 10)))

    answer = of(300)
    drawn = answer["tiers"]["standard"]

    assert answer["step_s"] == 2
    assert 700 in drawn["waiting_max"]
    assert max(p for p in drawn["p95_max"] if p) == 1.5
    assert drawn["p95"][-1] == pytest.approx(2.0, rel=ERROR)
    assert drawn["in_per_s"][-1] == 1.5
    in_gap = [n for n, at in enumerate(answer["at"]) if NOW - 118 < at / 1000 < NOW - 102]
    assert [drawn["waiting"][n] for n in in_gap] == [None] * len(in_gap)
    assert [drawn["p95"][n] for n in in_gap] == [None] * len(in_gap)


@pytest.mark.django_db
def test_a_sample_that_came_late_is_no_gap():
    moments = [NOW - 60.0 + 2.4 * n for n in range(25)]
    QueueSample.objects.bulk_create(sample(at, 4) for at in moments)

    drawn = of(300)["tiers"]["standard"]["waiting"]

    first, last = drawn.index(4), len(drawn) - 1 - drawn[::-1].index(4)
    assert None not in drawn[first : last + 1]


@pytest.mark.django_db
def test_published_policies_and_people_s_notes_are_marks():
    ada = person("ada", "admin")
    version = PolicyVersion.objects.publish(default_policy(), "first", ada)
    published = version.published_at
    Annotation.objects.create(at=published + timedelta(seconds=1), text="new engine", by=ada)
    now = published.timestamp() + 5

    marks = series("default", None, now - 60, now, now)["marks"]

    assert [(mark["kind"], mark["text"], mark["by"]) for mark in marks] == [
        ("policy", "policy v1", "ada"),
        ("note", "new engine", "ada"),
    ]
    assert marks[0]["at"] == round(published.timestamp() * 1000)


@pytest.mark.django_db
def test_the_number_of_queries_does_not_grow_with_the_range(django_assert_max_num_queries):
    store(*(bucket(NOW - ago) for ago in range(10, 3000, 10)))

    for length_s in (300, 7200, DAY, 30 * DAY, 396 * DAY):
        with django_assert_max_num_queries(11):
            of(length_s)


# The address


@pytest.fixture
def otto(client, db):
    client.force_login(person("otto", "on-call"))
    return client


def test_the_address_answers_a_range_that_ends_now(otto):
    answer = otto.get("/live/history/?pool=default&range=6h").json()

    assert answer["to"] - answer["from"] == 6 * 3600 * 1000
    assert (answer["pool"], answer["step_s"], answer["tiers"]) == ("default", 50, {})


def test_the_address_answers_an_absolute_range_and_chosen_tiers(otto):
    now = int(datetime.now(UTC).timestamp()) // 10 * 10
    store(*(bucket(now - ago, tier=tier) for ago in range(10, 7201, 10) for tier in "ab"))
    since = datetime.fromtimestamp(now - 7200, UTC)
    until = since + timedelta(hours=1)

    iso = otto.get(
        "/live/history/",
        {"from": since.isoformat(), "to": until.isoformat(), "tier": ["a"]},
    ).json()
    epoch = otto.get(
        f"/live/history/?from={(now - 7200) * 1000}&to={(now - 3600) * 1000}&tier=a"
    ).json()

    assert iso == epoch
    assert (iso["from"], iso["to"]) == ((now - 7200) * 1000, (now - 3600) * 1000)
    assert list(iso["tiers"]) == ["a"]
    assert iso["tiers"]["a"]["waiting"].count(3) == len(iso["at"])


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("range=soon", "range"),
        ("range=5s", "range"),
        ("range=400d", "range"),
        ("range=1h&from=2026-01-01", "range"),
        ("from=yesterday", "from"),
        ("from=2026-13-01T00:00:00Z", "from"),
        ("from=99999999999999", "from"),
        ("to=0", "to"),
        ("from=0", "from"),
        ("from=2026-11-22T10:00:00Z&to=2026-11-22T09:00:00Z", "from"),
        ("to=x", "to"),
        ("to=0001-01-01T00:00:00%2B23:59", "to"),
    ],
)
def test_what_cannot_be_read_is_named(otto, query, param):
    answer = otto.get(f"/live/history/?{query}")

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_a_pool_nobody_has_is_an_empty_chart(otto):
    assert otto.get("/live/history/?pool=%00x&range=1h").json()["tiers"] == {}


def test_a_tenant_s_people_do_not_see_the_whole_line(client, acme):
    client.force_login(member("tess", acme, "tenant-admin"))

    assert client.get("/live/history/").status_code == 403
