"""The policy by API: read, checked, planned, published, rolled back."""

import pytest

from dashboard.audit.models import AuditEvent
from dashboard.policies import managed
from gateway.models import PolicyVersion, Revision, Rollout

pytestmark = pytest.mark.django_db


@pytest.fixture
def document(call):
    return call("GET", "/policy").json()["document"]


@pytest.fixture
def publish(call):
    def send(document, etag='"v1"', message="m", query="", **more):
        body = {"document": document, "message": message} | more
        return call("POST", "/policy", body, query=query, if_match=etag)

    return send


def test_what_is_read_can_be_published_again(call, publish, document, robot):
    document["rescue_share"] = 0.2
    plan = call("POST", "/policy/plan", {"document": document}).json()
    assert plan["changes"] == ["rescue lane 10 % \u2192 20 %"]
    assert "+rescue_share: 0.2\n" in plan["diff"]
    assert plan["base"] == 1

    answer = publish(document, message="more rescue")

    assert (answer.status_code, answer["ETag"]) == (201, '"v2"')
    told = answer.json()
    assert (told["version"], told["managed_by"]) == (2, "api")
    assert told["managed_in"] == f"key {robot.id8}"
    assert call("GET", "/policy").json() == told
    event = AuditEvent.objects.get()
    assert (event.verb, event.actor) == ("policy.published", f"key {robot.id8}")
    assert event.after["changes"] == plan["changes"]


def test_an_old_version_comes_back_as_a_new_one(call, publish, document):
    publish(document | {"rescue_share": 0.2})

    back = call("POST", "/policy/versions/1/rollback", {"reason": "slow"}, if_match='"v2"')

    assert (back.status_code, back.json()["version"]) == (201, 3)
    assert back.json()["document"]["rescue_share"] == 0.1
    listed = call("GET", "/policy/versions", query="?limit=2").json()
    assert [row["message"] for row in listed["data"]] == ["Back to v1: slow", "m"]
    assert call("GET", "/policy/versions", query="?before=2").json()["data"][0]["version"] == 1
    assert call("GET", "/policy/versions/2").json()["document"]["rescue_share"] == 0.2


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"rescue_share": 3}, "document.rescue_share"),
        ({"surprise": 1}, "document"),
        ({"default_tier": "nowhere"}, "document"),
        ({"tiers": []}, "document.tiers"),
        ({"tiers": [{"name": "x"}]}, "document.tiers.0"),
        ({"endpoint_tasks": {"a\0": "chat"}}, "document"),
        ({"endpoint_tasks": {"\ud800": "chat"}}, "document"),
        ({"tenants": {"acme": {"weight": 0}}}, "document.tenants...weight"),
    ],
)
def test_what_is_no_policy_is_refused_with_its_field(
    call, refused, publish, document, change, field
):
    status, code, param = refused(publish(document | change))

    assert (status, code) == (422, "invalid_value")
    assert param.startswith(field.partition("...")[0])
    verdict = call("POST", "/policy/validate", {"document": document | change}).json()
    assert (verdict["valid"], bool(verdict["problem"])) == (False, True)
    assert PolicyVersion.objects.count() == 1


def test_a_warning_needs_a_word(call, refused, publish, document):
    document["max_waiting"] = 3000
    verdict = call("POST", "/policy/validate", {"document": document}).json()
    assert any(not warning["stands"] for warning in verdict["warnings"])

    assert refused(publish(document)) == (422, "invalid_value", "accepted")
    assert publish(document, accepted="known").json()["message"] == "m (accepted: known)"


def test_a_publication_says_what_it_is_based_on(call, refused, publish, document):
    changed = document | {"rescue_share": 0.2}
    assert refused(call("POST", "/policy", {"document": changed, "message": "m"}))[0] == 428
    assert publish(changed).status_code == 201

    late = publish(document)

    assert refused(late) == (412, "precondition_failed", "If-Match")
    assert '"v2"' in late.json()["error"]["message"]
    missed = call("POST", "/policy/versions/1/rollback", {"reason": "r"}, if_match='"v1"')
    assert refused(missed)[0] == 412


def test_a_dry_run_publishes_nothing(publish, document):
    revision = Revision.current()

    answer = publish(document | {"rescue_share": 0.2}, query="?dry_run=1")

    assert (answer.status_code, answer.json()["version"]) == (201, 2)
    assert PolicyVersion.objects.count() == 1
    assert (Revision.current(), AuditEvent.objects.count()) == (revision, 0)
    assert managed.owner(managed.POLICY) is None


def test_what_a_file_manages_is_changed_there(call, refused, publish, document, acme):
    managed.claim(managed.POLICY, managed.By.FILE, "policy.yaml@3f2c1a9", 1)
    managed.claim(managed.tenant("acme"), managed.By.FILE, "policy.yaml@3f2c1a9")

    answer = publish(document | {"rescue_share": 0.2})
    renamed = call("PATCH", "/tenants/acme", {"name": "X"}, if_match="*")

    assert refused(answer) == (409, "managed_in_file", None)
    assert "policy.yaml@3f2c1a9" in answer.json()["error"]["message"]
    assert refused(renamed) == (409, "managed_in_file", None)
    assert call("GET", "/tenants/acme").json()["managed_by"] == "file"


def test_an_unknown_version_is_not_there(call, refused):
    assert refused(call("GET", "/policy/versions/9")) == (404, "version_not_found", None)
    assert refused(call("GET", f"/policy/versions/{10**30}")) == (404, "version_not_found", None)


def test_nothing_is_published_beside_a_canary(refused, publish, document):
    Rollout.objects.create(version=1, base=0, percent=50, bar=1)

    answer = publish(document | {"rescue_share": 0.2})

    assert refused(answer) == (409, "canary_running", None)
    assert "promote it or take it back" in answer.json()["error"]["message"]


def test_words_that_no_database_keeps_are_refused(call, refused, publish, document):
    changed = document | {"rescue_share": 0.2}
    back = call("POST", "/policy/versions/1/rollback", {"reason": "a\0b"}, if_match="*")

    assert refused(publish(changed, message="a\0b")) == (422, "invalid_value", "message")
    assert refused(back) == (422, "invalid_value", "reason")
    assert publish(changed, message="two\nlines").status_code == 201
