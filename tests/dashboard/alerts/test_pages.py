"""The pages of alerts: what they show, to whom, and what a form does with what it is given."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from dashboard.alerts import changes, links, marks, timeline
from dashboard.alerts.levels import TIMES
from dashboard.alerts.models import AlertState, Annotation, Incident, Rule, Silence
from dashboard.alerts.wording import MINUS
from dashboard.audit.models import AuditEvent
from gateway.core.policy import default_policy
from gateway.models import PolicyVersion, QueueSample
from tests.dashboard.alerts.conftest import at, play
from tests.support.people import person

pytestmark = pytest.mark.django_db


def page(answer):
    assert answer.status_code == 200, answer.status_code
    return answer.content.decode()


def verbs():
    """What was audited, without people's own coming and going."""
    rows = AuditEvent.objects.exclude(verb__startswith="person.").order_by("number")
    return list(rows.values_list("verb", flat=True))


def test_an_open_alert_shows_value_threshold_since_and_cause_to_every_role(signed_in, rule):
    ada = person("ada", "admin")
    PolicyVersion.objects.publish(default_policy(), "translate to batch", ada)
    now = timezone.now()
    incident = Incident.objects.create(
        rule=rule, rule_name=rule.name, pool="default", severity="warn", opened_at=now
    )
    AlertState.objects.create(
        rule=rule, instance="default/standard", pool="default", tier="standard", priority=0,
        severity="warn", phase="firing", since=now, value=147, at_least=True, threshold=60,
        incident=incident,
    )  # fmt: skip

    html = page(signed_in("vic", "viewer").get("/alerts/"))

    for part in ("Standard waits", "standard (0)", "≥ 2m27s", "over 1 min", "policy v1", "by ada"):
        assert part in html
    charts = re.search(r'href="(/live/\?from=[^"]+)"', html)[1]
    assert re.search(
        r"from=20[0-9T:-]+Z&amp;to=20[0-9T:-]+Z&amp;pool=default&amp;tier=stand", charts
    )
    assert "https://wiki.example/waits" in html
    assert 'action="/alerts/incidents/' not in html  # a viewer acts on nothing


def test_the_badge_stands_on_every_page(signed_in, fired):
    for path in ("/live/", "/alerts/rules/", "/audit/"):
        html = page(signed_in(f"ada{path}", "admin", "security").get(path))
        assert "Open alerts: 0 crit, 1 warn, 0 acknowledged" in html


def test_nothing_open_says_what_is_watched(signed_in, db):
    html = page(signed_in("vic", "viewer").get("/alerts/"))

    assert "Nothing fires." in html
    assert "15 rules" in html


def test_somebody_on_call_takes_it_on_and_gives_it_back(signed_in, fired):
    otto = signed_in("otto", "on-call")

    otto.post(f"/alerts/incidents/{fired.pk}/ack/", {"term": "30"})
    fired.refresh_from_db()
    assert (fired.acked_by, fired.acked_severity) == ("otto", "warn")
    assert timedelta(minutes=29) < fired.acked_until - timezone.now() <= timedelta(minutes=30)
    assert "ACKED" in page(otto.get("/alerts/"))

    otto.post(f"/alerts/incidents/{fired.pk}/unack/")
    fired.refresh_from_db()
    assert fired.acked_at is None
    assert verbs() == ["alert.acked", "alert.ack_ended"]


def test_a_term_nobody_offers_acknowledges_nothing(signed_in, fired):
    answer = signed_in("otto", "on-call").post(
        f"/alerts/incidents/{fired.pk}/ack/", {"term": "999999"}, follow=True
    )

    fired.refresh_from_db()
    assert fired.acked_at is None
    assert "Choose how long" in answer.content.decode()


def test_a_link_in_a_message_opens_a_page_with_a_button_and_works_once(client, fired):
    path = links.ack(fired)

    html = page(client.get(path))
    fired.refresh_from_db()
    assert fired.acked_at is None  # a preview acknowledges nothing
    assert "Acknowledge" in html

    assert "You have it" in page(client.post(path, {"term": ""}))
    fired.refresh_from_db()
    assert fired.acked_by == "by a message's link"
    assert client.post(path, {"term": ""}).status_code == 410
    assert "used up" in client.get(path).content.decode()
    assert verbs() == ["alert.acked"]


@pytest.mark.parametrize("token", ["x", "WzEsMF0:1aaaaa:bbbbbbbbbbbbbbbbbbbbbbb", "\x00", "é"])
def test_a_forged_link_acknowledges_nothing(client, fired, token):
    assert client.post(f"/alerts/ack/{token}/", {"term": ""}).status_code == 410
    fired.refresh_from_db()
    assert fired.acked_at is None


def test_a_link_is_good_for_a_week(client, fired, time_machine):
    path = links.ack(fired)

    time_machine.move_to(timezone.now() + timedelta(days=8))

    assert client.get(path).status_code == 410


def test_a_silence_needs_a_reason_and_shows_what_it_hides(signed_in, rule, fired):
    otto = signed_in("otto", "on-call")
    form = {"rule": rule.pk, "tier": "standard", "pool": "", "severity": "", "term": "120"}

    refused = otto.post("/alerts/silences/new/", form)
    assert refused.status_code == 422
    assert not Silence.objects.exists()
    assert "selected>standard (0)" in refused.content.decode()  # bad input loses nothing

    otto.post("/alerts/silences/new/", form | {"reason": "engine upgrade"})
    html = page(otto.get("/alerts/silences/"))
    for part in (
        "Standard waits, tier standard",
        "otto",
        "engine upgrade",
        "standard (0)",
    ):
        assert part in html
    assert "silenced by otto" in page(otto.get("/alerts/"))

    silence = Silence.objects.get()
    otto.post(f"/alerts/silences/{silence.pk}/end/")
    otto.post(f"/alerts/silences/{silence.pk}/end/")
    assert verbs() == ["silence.made", "silence.ended"]
    assert "Nothing is silenced" in page(otto.get("/alerts/silences/"))


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"term": "other"}, "Say how long"),
        ({"term": "other", "other": "soon"}, "Write a time like"),
        ({"term": "other", "other": "31d"}, "At most 30 d"),
        ({"term": "5000"}, "not one of the available choices"),
        ({"tier": "nobody"}, "not one of the available choices"),
    ],
)
def test_a_silence_that_cannot_be_is_refused_in_words(signed_in, db, said, complaint):
    form = {"term": "30", "reason": "x"} | said
    answer = signed_in("otto", "on-call").post("/alerts/silences/new/", form)

    assert answer.status_code == 422
    assert complaint in answer.content.decode()


def test_a_silence_until_nine_ends_at_the_next_nine(signed_in, db, time_machine):
    time_machine.move_to("2026-11-23 22:15:00Z")
    signed_in("otto", "on-call").post(
        "/alerts/silences/new/", {"term": "until9", "reason": "night"}
    )

    assert f"{Silence.objects.get().ends_at:%d %H:%M}" == "24 09:00"


RULE = {
    "name": "Batch waits", "metric": "wait_p95", "tier": "batch", "pool": "", "warn": "2x target",
    "warn_for_s": "2m", "crit": "3x target", "crit_for_s": "1m", "clear_share": "80%", "keep_s": "2m",
    "no_data": "ok", "hours": "mon-fri 08:00-18:00", "runbook": "", "enabled": "on", "edit": "0",
}  # fmt: skip


def test_an_admin_makes_changes_and_deletes_a_rule(signed_in, no_rules, channel):
    ada = signed_in("ada", "admin")

    ada.post("/alerts/rules/new/", RULE | {"warn_channels": [channel.pk]})
    rule = Rule.objects.get()
    assert (rule.warn, rule.of_target, rule.warn_for_s, rule.hours) == (
        2.0, True, 120.0, "mon-fri 08:00-18:00",
    )  # fmt: skip
    assert list(rule.warn_channels.all()) == [channel]
    assert f"2 {TIMES} target wait" in page(ada.get("/alerts/rules/"))

    html = page(ada.get(f"/alerts/rules/{rule.pk}/"))
    assert f'value="2 {TIMES} target"' in html
    ada.post(f"/alerts/rules/{rule.pk}/", RULE | {"warn": "45s", "crit": ""})
    rule.refresh_from_db()
    assert (rule.warn, rule.crit, rule.of_target, rule.edit) == (45.0, None, False, 1)

    ada.post(f"/alerts/rules/{rule.pk}/delete/")
    assert not Rule.objects.exists()
    assert verbs() == ["rule.created", "rule.changed", "rule.deleted"]
    assert AuditEvent.objects.get(verb="rule.changed").after["warn"] == 45.0


def test_two_admins_lose_nothing(signed_in, rule):
    ada = signed_in("ada", "admin")
    Rule.objects.filter(pk=rule.pk).update(edit=3, warn=30)

    answer = ada.post(f"/alerts/rules/{rule.pk}/", RULE | {"warn": "99s", "crit": "", "edit": "2"})

    assert answer.status_code == 409
    assert 'value="99s"' in answer.content.decode()
    rule.refresh_from_db()
    assert rule.warn == 30


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"warn": "", "crit": ""}, "Give at least one level"),
        ({"warn": "lots"}, "Write a time like"),
        ({"warn": "30s", "crit": "2x target"}, "Write both levels in target waits, or neither"),
        ({"warn": "3x target", "crit": "2x target"}, "Crit must lie over warn"),
        ({"metric": "time_to_full", "warn": "1m", "crit": "2m"}, "Crit must lie under warn"),
        ({"metric": "time_to_full", "warn": "any", "crit": ""}, "Nothing is ever under 0"),
        ({"metric": "queue", "warn": "70", "crit": ""}, "Write a share like 10%"),
        ({"metric": "burn", "warn": "hot", "crit": ""}, "Write a number like 6"),
        ({"hours": "sometimes"}, "Write always, or days"),
        ({"clear_share": "200%"}, "More than 0 and at most 100%"),
        ({"keep_s": "2d"}, "At most 1 d"),
        ({"runbook": "javascript:alert(1)"}, "Enter a valid URL"),
        ({"name": "Standard waits"}, "There is a rule of this name"),
        ({"metric": "luck"}, "not one of the available choices"),
        ({"warn_channels": ["77"]}, "not one of the available choices"),
        ({"warn": "1e400s", "crit": ""}, "more than ever happens"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_in_words(signed_in, rule, said, complaint):
    answer = signed_in("ada", "admin").post("/alerts/rules/new/", RULE | said)

    assert answer.status_code == 422
    assert complaint in answer.content.decode()
    assert Rule.objects.count() == 1


def test_a_viewer_reads_a_rule_and_changes_nothing(signed_in, rule):
    vic = signed_in("vic", "viewer")

    html = page(vic.get(f"/alerts/rules/{rule.pk}/"))

    assert 'value="1m"' in html
    assert "disabled" in html
    assert ">Save<" not in html
    assert vic.post(f"/alerts/rules/{rule.pk}/", RULE).status_code == 403


def test_a_broken_rule_says_so_and_is_not_saved_as_another(signed_in, rule):
    Rule.objects.filter(pk=rule.pk).update(metric="luck", error="There is no metric “luck”.")
    ada = signed_in("ada", "admin")

    assert "✖ broken" in page(ada.get("/alerts/rules/"))
    assert "1 rule broken" in page(ada.get("/alerts/"))
    html = page(ada.get(f"/alerts/rules/{rule.pk}/"))
    assert "watches nothing: There is no metric “luck”." in html
    assert '<option value="luck" selected>luck (gone)</option>' in html
    answer = ada.post(f"/alerts/rules/{rule.pk}/", RULE | {"metric": "luck"})
    assert answer.status_code == 422
    assert "It is not measured any more" in answer.content.decode()


def test_the_form_says_how_often_it_would_have_fired(signed_in, no_rules):
    now = timezone.now()
    waits = [70.0 if n // 100 in (3, 7) else 1.0 for n in range(1200)]
    QueueSample.objects.bulk_create(
        QueueSample(
            pool="default", tier="batch", at=now - timedelta(seconds=1200 - n), waiting=3,
            in_flight=1, oldest_s=wait, wait_p95_s=wait, in_per_s=1, out_per_s=1,
        )
        for n, wait in enumerate(waits)
    )  # fmt: skip
    asked = RULE | {"name": "", "warn": "1m", "warn_for_s": "10s", "crit": "", "hours": "always"}

    html = page(signed_in("ada", "admin").get("/alerts/rules/would/", asked))

    assert "In the last 20 min this would have fired <b>2 times</b>." in html
    assert f"batch ({MINUS}5), the last 20 min" in html
    assert not Rule.objects.exists()
    complaint = page(
        ada_get := signed_in("adb", "admin").get("/alerts/rules/would/", {"warn": "?"})
    )
    assert ada_get.status_code == 200
    assert "would have fired" not in complaint


def test_a_metric_that_is_not_stored_says_so(signed_in, no_rules):
    asked = RULE | {"metric": "backends_down", "warn": "any", "crit": ""}

    assert "The state of each server is not kept" in page(
        signed_in("ada", "admin").get("/alerts/rules/would/", asked)
    )


def test_an_incident_s_timeline_holds_what_happened_and_exports_as_markdown(signed_in, fired):
    otto = signed_in("otto", "on-call")
    changes.ack(fired, person("ada"), None, at(20))
    Annotation.objects.create(at=at(-60), text="image | deployed", by=person("ben"))
    otto.post(f"/alerts/incidents/{fired.pk}/line/", {"text": "looks like *acme*"})

    html = page(otto.get(f"/alerts/incidents/{fired.pk}/"))
    for part in (
        "image | deployed",
        "warn, 1m10s, over 1 min",
        "acknowledged",
        "looks like *acme*",
    ):
        assert part in html

    text = page(otto.get(f"/alerts/incidents/{fired.pk}/markdown/"))
    assert text.startswith("# Standard waits\n")
    assert "| 2026-11-23 09:59:00 | image \\| deployed | ben |" in text
    assert "looks like \\*acme\\*" in text
    assert "- Ended: not yet" in text


def test_an_empty_line_is_refused_and_an_incident_that_is_not_there_is_404(signed_in, fired):
    otto = signed_in("otto", "on-call")

    assert otto.post(f"/alerts/incidents/{fired.pk}/line/", {"text": " "}).status_code == 422
    assert otto.get("/alerts/incidents/999/").status_code == 404
    assert otto.post("/alerts/incidents/999/ack/", {"term": ""}).status_code == 404


def test_history_lists_what_is_over(signed_in, fired):
    vic = signed_in("vic", "viewer")
    assert "Nothing was resolved yet" in page(vic.get("/alerts/history/"))

    play(range(16, 30), standard={"p95": 1})

    html = page(vic.get("/alerts/history/?rule=Standard+waits"))
    assert f'href="/alerts/incidents/{fired.pk}/"' in html
    assert "Nothing of that rule" in page(vic.get("/alerts/history/?rule=x"))


def test_people_mark_moments_and_delete_their_own(signed_in, db):
    ben = person("ben", "on-call")
    theirs = Annotation.objects.create(at=timezone.now(), text="theirs", by=ben)
    otto = signed_in("otto", "on-call")

    assert 'value="2026-11-22T10:00:07"' in page(otto.get("/alerts/notes/?at=2026-11-22T10:00:07"))
    otto.post("/alerts/notes/", {"text": "deployed 0.9", "at": "2026-11-22T10:00"})
    assert otto.post("/alerts/notes/", {"text": "", "at": "noon"}).status_code == 422
    own = Annotation.objects.get(text="deployed 0.9")
    otto.post(f"/alerts/notes/{own.pk}/delete/")
    otto.post(f"/alerts/notes/{theirs.pk}/delete/")

    assert list(Annotation.objects.all()) == [theirs]
    assert verbs() == ["note.made", "note.deleted"]


def test_a_mark_on_a_chart_leads_to_its_author_who_puts_it_right(signed_in, db):
    otto = signed_in("otto", "on-call")
    own = Annotation.objects.create(at=at(0), text="deployd", by=User.objects.get())
    where = marks.notes(at(-1), at(1))[0].link

    assert 'value="deployd"' in page(otto.get(where))
    assert f'value="{at(0):%Y-%m-%dT%H:%M:%S}"' in page(otto.get(where))
    assert otto.post(where, {"text": ""}).status_code == 422
    assert otto.post(where, {"text": "deployed", "at": ""}).status_code == 302
    ben = signed_in("ben", "on-call")
    assert ben.get(where)["Location"] == f"/alerts/notes/#note-{own.pk}"
    assert ben.post(where, {"text": "mine now"}).status_code == 403
    own.refresh_from_db()
    assert (own.text, own.at) == ("deployed", at(0))
    assert verbs() == ["note.changed"]


def test_the_tile_says_when_the_evaluator_is_silent(signed_in, fired, time_machine):
    time_machine.move_to(at(16), tick=False)
    vic = signed_in("vic", "viewer")
    assert "✓ evaluator 1.0 s" in " ".join(page(vic.get("/alerts/")).split())

    time_machine.move_to(at(60), tick=False)
    assert "✖ evaluator 45 s" in " ".join(page(vic.get("/alerts/")).split())


def test_times_in_the_timeline_are_in_order(fired):
    lines = timeline.lines(fired, at(60))

    assert [line.at for line in lines] == sorted(line.at for line in lines)
