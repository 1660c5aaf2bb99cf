"""What is in force, what was, how far it is live, and the way back."""

import pytest
from django.utils import timezone
from msgspec.structs import replace

from dashboard.audit.models import AuditEvent
from dashboard.policies.models import Draft
from gateway.core.policy import default_policy
from gateway.models import GatewayState, PolicyVersion

pytestmark = pytest.mark.django_db
PAGES = ["/policy/", "/policy/status/", "/policy/versions/1/", "/policy/compare/?a=1&b=2"]


@pytest.fixture(autouse=True)
def second(first):
    return PolicyVersion.objects.publish(replace(default_policy(), rescue_share=0.2), "more rescue")


@pytest.mark.parametrize("path", PAGES)
def test_those_who_watch_may_read_and_others_may_not(client, person, path):
    assert client.get(path).status_code == 302
    client.force_login(person("tess"))
    assert client.get(path).status_code == 403
    client.force_login(person("vera", "viewer"))
    assert client.get(path).status_code == 200


def test_the_page_shows_what_is_in_force_and_the_history(as_ada):
    html = as_ada.get("/policy/").content.decode()

    assert html.index("realtime (10)") < html.index("batch (\u22125)")
    assert "Rescue lane 20 %" in html
    assert html.index("more rescue") < html.index("the first")


def test_the_page_takes_a_fixed_number_of_queries(as_ada, django_assert_num_queries):
    as_ada.get("/policy/")

    with django_assert_num_queries(17):
        as_ada.get("/policy/")


def test_a_version_is_live_on_the_gateways_that_say_so(as_ada):
    assert "no gateway answers" in as_ada.get("/policy/status/").content.decode()
    for name in ("one", "two"):
        GatewayState.objects.create(
            name=name, pid=1, revision=1, policy_version=2, seen_at=timezone.now()
        )
    for version, said in ((1, "live on 1/2 gateways"), (2, "live on 2/2 gateways")):
        GatewayState.objects.filter(name="two").update(policy_version=version)
        answer = as_ada.get("/policy/status/", headers={"HX-Request": "true"})
        assert said in answer.content.decode()
        assert answer.status_code == (286 if version == 2 else 200)


def test_any_two_versions_are_compared_the_older_first(as_ada):
    html = as_ada.get("/policy/compare/?a=2&b=1").content.decode()

    assert "rescue lane 10 % \u2192 20 %" in html
    assert as_ada.get("/policy/compare/?a=x&b=1").status_code == 404
    assert as_ada.get("/policy/compare/?a=9&b=1").status_code == 404


def test_what_was_in_force_at_a_moment(as_ada, first, second):
    moment = f"{second.published_at:%Y-%m-%dT%H:%M:%S.%f}"[:19]

    assert (
        as_ada.get("/policy/at/", {"at": "2099-01-01T00:00"})["Location"] == "/policy/versions/2/"
    )
    assert as_ada.get("/policy/at/", {"at": "1999-01-01T00:00"}).status_code == 422
    assert as_ada.get("/policy/at/", {"at": "yesterday"}).status_code == 422
    assert as_ada.get("/policy/at/", {"at": moment}).status_code in (302, 422)


def test_rolling_back_publishes_the_old_document_with_a_reason(as_ada, ada):
    as_ada.post("/policy/versions/1/back/", {"newest": 2, "reason": "too slow"})

    newest = PolicyVersion.objects.newest()
    assert (newest.number, newest.message, newest.author) == (3, "Back to v1: too slow", ada)
    assert newest.as_policy() == default_policy()
    assert AuditEvent.objects.get(verb="policy.rolled_back").object == "policy:v3"


def test_rolling_back_needs_a_reason(as_ada):
    html = as_ada.post("/policy/versions/1/back/", {"newest": 2, "reason": ""}).content.decode()

    assert '<a href="#id_reason">Say why.</a>' in html
    assert PolicyVersion.objects.count() == 2


def test_rolling_back_sent_twice_happens_once(as_ada):
    for _ in range(2):
        answer = as_ada.post("/policy/versions/1/back/", {"newest": 2, "reason": "x"})

    assert (answer.status_code, PolicyVersion.objects.count()) == (409, 3)


def test_on_call_goes_back_one_step_and_no_further(client, otto):
    PolicyVersion.objects.publish(default_policy(), "the third")
    client.force_login(otto)

    assert client.post("/policy/versions/1/back/", {"newest": 3, "reason": "x"}).status_code == 404
    assert client.post("/policy/versions/2/back/", {"newest": 3, "reason": "x"}).status_code == 302


def test_a_viewer_changes_nothing(client, person):
    client.force_login(person("vera", "viewer"))

    for path in ("versions/1/back/", "undo/", "draft/merge/", "draft/discard/"):
        assert client.post(f"/policy/{path}", {"newest": 2, "reason": "x"}).status_code == 403
    assert (PolicyVersion.objects.count(), Draft.objects.count()) == (2, 0)
