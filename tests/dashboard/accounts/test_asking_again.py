"""What cannot be taken back lightly: whoever proved over 15 minutes ago who they are does so again."""

from datetime import timedelta
from urllib.parse import urlencode

import pytest
from time_machine import travel

from dashboard.audit.models import AuditEvent
from gateway.core.policy import default_policy
from gateway.models import APIKey, PolicyVersion
from tests.support.factors import code, with_app
from tests.support.people import person

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"
NEW_KEY = "/tenant/acme/keys/new/"
LATER = timedelta(minutes=16)


@pytest.fixture(autouse=True)
def one_factor_is_enough(settings):
    settings.LANEWAY_REQUIRE_MFA = False


@pytest.fixture
def clock():
    with travel("2026-11-26T10:00:00Z", tick=False) as clock:
        yield clock


@pytest.fixture
def ada(client, clock, acme):
    PolicyVersion.objects.publish(default_policy(), "the first")
    ada = person("ada", "admin", password=PASSWORD)
    client.post("/accounts/login/", {"login": "ada", "password": PASSWORD})
    return ada


def test_nobody_is_asked_in_the_first_quarter_of_an_hour(client, ada, clock):
    clock.shift(timedelta(minutes=14))

    assert client.get(NEW_KEY).status_code == 200


def test_the_form_that_was_sent_counts_after_the_password(client, ada, clock):
    clock.shift(LATER)
    asked = client.post(
        NEW_KEY, {"name": "prod", "service": "chat", "term": "180", "ceiling": "10", "kind": "live"}
    )
    assert asked["Location"] == "/accounts/again/?" + urlencode({"next": NEW_KEY})
    assert not APIKey.objects.exists()

    wrong = client.post("/accounts/again/", {"password": "wrong", "next": NEW_KEY})
    assert b"not your password" in wrong.content
    done = client.post("/accounts/again/", {"password": PASSWORD, "next": NEW_KEY})

    assert b"only time the key is shown" in done.content
    assert APIKey.objects.get().name == "prod"
    assert client.get(NEW_KEY).status_code == 200


def test_a_code_is_as_good_as_the_password(client, ada, clock):
    with_app(ada)
    clock.shift(LATER)

    assert client.get(NEW_KEY).status_code == 302
    assert b"Use a code" in client.get("/accounts/again/").content
    answer = client.post("/accounts/again/code/", {"code": code(), "next": NEW_KEY})

    assert answer["Location"] == NEW_KEY
    assert client.get(NEW_KEY).status_code == 200


@pytest.mark.parametrize("elsewhere", ["https://elsewhere.example/", "//elsewhere.example"])
def test_the_way_back_leads_to_no_other_site(client, ada, clock, elsewhere):
    clock.shift(LATER)

    answer = client.post("/accounts/again/", {"password": PASSWORD, "next": elsewhere})

    assert answer["Location"] == "/"


def test_the_keys_of_a_tenant_ask_and_what_only_reads_does_not(client, ada, clock, acme):
    key, _ = APIKey.objects.issue(acme, "prod")
    clock.shift(LATER)

    of_key = f"/tenant/acme/keys/{key.id8}/"
    for path in (NEW_KEY, of_key + "rotate/", of_key + "edit/", "/tenant/acme/suspend/"):
        assert client.get(path)["Location"].startswith("/accounts/again/")
    for path in ("/live/", "/tenant/acme/", "/policy/", "/audit/"):
        assert client.get(path).status_code == 200


def test_guessing_the_password_there_is_limited(client, ada):
    answers = [client.post("/accounts/again/", {"password": f"no {n}"}) for n in range(11)]

    assert b"Too many wrong attempts" in answers[5].content
    assert answers[10].status_code == 429
    assert (
        AuditEvent.objects.filter(object="person:ada", verb="person.sign_in_refused").count() == 5
    )
