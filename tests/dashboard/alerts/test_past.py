"""What history says of each metric, and what it cannot say."""

from datetime import UTC, datetime, timedelta

import pytest

from dashboard.alerts import past, rolling
from dashboard.alerts.metrics import METRICS
from dashboard.alerts.models import Rule
from dashboard.alerts.preview import of_rule
from gateway.core.policy import default_policy
from gateway.models import Override, PolicyVersion
from tests.support.buckets import bucket, store

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 26, 3, 0, tzinfo=UTC)
STANDARD = default_policy().tier("standard")
assert STANDARD is not None
LATE_MS = round(STANDARD.target_wait_s * 2000)


def start(ago_s: int) -> int:
    return int(NOW.timestamp()) - ago_s


def values(metric: str, ago_s: int = 600) -> dict[int, float | None]:
    """By how long ago."""
    assert STANDARD is not None
    found = past.points(metric, "default", STANDARD, NOW - timedelta(seconds=ago_s), NOW)
    return {round(NOW.timestamp() - point.at): point.value for point in found}


def test_of_each_metric_it_is_known_whether_history_has_it_or_why_not():
    assert past.STORED.isdisjoint(past.NOT_KEPT)
    assert past.STORED | past.NOT_KEPT.keys() == METRICS.keys()


def test_refusals_are_those_of_the_last_minute_by_the_line_itself():
    lost = "queue_full:2 tier_draining:1 rate_limit_exceeded:7 queue_timeout:5 displaced:1"
    store(bucket(start(100), [5] * 9, lost=lost, arrived=12), *(bucket(start(s)) for s in (60, 40)))

    assert values("refused") == {100: 3, 60: 3, 40: 0}
    assert values("refused_share") == {100: 0.25, 60: 0.25, 40: None}


def test_the_burn_is_the_lower_of_its_two_windows():
    store(
        bucket(start(3000), [10] * 50 + [LATE_MS] * 50),
        bucket(start(200), [10] * 90 + [LATE_MS] * 10),
    )

    assert values("burn", 400) == {200: pytest.approx(10)}
    assert values("burn_6h", 400) == {200: pytest.approx(10)}
    store(bucket(start(180), [10] * 900))
    assert values("burn", 190)[180] == pytest.approx(1.0)


def test_percentiles_come_from_the_waits_of_five_minutes_and_need_enough_of_them():
    store(bucket(start(500), [1000] * 99), bucket(start(400), [8000] * 2), bucket(start(100), [20]))

    p99 = values("wait_p99")
    assert p99[500] is None
    assert p99[400] == pytest.approx(8, rel=0.03)
    assert p99[100] is None
    assert values("wait_p50")[500] == pytest.approx(1, rel=0.03)


def test_an_order_s_term_is_replayed_from_the_orders():
    PolicyVersion.objects.publish(default_policy(), "first")
    begun = NOW - timedelta(hours=2)
    kept = {"verb": "pause", "pool": "default", "tier": "batch", "scope": "tier:default/batch"}
    kept |= {"owner": "otto", "reason": "an upgrade", "changed_by": "otto", "changed_at": begun}
    ends = begun + timedelta(minutes=30)
    Override.objects.create(**kept, key="a", begun_at=begun, ends_at=ends, ended_at=ends)
    later = begun + timedelta(hours=1)
    short = later + timedelta(minutes=5)
    Override.objects.create(
        **kept, key="b", begun_at=later, ends_at=later + timedelta(minutes=30), ended_at=short
    )
    store(bucket(start(60)))
    rule = Rule(name="terms", metric="override_term", warn=0.8, warn_for_s=0)

    shown = of_rule(rule, NOW)

    assert (shown.reach, shown.total.fired) == ("1 d", 1)
    assert shown.drawn is not None
    assert shown.drawn.tier == "batch"


def test_what_is_told_from_ended_waits_says_so_and_what_is_not_kept_says_why():
    PolicyVersion.objects.publish(default_policy(), "first")
    store(bucket(start(3600), [LATE_MS] * 5), bucket(start(60), [LATE_MS] * 5))

    burn = of_rule(Rule(name="burn", metric="burn", crit=14.4, crit_for_s=0), NOW)
    down = of_rule(Rule(name="down", metric="backends_down", warn=0), NOW)

    assert burn.total.fired == 1
    assert "waits that ended" in burn.caveat
    assert (down.reach, "each server" in down.why_not) == ("", True)


def test_two_gateways_steps_of_the_same_seconds_add_up():
    steps = [rolling.Step(0, 3, "", "queue_full:1"), rolling.Step(0, 1, "", "queue_full:1")]

    assert list(rolling.points("refused_share", steps, 1.0))[-1] == (0.0, 0.5)
