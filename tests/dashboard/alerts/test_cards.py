"""What stands beside an incident: what fires, how it was delivered, what can be done."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from dashboard.alerts import changes
from dashboard.alerts.models import AlertState, Rule
from dashboard.alerts.wording import MINUS, TIMES
from dashboard.delivery.models import TRIES, Delivery
from tests.dashboard.alerts.conftest import at, play
from tests.support.people import person

pytestmark = pytest.mark.django_db


def text(answer):
    """What a page says, without its markup."""
    assert answer.status_code == 200
    return " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split())


def test_the_page_that_a_message_leads_to_shows_what_fires_and_takes_the_ack(signed_in, fired):
    otto = signed_in("otto", "on-call")
    path = f"/alerts/incidents/{fired.pk}/"
    said = text(otto.get(path))
    assert "standard (0) 1m10s over 1 min" in said

    answer = otto.post(f"{path}ack/", {"term": "30", "from": "incident"})

    assert answer["Location"] == path
    assert "otto has it until" in text(otto.get(path))
    assert otto.post(f"{path}unack/", {"from": "incident"})["Location"] == path
    assert "ACKED" not in text(otto.get(path))
    assert otto.post(f"{path}ack/", {"term": "30"})["Location"] == "/alerts/"


def test_an_incident_that_is_over_offers_no_ack(signed_in, fired):
    play(range(16, 25), standard={"p95": 1})

    html = signed_in("otto", "on-call").get(f"/alerts/incidents/{fired.pk}/").content.decode()

    assert "/ack/" not in html


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({}, "oncall … on its way"),
        ({"state": "sending", "tries": 1}, "oncall … on its way"),
        ({"state": "sent", "tries": 1}, "oncall ✓ arrived"),
        ({"tries": 2, "last_error": "Answered 503."}, f"oncall ✖ try 2 of {TRIES}"),
        ({"state": "failed", "tries": 5, "last_error": "Answered 404."}, "oncall ✖ failed"),
    ],
)
def test_a_card_says_whether_its_message_arrived(signed_in, fired, state, says):
    Delivery.objects.update(**state)

    assert f"told {at(15):%H:%M:%S}" in text(signed_in("vic", "viewer").get("/alerts/")).replace(
        "23 Nov ", ""
    )
    assert says in text(signed_in("otto", "on-call").get("/alerts/"))


def test_a_later_message_to_the_same_channel_is_the_one_that_counts(signed_in, fired):
    Delivery.objects.update(state="failed")
    play(range(16, 25), standard={"p95": 147})  # crit is told at once

    assert "oncall … on its way" in text(signed_in("otto", "on-call").get("/alerts/"))


def test_the_list_of_rules_says_how_bad_it_is(signed_in, fired):
    otto = signed_in("otto", "on-call")
    assert "▲ 1 fires" in text(otto.get("/alerts/rules/"))
    AlertState.objects.update(severity="crit")
    assert "✖ 1 fires" in text(otto.get("/alerts/rules/"))


@pytest.mark.parametrize(
    ("said", "begins"),
    [
        ({"metric": "wait_p95", "tier": "batch", "warn": "1m"}, f"WARN batch ({MINUS}5) in default: wait p95 1m12s, over 1 min"),
        ({"metric": "wait_p95", "tier": "batch", "crit": "2x target"}, f"CRIT batch ({MINUS}5) in default: wait p95 7m12s, over 6 min"),
        ({"metric": "time_to_full", "tier": "batch", "warn": "10m"}, f"WARN batch ({MINUS}5) in default: time to full 8m00s, under 10 min"),
        ({"metric": "backends_down", "warn": "any"}, "WARN pool default: backends down 50 %, any"),
        ({"metric": "burn_6h", "warn": "6x"}, f"WARN realtime (10) in default: 6 h burn 7.2{TIMES}, over 6{TIMES}"),
    ],
)  # fmt: skip
def test_the_form_shows_what_is_measured_and_how_a_message_would_begin(
    signed_in, no_rules, said, begins
):
    form = {"clear_share": "80%", "no_data": "ok", "hours": "always", "edit": "0"} | said

    page = text(signed_in("ada", "admin").get("/alerts/rules/would/", form))

    assert f"A message would begin: {begins}" in page


def test_a_rule_says_what_its_number_means(signed_in, rule):
    said = text(signed_in("vic", "viewer").get(f"/alerts/rules/{rule.pk}/"))

    assert "Wait p95: 95 % of the last 5 min waited less; judged from 20 requests on." in said


def test_the_tile_turns_red_when_nobody_tries_what_is_due(signed_in, fired, time_machine):
    now = timezone.now()
    Delivery.objects.update(next_try_at=now)
    otto = signed_in("otto", "on-call")
    assert "✓ notifier" in text(otto.get("/alerts/"))
    time_machine.move_to(now + timedelta(seconds=16))
    assert "✖ notifier" in text(otto.get("/alerts/"))


def test_somebody_who_left_a_rule_behind_deletes_it_and_its_incident_stays(signed_in, fired):
    changes.ack(fired, person("otto", "on-call"), None, at(16))
    ada = signed_in("ada", "admin")

    ada.post(f"/alerts/rules/{Rule.objects.get().pk}/delete/")

    said = text(ada.get(f"/alerts/incidents/{fired.pk}/"))
    assert "resolved: the rule is deleted by ada" in said
    assert "resolved told to oncall" in said
