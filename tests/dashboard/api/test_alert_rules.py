"""Alert rules by API: they round-trip, are refused by name, and no change is lost."""

import pytest

from dashboard.alerts.models import AlertState, Incident, Rule
from dashboard.audit.models import AuditEvent
from dashboard.delivery.models import Channel
from gateway.models import APIKey
from tests.support.people import person

pytestmark = pytest.mark.django_db
WAITS = {"name": "Batch waits", "metric": "wait_p95", "tier": "batch", "warn": 90.5, "crit": 300}


@pytest.fixture(autouse=True)
def channel():
    row = Channel(name="on-call", kind="slack", where="hooks.slack.com", created_by="ada")
    row.address = "https://hooks.slack.com/services/T0/B0/x"
    row.save()
    return row


def verbs():
    return list(AuditEvent.objects.order_by("number").values_list("verb", "actor"))


def test_a_rule_is_made_changed_and_deleted(call, robot):
    made = call("POST", "/alert-rules", WAITS | {"warn_channels": ["on-call"]})
    assert made.status_code == 201
    rule = made.json()
    assert (rule["warn"], rule["warn_for_s"], rule["keep_s"]) == (90.5, 60, 120)
    at = f"/alert-rules/{rule['id']}"
    assert call("GET", at).json() == rule
    assert rule in call("GET", "/alert-rules").json()["data"]

    changed = call(
        "PATCH", at, {"crit": None, "hours": "mon-fri 08:00-18:00"}, if_match=made["ETag"]
    )
    assert changed.json() == rule | {"crit": None, "hours": "mon-fri 08:00-18:00"}
    row = Rule.objects.get(pk=rule["id"])
    assert (row.warn, row.crit, row.edit) == (90.5, None, 1)
    gone = call("DELETE", at, if_match=changed["ETag"])

    assert gone.json() == changed.json()
    assert call("GET", at).status_code == 404
    by = f"key {robot.id8}"
    assert verbs() == [("rule.created", by), ("rule.changed", by), ("rule.deleted", by)]


def test_every_shipped_rule_comes_back_as_it_was(call):
    before = call("GET", "/alert-rules").json()["data"]
    assert len(before) >= 15

    for rule in before:
        at = f"/alert-rules/{rule['id']}"
        same = call("PATCH", at, {"enabled": rule["enabled"]}, if_match=call("GET", at)["ETag"])
        assert same.json() == rule

    assert verbs() == []


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"metric": "luck"}, "metric"),
        ({"tier": "nowhere"}, "tier"),
        ({"warn": None, "crit": None}, "warn"),
        ({"warn": 400}, "crit"),
        ({"warn": -1}, "warn"),
        ({"metric": "refused", "warn": 1.5, "crit": None, "tier": ""}, "warn"),
        ({"metric": "queue", "of_target": True}, "warn"),
        ({"hours": "whenever"}, "hours"),
        ({"hidden_while": "nothing"}, "hidden_while"),
        ({"warn_channels": ["nobody"]}, "warn_channels"),
        ({"name": "Backend down"}, "name"),
        ({"owner": "ada"}, "owner"),
    ],
)
def test_a_refusal_names_its_field(call, refused, said, field):
    before = Rule.objects.count()

    assert refused(call("POST", "/alert-rules", WAITS | said)) == (422, "invalid_value", field)
    assert Rule.objects.count() == before


def test_a_change_must_say_what_it_saw(call, refused):
    made = call("POST", "/alert-rules", WAITS)
    at, stale = f"/alert-rules/{made.json()['id']}", made["ETag"]
    assert refused(call("PATCH", at, {"warn": 5}))[0] == 428
    assert refused(call("DELETE", at))[0] == 428
    assert call("PATCH", at, {"warn": 5}, if_match=stale).status_code == 200

    assert refused(call("PATCH", at, {"warn": 6}, if_match=stale))[0] == 412
    assert refused(call("DELETE", at, if_match=stale))[0] == 412


def test_a_key_that_reads_changes_nothing_and_a_dry_run_neither(call, ops, refused):
    _, reader = APIKey.objects.issue(ops, "reader", kind="admin")
    assert refused(call("POST", "/alert-rules", WAITS, key=reader))[0] == 403
    assert call("GET", "/alert-rules", key=reader).status_code == 200

    dry = call("POST", "/alert-rules", WAITS, query="?dry_run=1")

    assert dry.status_code == 201
    assert not Rule.objects.filter(name=WAITS["name"]).exists()
    assert verbs() == []


def test_what_a_deleted_rule_fires_is_over(call):
    rule = Rule.objects.create(name="Waits", metric="oldest", warn=1)
    now = person("ada").date_joined
    incident = Incident.objects.create(
        rule=rule, rule_name=rule.name, severity="warn", opened_at=now
    )
    AlertState.objects.create(
        rule=rule, instance="default/batch", severity="warn", incident=incident
    )
    at = f"/alert-rules/{rule.pk}"

    call("DELETE", at, if_match=call("GET", at)["ETag"])

    incident.refresh_from_db()
    assert incident.closed_at is not None
    assert incident.events.get(kind="closed").by.startswith("key ")
