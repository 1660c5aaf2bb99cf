"""Keys by API: issued once, rotated, changed, taken out of use."""

from datetime import datetime, timedelta
from importlib import import_module

import pytest
from django.apps import apps
from django.utils import timezone

from dashboard.api.models import KeptAnswer
from dashboard.audit.log import record
from dashboard.audit.models import AuditEvent
from gateway import keys
from gateway.models import APIKey

pytestmark = pytest.mark.django_db
WHY = {"reason": "left"}


@pytest.fixture
def prod(call, acme):
    """An issued key, as it was answered."""
    return call("POST", "/tenants/acme/keys", {"name": "prod-1", "service": "chat"}).json()


def test_a_key_is_issued_and_shown_once(call, acme, robot):
    rules = {
        "name": "prod-1",
        "service": "chat",
        "valid_days": 90,
        "ceiling": 0,
        "models": ["qwen", "llama"],
        "endpoints": ["/v1/chat/completions"],
        "networks": ["10.2.7.9", "10.3.0.0/16"],
    }
    answer = call("POST", "/tenants/acme/keys", rules)
    told = answer.json()

    row = APIKey.objects.get(id8=told["id"])
    assert answer.status_code == 201
    assert keys.parse(told["key"]).id8 == row.id8
    assert row.as_rules().networks == ("10.2.7.9/32", "10.3.0.0/16")
    assert told["models"] == ["qwen", "llama"]
    assert abs(row.expires_at - timezone.now() - timedelta(days=90)) < timedelta(minutes=1)
    again = call("GET", f"/keys/{row.id8}")
    assert "key" not in again.json()
    assert again["ETag"] == answer["ETag"]
    assert [k["id"] for k in call("GET", "/tenants/acme/keys").json()["data"]] == [row.id8]
    event = AuditEvent.objects.get()
    assert (event.verb, event.actor) == ("key.issued", f"key {robot.id8}")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "prod-1"}, "name"),
        ({"networks": ["home"]}, "networks"),
        ({"ceiling": 3}, "ceiling"),
        ({"ceiling": 99}, "ceiling"),
        ({"valid_days": 3}, "valid_days"),
        ({"endpoints": ["/v1/nothing"]}, "endpoints"),
        ({"models": ["m"] * 51}, "models"),
        ({"kind": "test"}, "kind"),
        ({"digest": "00"}, "digest"),
    ],
)
def test_a_refusal_names_its_field(call, refused, prod, wrong, field):
    answer = call("POST", "/tenants/acme/keys", {"name": "prod-2"} | wrong)

    assert refused(answer) == (422, "invalid_value", field)
    assert APIKey.objects.filter(tenant__slug="acme").count() == 1


def test_a_repeated_issue_makes_one_key_and_does_not_tell_it_again(call, acme):
    first = call("POST", "/tenants/acme/keys", {"name": "ci"}, idempotency_key="t1").json()
    again = call("POST", "/tenants/acme/keys", {"name": "ci"}, idempotency_key="t1").json()

    assert again == first | {"key": None}
    assert acme.keys.count() == 1
    assert first["key"] not in str(KeptAnswer.objects.values_list())


def test_a_dry_run_shows_no_key_for_there_is_none(call, acme):
    answer = call("POST", "/tenants/acme/keys", {"name": "ci"}, query="?dry_run=1")

    assert (answer.status_code, answer.json()["key"]) == (201, None)
    assert acme.keys.count() == 0


def test_a_rotation_overlaps_and_names_both(call, refused, prod):
    answer = call("POST", f"/keys/{prod['id']}/rotate", {"overlap_hours": 1})
    new = answer.json()

    old = call("GET", f"/keys/{prod['id']}").json()
    assert answer.status_code == 201
    assert (new["name"], new["replaces"], new["service"]) == ("prod-2", prod["id"], "chat")
    assert old["status"] == "active"
    left = datetime.fromisoformat(old["retires_at"]) - timezone.now()
    assert timedelta(minutes=59) < left <= timedelta(hours=1)
    twice = call("POST", f"/keys/{prod['id']}/rotate", {})
    assert refused(twice) == (409, "key_out_of_use", None)


def test_a_rotation_without_an_overlap_revokes_the_old_key(call, prod):
    call("POST", f"/keys/{prod['id']}/rotate", {"overlap_hours": 0, "name": "after the leak"})

    assert call("GET", f"/keys/{prod['id']}").json()["status"] == "revoked"


def test_a_change_keeps_what_it_does_not_name(call, refused, prod):
    path, etag = f"/keys/{prod['id']}", call("GET", f"/keys/{prod['id']}")["ETag"]
    changed = call("PATCH", path, {"networks": ["10.0.0.0/8"], "ceiling": -5}, if_match=etag)

    assert (changed.json()["name"], changed.json()["service"]) == ("prod-1", "chat")
    assert changed.json()["networks"] == ["10.0.0.0/8"]
    assert changed.json()["expires_at"] == prod["expires_at"]
    forever = call("PATCH", path, {"expires_on": None}, if_match=changed["ETag"])
    assert forever.json()["expires_at"] is None
    day = call("PATCH", path, {"expires_on": "2031-05-01"}, if_match=forever["ETag"])
    assert day.json()["expires_at"] == "2031-05-02T00:00:00Z"
    assert refused(call("PATCH", path, {"name": "x"}, if_match=etag))[0] == 412
    assert refused(call("PATCH", path, {"name": "x"}))[0] == 428
    null = call("PATCH", path, {"name": None}, if_match="*")
    assert refused(null) == (422, "invalid_value", "name")


def test_use_does_not_move_the_etag(call, prod):
    etag = call("GET", f"/keys/{prod['id']}")["ETag"]
    APIKey.objects.touch({prod["id"]: timezone.now()})

    assert call("GET", f"/keys/{prod['id']}")["ETag"] == etag


def test_a_key_is_disabled_enabled_and_revoked_for_good(call, refused, prod):
    path = f"/keys/{prod['id']}"
    assert call("POST", f"{path}/disable", WHY).json()["status"] == "disabled"
    assert call("POST", f"{path}/enable", WHY).json()["status"] == "active"
    assert refused(call("POST", f"{path}/revoke", WHY, if_match='"old"'))[0] == 412
    assert call("POST", f"{path}/revoke", WHY).json()["status"] == "revoked"
    assert call("POST", f"{path}/revoke", WHY).json()["status"] == "revoked"

    for act in ("enable", "disable"):
        assert refused(call("POST", f"{path}/{act}", WHY)) == (409, "key_revoked", None)
    assert refused(call("PATCH", path, {"name": "x"}, if_match="*"))[1] == "key_revoked"
    assert refused(call("POST", f"{path}/rotate", {}))[1] == "key_out_of_use"
    verbs = AuditEvent.objects.order_by("number").values_list("verb", flat=True)
    assert list(verbs) == ["key.issued", "key.disabled", "key.enabled", "key.revoked"]


def test_an_act_needs_its_reason(call, refused, prod):
    answer = call("POST", f"/keys/{prod['id']}/revoke", {})

    assert refused(answer) == (422, "invalid_value", "reason")


def test_an_admin_key_can_replace_itself(call, robot):
    new = call("POST", f"/keys/{robot.id8}/rotate", {"overlap_hours": 0}).json()

    assert new["kind"] == "admin"
    assert call("GET", "/tenants").status_code == 401
    assert call("GET", "/tenants", key=new["key"]).status_code == 200


CHANGES = [
    ("POST", "/tenants", {"slug": "dune", "name": "Dune"}),
    ("PATCH", "/tenants/acme", {"name": "Other"}),
    ("POST", "/tenants/acme/suspend", WHY),
    ("POST", "/tenants/acme/keys", {"name": "more"}),
    ("PATCH", "/keys/{id}", {"name": "other"}),
    ("POST", "/keys/{id}/rotate", {}),
    ("POST", "/keys/{id}/revoke", WHY),
    ("POST", "/policy", {"document": {}, "message": "mine"}),
    ("POST", "/policy/versions/1/rollback", WHY),
]


@pytest.mark.parametrize(("method", "path", "body"), CHANGES, ids=[c[1] for c in CHANGES])
def test_an_admin_key_that_reads_changes_nothing(call, refused, prod, acme, method, path, body):
    reader, whole = APIKey.objects.issue(acme, "grafana", kind="admin")
    before = AuditEvent.objects.count()

    answer = call(method, path.format(**prod), body, key=whole, if_match="*")

    assert refused(answer)[:2] == (403, "key_read_only")
    assert reader.id8 in answer.json()["error"]["message"]
    assert AuditEvent.objects.count() == before


def test_an_admin_key_that_reads_reads_plans_and_tries(call, acme):
    _, whole = APIKey.objects.issue(acme, "grafana", kind="admin")
    document = call("GET", "/policy", key=whole).json()["document"]

    assert call("POST", "/policy/plan", {"document": document}, key=whole).status_code == 200
    tried = {"slug": "dune", "name": "Dune"}
    assert call("POST", "/tenants", tried, key=whole, query="?dry_run=1").status_code == 201
    assert call("GET", "/tenants/dune", key=whole).status_code == 404


def test_what_an_admin_key_may_is_said_and_changed(call, refused, acme, prod):
    made = call("POST", "/tenants/acme/keys", {"name": "ci", "kind": "admin"})
    assert made.json()["scope"] == "read"
    path = f"/keys/{made.json()['id']}"

    wider = call("PATCH", path, {"scope": "write"}, if_match=made["ETag"])

    assert wider.json()["scope"] == "write"
    told = AuditEvent.objects.get(verb="key.edited")
    assert (told.before, told.after) == ({"scope": "read"}, {"scope": "write"})
    assert prod["scope"] is None
    of_prod = call("PATCH", f"/keys/{prod['id']}", {"scope": "write"}, if_match="*")
    assert refused(of_prod)[0::2] == (422, "scope")


def test_an_upgrade_lets_those_go_on_that_changed_something_and_no_others(acme):
    make = import_module("dashboard.api.migrations.0002_admin_key_scope").say
    rows = [APIKey.objects.issue(acme, name, kind="admin")[0] for name in ("terraform", "grafana")]
    for row in rows:
        del row.rules["scope"]  # as it was before there was one
        row.save()
        record(f"key {row.id8}", "key.revoked", f"key:{row.id8}")
    record(f"key {rows[0].id8}", "tenant.created", "tenant:dune")

    make(apps, None)

    scopes = [APIKey.objects.get(pk=row.pk).as_rules().scope for row in rows]
    assert scopes == ["write", "read"]
