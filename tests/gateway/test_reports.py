"""The daily report: counted from finished requests, the same when counted twice."""

import csv
import io
import json
from datetime import UTC, date, datetime, timedelta
from random import Random

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from msgspec.structs import replace

from gateway import reports, tasks
from gateway.core.policy import default_policy
from gateway.core.sketch import ERROR
from gateway.models import PolicyVersion, TierDay, UsageRecord
from tests.support.usage import used

DAY = date(2026, 11, 22)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def version(db) -> None:
    PolicyVersion.objects.publish(default_policy(), "first")


def lines(day: date = DAY):
    reports.make(day)
    return {(line.tenant, line.tier): line for line in reports.lines(TierDay.objects.of(day))}


def test_a_day_by_tenant_and_tier(acme, birch):
    noon = {"arrived_at": NOON, "policy_version": 1}
    used(acme, "A", tier="realtime", priority=10, queue_wait_s=0.5, times=6, **noon)
    used(acme, "A", tier="realtime", priority=10, queue_wait_s=9.0, times=2, **noon)
    lost = {"tier": "realtime", "priority": 10, "prompt_tokens": None, **noon}
    used(acme, "A", outcome="expired", code="queue_timeout", completion_tokens=None, **lost)
    used(acme, "A", outcome="rejected", code="queue_full", completion_tokens=None, **lost)
    used(birch, "B", tier="standard", priority=0, queue_wait_s=1.0, **noon)
    used(birch, "B", tier="", outcome="rejected", code="model_not_found", **noon)

    found = lines()

    assert list(found) == [("acme", "realtime"), ("birch", "standard")]
    one = found["acme", "realtime"]
    assert (one.requests, one.completed, one.prompt_tokens, one.completion_tokens) == (
        10,
        8,
        80,
        40,
    )
    assert one.refused == {"queue_full": 1, "queue_timeout": 1}
    assert (one.waited, one.within_target) == (9, 6)  # realtime's target is 2 s
    assert one.within_share == pytest.approx(6 / 9)
    assert one.p50_s == pytest.approx(0.5, rel=ERROR)
    assert one.p95_s is None  # eight waits are too few


def test_percentiles_of_a_day_are_within_their_error_and_merge_over_tenants(acme, birch):
    draw = Random(3)
    waits_s = [draw.lognormvariate(0, 2) for _ in range(400)] + [0.0, 0.0002]
    for n, wait_s in enumerate(waits_s):
        used((acme, birch)[n % 2], "A", arrived_at=NOON, queue_wait_s=wait_s, policy_version=1)
    reports.make(DAY)

    (line,) = reports.by_tier(TierDay.objects.of(DAY))

    ranked = sorted(waits_s)
    for told_s, percent in ((line.p50_s, 50), (line.p95_s, 95), (line.p99_s, 99)):
        exact = ranked[-(-len(ranked) * percent // 100) - 1]
        assert told_s == pytest.approx(exact, rel=ERROR, abs=0.001)
    assert (line.tenant, line.requests) == ("all", 402)


def test_a_target_is_that_of_the_version_in_force_then(acme):
    plain = default_policy()
    tiers = tuple(replace(tier, target_wait_s=0.1) for tier in plain.tiers)
    strict = replace(plain, tiers=tiers)
    PolicyVersion.objects.publish(strict, "stricter")
    used(acme, "A", arrived_at=NOON, queue_wait_s=1.0, policy_version=1)
    used(acme, "A", arrived_at=NOON, queue_wait_s=1.0, policy_version=2)

    (line,) = lines().values()

    assert (line.waited, line.within_target) == (2, 1)


def test_before_the_first_publication_a_target_is_the_default_one(acme):
    used(acme, "A", arrived_at=NOON, queue_wait_s=1.0, policy_version=0)

    (line,) = lines().values()

    assert (line.waited, line.within_target) == (1, 1)


def test_a_day_may_be_counted_twice_and_its_borders_are_those_of_utc(acme):
    begin = datetime(2026, 11, 22, tzinfo=UTC)
    for moment in (begin - timedelta(milliseconds=1), begin, begin + timedelta(days=1)):
        used(acme, "A", arrived_at=moment)

    assert lines() == lines()
    assert TierDay.objects.get().requests == 1


def test_a_report_outlives_the_requests_it_was_counted_from(acme):
    used(acme, "A", arrived_at=NOON)
    lines()
    UsageRecord.objects.all().delete()

    assert [line.requests for line in lines().values()] == [1]


def test_the_task_counts_yesterday_and_today_and_drops_what_is_too_old(acme):
    used(acme, "A")
    used(acme, "A", ago=timedelta(days=1))
    used(acme, "A", arrived_at=datetime(2020, 1, 1, 12, tzinfo=UTC))
    reports.make(date(2020, 1, 1))

    tasks.make_reports()
    tasks.make_reports()

    today = timezone.now().astimezone(UTC).date()
    days = sorted(TierDay.objects.values_list("day", flat=True))
    assert days == [today - timedelta(days=1), today]


# The command


def printed(*words: str) -> str:
    out = io.StringIO()
    call_command("report", *words, stdout=out)
    return out.getvalue()


def test_the_command_prints_a_table_csv_or_json(acme):
    used(acme, "A", arrived_at=NOON, times=5, queue_wait_s=2.0, policy_version=1)

    shown = printed("--day", "2026-11-22")
    rows = list(csv.DictReader(io.StringIO(printed("--day", "2026-11-22", "--csv"))))
    told = json.loads(printed("--day", "2026-11-22", "--json", "--tenant", "acme"))

    assert "acme" in shown
    assert [(row["tenant"], row["requests"], row["refused"]) for row in rows] == [
        ("acme", "5", "0")
    ]
    assert (told[0]["requests"], told[0]["within_share"]) == (5, 1.0)


def test_the_command_says_so_where_nothing_is(db):
    assert printed("--day", "2026-11-21") == "No request on 2026-11-21 (UTC).\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--day", "soon"), "--day must be"),
        (("--day", "9999-01-01"), "has not come yet"),
        (("--tenant", "nobody"), "no tenant 'nobody'"),
    ],
)
def test_the_command_names_what_is_wrong(acme, words, said):
    with pytest.raises(CommandError, match=said):
        printed(*words)
