"""Tenants by API: it works, it is refused, and what was there is not lost."""

import pytest

from dashboard.audit.models import AuditEvent
from gateway.models import Revision, Tenant
from tests.support.people import person

pytestmark = pytest.mark.django_db


def test_a_tenant_is_made_renamed_suspended_and_resumed(call, robot):
    made = call("POST", "/tenants", {"slug": "dune", "name": "Dune"})
    assert made.status_code == 201
    assert made.json()["status"] == "active"
    renamed = call("PATCH", "/tenants/dune", {"name": "Dune Ltd"}, if_match=made["ETag"])
    assert renamed.json()["name"] == "Dune Ltd"
    why = {"reason": "unpaid"}
    assert call("POST", "/tenants/dune/suspend", why).json()["status"] == "suspended"
    assert call("POST", "/tenants/dune/suspend", why).json()["status"] == "suspended"
    assert call("POST", "/tenants/dune/resume", why).json()["status"] == "active"

    read = call("GET", "/tenants/dune")
    assert read.json()["name"] == "Dune Ltd"
    assert read["ETag"] == renamed["ETag"]
    assert "no-store" in read["Cache-Control"]
    told = list(AuditEvent.objects.order_by("number").values_list("verb", "actor", "reason"))
    by = f"key {robot.id8}"
    assert told == [
        ("tenant.created", by, ""),
        ("tenant.renamed", by, ""),
        ("tenant.suspended", by, "unpaid"),
        ("tenant.resumed", by, "unpaid"),
    ]


def test_a_list_comes_in_parts(call, acme, birch):
    part = call("GET", "/tenants", query="?limit=2").json()
    rest = call("GET", "/tenants", query=f"?limit=2&after={part['next']}").json()

    assert [row["slug"] for row in part["data"] + rest["data"]] == ["acme", "birch", "ops"]
    assert rest["next"] is None
    assert [r["slug"] for r in call("GET", "/tenants", query="?q=bir").json()["data"]] == ["birch"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "slug"),
        ({"slug": "Big Name", "name": "x"}, "slug"),
        ({"slug": "acme", "name": "Again"}, "slug"),
        ({"slug": "dune", "name": ""}, "name"),
        ({"slug": "dune", "name": "  "}, "name"),
        ({"slug": "dune", "name": "a\0b"}, "name"),
        ({"slug": "dune", "name": "D", "status": "suspended"}, "status"),
        ([], "body"),
    ],
)
def test_a_refusal_names_its_field(call, refused, acme, body, field):
    answer = call("POST", "/tenants", body)

    assert refused(answer) == (422, "invalid_value", field)
    assert Tenant.objects.count() == 2


def test_what_is_no_json_is_told_so(call, refused):
    answer = call("POST", "/tenants")

    assert refused(answer)[0] in (400, 422)


def test_a_change_must_say_what_it_saw(call, refused, acme):
    stale = call("GET", "/tenants/acme")["ETag"]
    assert refused(call("PATCH", "/tenants/acme", {"name": "A"})) == (
        428,
        "precondition_required",
        "If-Match",
    )
    assert call("PATCH", "/tenants/acme", {"name": "B"}, if_match=stale).status_code == 200

    late = call("PATCH", "/tenants/acme", {"name": "C"}, if_match=stale)

    assert refused(late) == (412, "precondition_failed", "If-Match")
    assert call("GET", "/tenants/acme")["ETag"] in late.json()["error"]["message"]
    assert call("PATCH", "/tenants/acme", {"name": "D"}, if_match="*").json()["name"] == "D"


def test_a_dry_run_answers_and_changes_nothing(call, refused, acme):
    revision = Revision.current()
    etag = call("GET", "/tenants/acme")["ETag"]
    tried = [
        call("POST", "/tenants", {"slug": "dune", "name": "D"}, query="?dry_run=1"),
        call("PATCH", "/tenants/acme", {"name": "D"}, query="?dry_run=true", if_match=etag),
        call("POST", "/tenants/acme/suspend", {"reason": "r"}, query="?dry_run=1"),
    ]

    assert [answer.status_code for answer in tried] == [201, 200, 200]
    assert all(answer["x-laneway-dry-run"] == "1" for answer in tried)
    assert tried[2].json()["status"] == "suspended"
    assert list(Tenant.objects.values_list("slug", "name", "status")) == [
        ("acme", "Acme", "active"),
        ("ops", "Operations", "active"),
    ]
    assert (Revision.current(), AuditEvent.objects.count()) == (revision, 0)
    maybe = call("POST", "/tenants", {"slug": "dune", "name": "D"}, query="?dry_run=perhaps")
    assert refused(maybe) == (422, "invalid_value", "dry_run")


def test_a_repeated_call_changes_nothing_twice(call, refused, acme):
    body = {"slug": "dune", "name": "Dune"}
    first = call("POST", "/tenants", body, idempotency_key="run-1")

    again = call("POST", "/tenants", body, idempotency_key="run-1")

    assert (again.status_code, again.json()) == (201, first.json())
    assert again["ETag"] == first["ETag"]
    assert again["x-laneway-idempotent"] == "replayed"
    assert AuditEvent.objects.count() == 1
    other = call("POST", "/tenants", {"slug": "elm", "name": "E"}, idempotency_key="run-1")
    assert refused(other) == (422, "idempotency_key_reused", "Idempotency-Key")
    bad = call("POST", "/tenants", body, idempotency_key="x" * 200)
    assert refused(bad) == (422, "invalid_value", "Idempotency-Key")


def test_a_refused_call_leaves_its_token_free(call):
    wrong = {"slug": "ops", "name": "Taken"}
    right = {"slug": "dune", "name": "Dune"}
    assert call("POST", "/tenants", wrong, idempotency_key="run-1").status_code == 422

    assert call("POST", "/tenants", right, idempotency_key="run-1").status_code == 201


def test_what_is_not_there_is_told_in_the_same_shape(call, refused):
    assert refused(call("GET", "/tenants/nobody")) == (404, "tenant_not_found", None)
    assert refused(call("GET", "/nowhere")) == (404, "unknown_url", None)
    wrong = call("DELETE", "/tenants/ops")
    assert refused(wrong) == (405, "method_not_allowed", None)
    assert wrong["Allow"] == "GET, PATCH"


def test_only_an_admin_key_comes_in(call, refused, acme, client):
    live = call("POST", "/tenants/acme/keys", {"name": "prod"}).json()["key"]

    assert refused(call("GET", "/tenants", key=live)) == (403, "key_not_admin", None)
    assert refused(call("GET", "/tenants", key="lw_admin_nobody"))[0] == 401
    assert refused(client.get("/api/v1/tenants")) == (401, "invalid_api_key", None)


def test_a_session_opens_nothing_here(client, refused, acme):
    client.force_login(person("ada", "admin", "security"))

    answer = client.post("/api/v1/tenants/acme/suspend", {"reason": "forged"})

    assert refused(answer)[0] == 401
    acme.refresh_from_db()
    assert acme.status == "active"


def test_the_document_and_its_page_need_no_key(client):
    document = client.get("/api/v1/openapi.json").json()
    page = client.get("/api/v1/docs")

    assert "/api/v1/tenants/{slug}" in document["paths"]
    assert document["components"]["securitySchemes"]["AdminKey"]["scheme"] == "bearer"
    assert b"PATCH /api/v1/keys/{id8}" in page.content
    assert b"cdn" not in page.content
