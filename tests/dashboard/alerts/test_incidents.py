"""How an incident is told in parts, and how it ends whatever becomes of its rule."""

import pytest

from dashboard.alerts import changes, timeline
from dashboard.alerts.models import (
    FIRST_LINES,
    LAST_LINES,
    AlertEvent,
    AlertState,
    Incident,
    Rule,
    Silence,
)
from dashboard.audit.models import AuditEvent
from dashboard.delivery.models import Channel, Delivery
from tests.dashboard.alerts.conftest import at, play
from tests.support.people import person

pytestmark = pytest.mark.django_db
SLOW = {"standard": {"p95": 70}}


@pytest.fixture
def request_of_ada(rf):
    request = rf.post("/")
    request.user = person("ada", "admin")
    return request


def kinds(channel):
    return [row.message["kind"] for row in channel.deliveries.order_by("pk")]


def saved(request, rule, **said):
    """The rule's form, sent with this changed."""
    channels = {
        name: list(getattr(rule, name).all()) for name in ("warn_channels", "crit_channels")
    }
    return changes.save_rule(request, rule, changes.told(rule) | channels | {"edit": 0} | said)


def pager():
    made = Channel(name="pager", kind="pagerduty", where="PagerDuty", created_by="ada")
    made.address = f"pagerduty://{'A' * 20}@{'B' * 32}"
    made.save()
    return made


# A deleted rule ends what it fired, a pager's alarm included.


@pytest.mark.parametrize(
    ("end", "why"),
    [
        (lambda request, rule: changes.delete_rule(request, rule), "The rule is deleted"),
        (lambda request, rule: saved(request, rule, enabled=False), "The rule is switched off"),
        (lambda request, rule: saved(request, rule, tier="batch"), "The rule judges something"),
    ],
    ids=["deleted", "off", "changed"],
)
def test_whoever_was_told_hears_that_the_rule_is_gone(rule, channel, request_of_ada, end, why):
    play(range(16), **SLOW)

    end(request_of_ada, rule)

    incident = Incident.objects.get()
    assert incident.closed_at is not None
    assert kinds(channel) == ["firing", "resolved"]
    message = channel.deliveries.order_by("pk").last().message
    assert message["title"] == "RESOLVED Standard waits in default"
    assert message["lines"][0].startswith(why)
    assert incident.events.get(kind="closed").by == "ada"
    play([16, 17], **SLOW)
    assert Incident.objects.count() == 1
    assert kinds(channel) == ["firing", "resolved"]


def test_what_was_told_to_a_pager_is_ended_there_also_when_the_rule_names_it_no_more(
    rule, channel, request_of_ada
):
    alarm = pager()
    rule.warn_channels.set([channel, alarm])
    play(range(16), **SLOW)
    saved(request_of_ada, rule, warn_channels=[channel])
    play(range(16, 24), standard={"p95": 1})

    assert kinds(alarm) == ["firing", "resolved"]
    ids = {row.dedupe.rpartition("-")[0] for row in alarm.deliveries.all()}
    assert ids == {f"incident-{Incident.objects.get().pk}"}  # what a pager ends it by


def test_who_heard_nothing_of_it_hears_no_end(rule, channel, request_of_ada):
    alarm = pager()
    play(range(16), **SLOW)
    saved(request_of_ada, rule, warn_channels=[channel, alarm])
    play(range(16, 24), standard={"p95": 1})

    assert kinds(alarm) == []


def test_a_rule_that_vanishes_behind_our_back_is_ended_by_the_next_round(rule, channel):
    play(range(16), **SLOW)
    Rule.objects.get().delete()
    play([16])

    assert kinds(channel) == ["firing", "resolved"]
    assert Incident.objects.get().events.get(kind="closed").text == "resolved: the rule is gone"


# Severity, told in parts.


def test_a_message_has_the_severity_of_what_it_tells_not_of_what_is_silenced(rule):
    Rule.objects.filter(pk=rule.pk).update(tier="")
    Silence.objects.create(tier="batch", reason="refill", starts_at=at(0), ends_at=at(900))
    play(range(16), standard={"p95": 70}, batch={"p95": 500})

    assert Incident.objects.get().severity == "crit"
    message = Delivery.objects.get().message
    assert message["severity"] == "warn"
    assert message["title"].startswith("WARN standard (0)")
    assert Incident.objects.get().events.get(kind="said").severity == "warn"


def test_a_server_that_is_down_beside_it_is_named_as_a_possible_cause(rule):
    play(range(16), backends=("up", "down"), **SLOW)

    lines = Delivery.objects.get().message["lines"]
    assert "Beside it: backend gpu-2: 1 of 2 down" in lines
    charts = next(line for line in lines if line.startswith("Charts: "))
    assert "/live/?from=2026-11-23T09:30:05Z&to=2026-11-23T10:00:15Z&pool=default" in charts


# One broken rule.


@pytest.mark.parametrize(
    ("broken", "error"),
    [({"metric": "luck"}, "There is no metric “luck”"), ({"hours": "sometimes"}, "Write always")],
)
def test_a_rule_that_cannot_be_judged_is_marked_and_keeps_no_other_from_it(
    rule, broken, error, caplog
):
    bad = Rule.objects.create(name="A first", metric="oldest", warn=1, warn_for_s=0)
    Rule.objects.filter(pk=bad.pk).update(**broken)

    play(range(16), **SLOW)

    bad.refresh_from_db()
    assert bad.error.startswith(error)
    assert Incident.objects.get().rule == rule
    assert len(caplog.records) == 1  # not one a second
    Rule.objects.filter(pk=bad.pk).update(metric="oldest", hours="always")
    play([16], **SLOW)
    bad.refresh_from_db()
    assert bad.error == ""


def test_what_a_rule_fired_stays_while_it_is_broken(rule):
    play(range(16), **SLOW)
    Rule.objects.update(metric="luck")
    play(range(16, 30), standard={"p95": 1})

    assert AlertState.objects.get().severity == "warn"
    assert Incident.objects.open().count() == 1


# A timeline that would not end.


def test_a_timeline_keeps_its_beginning_its_end_and_all_that_people_wrote(rule):
    Rule.objects.filter(pk=rule.pk).update(warn_for_s=0, keep_s=0)
    play(range(8), **SLOW)
    incident = Incident.objects.get()
    for n in range(FIRST_LINES + LAST_LINES + 50):
        incident.tell(at(10 + n), "resolved" if n % 2 else "fired", f"change {n}")
        if n % 100 == 0:
            incident.tell(at(10 + n), "note", f"note {n}", by="otto")

    written = AlertEvent.objects.filter(incident=incident)
    assert written.filter(by="").count() == FIRST_LINES + LAST_LINES
    assert written.filter(by="otto").count() == 4
    incident.refresh_from_db()
    lines = [line.text for line in timeline.lines(incident, at(2000))]
    gap = f"{incident.left_out} lines are left out here: it came and went too often"
    before, after = (_changes(lines[: lines.index(gap)]), _changes(lines[lines.index(gap) :]))
    assert before[0] == 0
    assert after[0] == before[-1] + incident.left_out + 1
    assert after[-1] == FIRST_LINES + LAST_LINES + 49


def _changes(lines):
    return [int(line.split()[1]) for line in lines if line.startswith("change")]


# One rule that explains another.


def test_a_rule_is_hidden_while_its_cause_fires_in_the_same_pool_and_told_after(rule, channel):
    cause = Rule.objects.create(
        name="vLLM is queueing", metric="oldest", tier="batch", warn=10, warn_for_s=0, keep_s=0
    )
    Rule.objects.filter(pk=rule.pk).update(hidden_while=cause)
    play(range(30), batch={"oldest_s": 20.0}, **SLOW)

    assert AlertState.objects.get(rule=rule).hidden_by == "vLLM is queueing fires"
    assert kinds(channel) == []
    play(range(30, 33), **SLOW)
    assert kinds(channel) == ["firing"]


def test_a_cause_elsewhere_or_switched_off_hides_nothing(rule, channel):
    cause = Rule.objects.create(name="Cause", metric="oldest", warn=10, warn_for_s=0)
    Rule.objects.filter(pk=rule.pk).update(hidden_while=cause)
    AlertState.objects.create(rule=cause, instance="other/batch", pool="other", severity="warn")
    play(range(16), **SLOW)
    assert kinds(channel) == ["firing"]

    AlertState.objects.filter(rule=cause).update(pool="default")
    Rule.objects.filter(pk=cause.pk).update(enabled=False)
    play([16], **SLOW)
    assert AlertState.objects.get(rule=rule).hidden_by == ""


def test_what_hides_a_rule_is_chosen_audited_and_never_itself(rule, signed_in):
    cause = Rule.objects.create(name="Cause", metric="oldest", warn=10)
    ada = signed_in("ada", "admin")
    said = {"name": rule.name, "metric": "wait_p95", "warn": "1m", "clear_share": "80%"}
    said |= {"no_data": "ok", "hours": "always", "enabled": "on", "edit": "0"}
    path = f"/alerts/rules/{rule.pk}/"

    assert ada.post(path, said | {"hidden_while": rule.pk}).status_code == 422
    assert ada.post(path, said | {"hidden_while": cause.pk}).status_code == 302

    answer = ada.post(f"/alerts/rules/{cause.pk}/", said | {"name": "x", "hidden_while": rule.pk})
    assert "itself hidden while this one fires" in answer.content.decode()
    rule.refresh_from_db()
    assert rule.hidden_while == cause
    after = AuditEvent.objects.get(verb="rule.changed").after
    assert after["hidden_while"] == "Cause"
    assert f'<option value="{cause.pk}" selected>Cause</option>' in ada.get(path).content.decode()
