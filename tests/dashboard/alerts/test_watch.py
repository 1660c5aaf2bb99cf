"""From frames to rows and messages, second by second."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from dashboard.alerts import changes, open_now, tasks, watch
from dashboard.alerts.models import AlertState, Annotation, Heartbeat, Incident, Rule, Silence
from dashboard.alerts.wording import MINUS
from dashboard.delivery.models import Channel, Delivery
from gateway.core.policy import default_policy
from gateway.core.snapshot import OverrideView
from gateway.models import PolicyVersion
from tests.dashboard.alerts.conftest import CALM, START, at, frame, play
from tests.support.people import person

pytestmark = pytest.mark.django_db


def told():
    """Kind and title of each message, in order."""
    rows = Delivery.objects.order_by("pk").values_list("message", flat=True)
    return [(row["kind"], row["title"]) for row in rows]


def kinds():
    return [kind for kind, _ in told()]


SLOW = {"standard": {"p95": 70}}
SLOWER = {"standard": {"p95": 147, "at_least": True}}


def test_a_wait_that_holds_fires_is_told_and_resolved(rule):
    play(range(5), **SLOW)
    assert AlertState.objects.get().phase == "pending"
    assert not Incident.objects.exists()

    play(range(5, 16), **SLOW)
    incident = Incident.objects.get()
    assert (incident.severity, incident.pool, incident.opened_at) == ("warn", "default", at(5))
    assert told() == [
        ("firing", "WARN standard (0) in default: wait p95 1m10s, over 1 min"),
    ]

    play(range(16, 23), standard={"p95": 5})
    incident.refresh_from_db()
    assert incident.closed_at == at(21)
    assert kinds() == ["firing", "resolved"]
    events = [event.kind for event in incident.events.all()]
    assert events == ["fired", "said", "resolved", "closed", "said"]


def test_a_message_says_what_somebody_needs_to_decide(rule):
    PolicyVersion.objects.publish(default_policy(), "translate to batch", person("ada", "admin"))
    play(range(16), **SLOWER)

    message = Delivery.objects.get().message
    assert message["severity"] == "crit"
    assert message["title"] == "CRIT standard (0) in default: wait p95 ≥ 2m27s, over 2 min"
    assert message["lines"][0].startswith("crit standard (0): ≥ 2m27s, over 2 min, since 10:00:05")
    assert "Runbook: https://wiki.example/waits" in message["lines"]
    assert message["link"].endswith(f"/alerts/incidents/{Incident.objects.get().pk}/")
    assert "/alerts/ack/" in message["ack_link"]


def test_a_lower_bound_over_the_level_counts_as_over_it(rule):
    play(range(6), standard={"p95": 60, "at_least": True})

    assert AlertState.objects.get().severity == "warn"


def test_a_percentile_of_too_few_is_no_data_and_fires_nothing(rule):
    play(range(30), standard={"oldest_s": 500.0})

    assert not AlertState.objects.exists()


def test_crit_hides_warn_and_a_rise_is_told_at_once(rule):
    play(range(20), **SLOW)
    play(range(20, 27), **SLOWER)

    assert AlertState.objects.get().severity == "crit"
    assert [title.split()[0] for _, title in told()] == ["WARN", "CRIT"]


def test_whoever_heard_of_crit_hears_of_the_end_though_it_was_warn_at_last(rule):
    pager = Channel(name="pager", kind="ntfy", where="ntfy.sh", created_by="ada")
    pager.address = "ntfys://ntfy.sh/pager"
    pager.save()
    rule.crit_channels.add(pager)
    play(range(16), **SLOWER)
    play(range(16, 30), **SLOW)  # warn again
    play([4 * 3600 + 30], **SLOW)  # and reminded of as that
    later = 4 * 3600 + 31
    play(range(later, later + 8), standard={"p95": 1})

    heard = [row.message["kind"] for row in pager.deliveries.order_by("pk")]
    assert heard == ["firing", "resolved"]


def test_what_is_over_for_long_is_pruned(rule, time_machine):
    play(range(16), **SLOW)
    play(range(16, 25), standard={"p95": 1})
    Silence.objects.create(reason="x", starts_at=at(0), ends_at=at(60))
    time_machine.move_to(at(0) + timedelta(days=395))
    tasks.prune_incidents()
    assert Incident.objects.count() == Silence.objects.count() == 1

    time_machine.move_to(at(0) + timedelta(days=397))
    tasks.prune_incidents()
    assert Incident.objects.count() == Silence.objects.count() == 0


def test_a_threshold_in_target_waits_is_each_tier_s_own(no_rules):
    Rule.objects.create(name="p95", metric="wait_p95", of_target=True, warn=1, warn_for_s=0)
    play([0], realtime={"p95": 3}, standard={"p95": 59}, batch={"p95": 301})

    firing = {row.tier: row.threshold for row in AlertState.objects.exclude(severity="")}
    targets = {tier.name: tier.target_wait_s for tier in default_policy().tiers}
    assert firing == {name: targets[name] for name in ("realtime", "batch")}


def test_tiers_of_one_rule_and_pool_are_one_incident(rule, channel):
    Rule.objects.filter(pk=rule.pk).update(tier="")
    play(range(16), standard={"p95": 70}, batch={"p95": 70})

    assert Incident.objects.count() == 1
    (message,) = told()
    assert "standard (0) and 1 more" in message[1]

    play(range(16, 30), standard={"p95": 70})  # batch is calm; the incident goes on
    assert Incident.objects.get().closed_at is None
    assert kinds() == ["firing"]


def test_a_pool_without_backends_hides_its_tiers_waits(rule):
    down = Rule.objects.create(name="Down", metric="backends_down", crit=1, crit_for_s=0)
    down.crit_channels.set(rule.warn_channels.all())
    play(range(30), backends=("down", "down"), **SLOW)

    hidden = AlertState.objects.get(rule=rule)
    assert (hidden.severity, hidden.hidden_by) == ("warn", "its pool has no backend")
    assert [title for _, title in told()] == [
        "CRIT pool default: backends down, gpu-1, gpu-2: 2 of 2 down"
    ]
    play(range(30, 33), backends=("up", "up"), **SLOW)
    assert "standard (0)" in told()[-1][1]


def test_a_pool_without_any_backend_hides_nothing(rule):
    play(range(6), backends=[], standard={"p95": 70})

    assert AlertState.objects.get(rule=rule).hidden_by == ""


def test_one_backend_of_two_hides_nothing(rule):
    play(range(16), backends=("up", "down"), **SLOW)

    assert kinds() == ["firing"]


def test_what_is_pending_begins_anew_after_nobody_watched(rule):
    play(range(4), **SLOW)
    play([60], **SLOW)

    assert AlertState.objects.get().phase == "pending"
    play(range(61, 66), **SLOW)
    assert AlertState.objects.get().phase == "firing"


def test_a_firing_alert_its_ack_and_a_silence_survive_a_restart(rule):
    otto = person("otto", "on-call")
    play(range(16), **SLOW)
    incident = Incident.objects.get()
    changes.ack(incident, otto, None, at(16))
    Silence.objects.create(
        rule=rule, reason="upgrade", owner=otto, starts_at=at(0), ends_at=at(9000)
    )

    # Nothing but rows is kept: ten minutes later another process goes on.
    play(range(600, 610), **SLOW)

    incident.refresh_from_db()
    assert incident.closed_at is None
    assert incident.acked(at(610))
    assert Incident.objects.count() == 1
    assert kinds() == ["firing"]


def test_an_ack_stops_repeats_and_ends_when_the_level_rises(rule):
    play(range(16), **SLOW)
    incident = Incident.objects.get()
    changes.ack(incident, person("otto"), None, at(16))
    play([4 * 3600 + 20, 4 * 3600 + 21], **SLOW)
    assert kinds() == ["firing"]

    later = 4 * 3600 + 22
    play(range(later, later + 7), **SLOWER)
    incident.refresh_from_db()
    assert not incident.acked(at(later + 7))
    assert kinds() == ["firing", "firing"]
    assert "it rose to crit" in incident.events.get(kind="ack_ended").text


def test_an_ack_for_a_time_ends_with_it_and_repeats_go_on(rule):
    play(range(16), **SLOW)
    incident = Incident.objects.get()
    changes.ack(incident, person("otto"), at(100), at(16))

    play([4 * 3600 + 20], **SLOW)

    assert kinds() == ["firing", "reminder"]


def test_a_silence_keeps_quiet_and_the_next_message_says_that_it_ended(rule):
    otto = person("otto")
    Silence.objects.create(rule=rule, reason="upgrade", owner=otto, starts_at=at(0), ends_at=at(60))
    play(range(60), **SLOW)
    assert told() == []
    assert Silence.objects.get().hid_at is not None

    play([60, 61], **SLOW)
    assert kinds() == ["firing"]
    assert (
        "The silence of otto ended at 10:01 UTC: upgrade" in Delivery.objects.get().message["lines"]
    )


@pytest.mark.parametrize(
    ("matcher", "heard"),
    [
        ({"tier": "standard"}, True),
        ({}, True),
        ({"tier": "batch"}, False),
        ({"pool": "default", "severity": "warn"}, True),
        ({"severity": "crit", "tier": "batch"}, False),
    ],
)
def test_the_end_of_a_silence_that_hides_nothing_is_told_where_it_could_hide(rule, matcher, heard):
    Silence.objects.create(
        **matcher, starts_at=at(0), ends_at=at(3600), reason="upgrade", owner=person("otto")
    )

    play([2699, 2701, 2702])

    said = [row.message["title"].split(": ")[0] for row in Delivery.objects.all()]
    assert said == (["A silence ends at 11:00 UTC"] if heard else [])


def test_the_end_of_a_long_silence_is_announced_once(rule):
    Silence.objects.create(
        rule=rule, reason="upgrade", owner=person("otto"), starts_at=at(0), ends_at=at(3600)
    )
    play(range(10), **SLOW)
    play([2700, 2701, 2702], **SLOW)

    assert [(kind, title) for kind, title in told()] == [
        ("reminder", "A silence ends at 11:00 UTC: Standard waits")
    ]


@pytest.mark.parametrize(
    ("matcher", "hides"),
    [
        ({}, True),
        ({"tier": "standard", "severity": "warn"}, True),
        ({"tier": "batch"}, False),
        ({"pool": "other"}, False),
        ({"severity": "crit"}, False),
    ],
)
def test_a_silence_hides_what_it_matches(rule, matcher, hides):
    Silence.objects.create(reason="x", starts_at=at(0), ends_at=at(900), **matcher)
    play(range(20), **SLOW)

    assert (told() == []) is hides


def test_flapping_is_said_once_instead_of_each_time(rule):
    Rule.objects.filter(pk=rule.pk).update(warn_for_s=0, keep_s=0)
    second = 0
    for n in range(20):
        play(range(second, second + 12), standard={"p95": 70 if n % 2 == 0 else 1})
        second += 12

    assert kinds() == ["firing", "resolved", "firing", "resolved", "digest"]
    assert Incident.objects.open().count() == 1
    play(range(second + 700, second + 703), standard={"p95": 1})
    assert Incident.objects.open().count() == 0
    assert kinds()[-1] == "resolved"


def test_a_rule_that_is_changed_or_switched_off_ends_what_it_fired(rule, rf):
    play(range(16), **SLOW)
    request = rf.post("/")
    request.user = person("ada", "admin")
    said = changes.told(rule) | {"enabled": False, "edit": 0}
    said |= {"warn_channels": list(rule.warn_channels.all()), "crit_channels": []}

    changes.save_rule(request, rule, said)
    play([16], **SLOW)

    assert Incident.objects.open().count() == 0
    assert not AlertState.objects.exists()


def test_a_tier_that_is_gone_fires_no_more(rule):
    play(range(16), **SLOW)
    pool = CALM.pools[0]
    without = replace(pool, tiers=tuple(t for t in pool.tiers if t.name != "standard"))
    watch.judge(replace(CALM, at=START + 17, pools=(without,)))

    assert Incident.objects.open().count() == 0


def test_the_worker_tells_of_a_dead_evaluator_and_the_evaluator_of_its_return(no_rules, channel):
    silent = Rule.objects.create(
        name="Evaluator silent", metric="heartbeat", crit=15, crit_for_s=10, keep_s=0
    )
    silent.crit_channels.add(channel)
    play(range(3))
    for second in (10, 25, 40, 55):
        watch.judge_heartbeat(at(second))

    assert told() == [("firing", "CRIT Evaluator silent: evaluator silent 38 s, over 15 s")]
    play([60, 61])
    assert kinds() == ["firing", "resolved"]


def test_each_round_beats_and_counts_for_the_badge(rule):
    play(range(16), **SLOW)

    assert Heartbeat.last() == at(15)
    assert open_now.counts() == (0, 1, 0)
    changes.ack(Incident.objects.get(), person("otto"), None, at(16))
    play([16], **SLOW)
    assert open_now.counts() == (0, 0, 1)


def test_the_shipped_rules_judge_a_busy_pool_without_complaint(db):
    assert Rule.objects.count() == 15
    down = replace(CALM.pools[0].tiers[0].lost_per_min, rejected=3)
    play(range(70), backends=("up", "down"), realtime={"oldest_s": 9.0, "lost_per_min": down})

    firing = set(Incident.objects.values_list("rule_name", flat=True))
    assert firing == {
        "Oldest waiting, most urgent tier",
        "Refused in the most urgent tier",
        "Backend down",
    }


def test_an_order_at_four_fifths_of_its_term_is_told_once(no_rules, channel):
    soon = Rule.objects.create(
        name="An order ends soon", metric="override_term", warn=0.8, warn_for_s=0, keep_s=0
    )
    soon.warn_channels.add(channel)
    order = OverrideView(
        id=1, verb="pause", pool="default", tier="batch", tenant="", by="otto", reason="upgrade",
        begun_at=START, ends_at=START + 900,
    )  # fmt: skip
    for second in (*range(715, 735), *range(895, 898)):
        watch.judge(replace(frame(second), overrides=(order,)))

    assert told() == [
        (
            "firing",
            f"WARN batch ({MINUS}5) in default: term of an order, pause batch by otto, "
            "ends in 3 min: upgrade",
        )
    ]
    watch.judge(frame(901))
    assert Incident.objects.open().count() == 0


def test_notes_and_versions_before_an_alert_are_named_in_its_message(rule):
    ada = person("ada", "admin")
    Annotation.objects.create(at=at(-120), text="image 0.9 deployed", by=ada)
    play(range(16), **SLOW)

    lines = Delivery.objects.get().message["lines"]
    assert "09:58:00 UTC image 0.9 deployed by ada, 2 min before" in lines


def test_a_round_of_the_shipped_rules_takes_few_queries(db, django_assert_max_num_queries):
    play(range(3))

    with django_assert_max_num_queries(8):
        watch.judge(frame(3))


def test_rows_that_nobody_needs_are_not_written(rule):
    play(range(10), standard={"p95": 5})

    assert not AlertState.objects.exists()
    assert at(9) - Heartbeat.last() == timedelta(0)
