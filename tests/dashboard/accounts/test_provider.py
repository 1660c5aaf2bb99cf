"""The company's own sign-in: who comes in by it and as what, against a provider on real sockets."""

import json
import re
import time
from html import unescape
from urllib.parse import urlsplit

import httpx
import pytest
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client

from dashboard.accounts import provider
from dashboard.accounts.confirming import CONFIRMED, proved_at
from dashboard.accounts.permissions import standing
from dashboard.audit.models import AuditEvent
from tests.support.factors import code, with_app
from tests.support.fake_oidc import CLIENT, SECRET, running
from tests.support.people import person

pytestmark = pytest.mark.django_db
BACK = "/accounts/provider/back/"


@pytest.fixture
def oidc(settings, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    cache.clear()
    with running() as oidc:
        settings.LANEWAY_OIDC = {
            "id": provider.ID,
            "issuer": oidc.issuer,
            "host": "sso.example.org",
            "claim": "groups",
            "roles": {"platform": ["admin", "security"], "oncall": ["on-call"]},
        }
        app = {
            "provider_id": provider.ID,
            "client_id": CLIENT,
            "secret": SECRET,
            "settings": {"server_url": oidc.issuer},
        }
        settings.SOCIALACCOUNT_PROVIDERS = {
            "openid_connect": {"OAUTH_PKCE_ENABLED": True, "APPS": [app]}
        }
        oidc.claims = {"sub": "7", "preferred_username": "ada", "groups": ["platform", "choir"]}
        yield oidc


def leave(client: Client, **form: str) -> str:
    """Press the button, and follow the page to the provider.  Returns where that sends one back to."""
    page = client.post("/accounts/provider/", form).content.decode()
    where = unescape(re.search(r'content="0;url=([^"]+)"', page)[1])
    answer = httpx.get(where, trust_env=False)
    return answer.headers["Location"].removeprefix("http://testserver")


def come_by(client: Client, **form: str):
    return client.get(leave(client, **form))


def test_whom_the_claim_gives_roles_comes_in_with_them(client, oidc):
    assert b"Continue with sso.example.org" in client.get("/accounts/login/").content

    answer = come_by(client, next="/policy/")

    assert answer["Location"] == "/policy/"
    assert client.get("/policy/").status_code == 200
    ada = User.objects.get(username="ada")
    assert standing(ada).roles == {"admin", "security"}
    assert (ada.is_staff, ada.is_superuser, ada.has_usable_password()) == (False, False, False)
    told = list(AuditEvent.objects.order_by("number").values_list("actor", "verb", "after"))
    assert told == [
        ("sign-in of sso.example.org", "person.created", {"mail": ""}),
        ("sign-in of sso.example.org", "person.roles_changed", {"roles": ["admin", "security"]}),
        ("ada", "person.signed_in", {"by": ["socialaccount"]}),
    ]


def test_roles_follow_the_claim_at_each_sign_in(client, oidc):
    come_by(client)
    oidc.claims["groups"] = "oncall"

    come_by(Client())

    assert standing(User.objects.get(username="ada")).roles == {"on-call"}
    assert User.objects.count() == 1


@pytest.mark.parametrize("groups", [["choir"], [], "", None, 7, {"platform": 1}, [["platform"]]])
def test_whom_it_gives_none_does_not_come_in(client, oidc, groups):
    oidc.claims["groups"] = groups

    answer = come_by(client)

    assert answer.status_code == 403
    assert b"You have no role here" in answer.content
    assert not User.objects.exists()
    assert client.get("/live/").status_code == 302


def test_whoever_lost_all_of_them_there_loses_them_here(client, oidc):
    come_by(client)
    oidc.claims["groups"] = []

    assert come_by(Client()).status_code == 403
    assert client.get("/live/").status_code == 403


def test_a_name_or_an_address_that_is_taken_is_never_shared(client, oidc):
    local = person("ada", "viewer", password="correct horse battery")
    local.email = "ada@example.org"
    local.save()
    oidc.claims |= {"email": "Ada@Example.org", "email_verified": True}

    come_by(client)

    theirs = SocialAccount.objects.get().user
    assert theirs.pk != local.pk
    assert theirs.get_username() != "ada"
    assert theirs.email == ""
    assert standing(local).roles == {"viewer"}


def test_whoever_is_switched_off_stays_out(client, oidc):
    come_by(client)
    User.objects.update(is_active=False)

    assert come_by(Client())["Location"] == "/accounts/inactive/"


def test_a_reply_that_nobody_asked_for_opens_nothing(client, oidc):
    for query in ("", "?code=x", "?code=x&state=guessed", "?error=access_denied", "?state=%00"):
        assert client.get(BACK + query).status_code == 401
    assert client.post(BACK).status_code == 405
    assert not User.objects.exists()


def test_the_reply_to_another_browser_opens_nothing(client, oidc):
    other = Client()
    client.get("/accounts/login/")

    assert other.get(leave(client)).status_code == 401
    assert other.get("/live/").status_code == 302


def test_a_code_is_used_once(client, oidc):
    back = leave(client)

    assert client.get(back).status_code == 302
    client.post("/accounts/logout/")
    assert client.get(back).status_code == 401


def test_a_token_for_another_program_is_refused(client, oidc):
    oidc.audience = "another program"

    assert come_by(client).status_code == 401
    assert not User.objects.exists()


def test_a_userinfo_of_somebody_else_is_refused(client, oidc):
    oidc.userinfo = {"sub": "8"}

    assert come_by(client).status_code == 401
    assert not User.objects.exists()


def test_a_provider_out_of_order_is_told_and_no_error(client, oidc):
    back = leave(client)
    oidc.out_of_order = True

    assert client.post("/accounts/provider/").status_code == 502
    assert b"did not work" in client.get(back).content


def test_the_button_asks_the_provider_thirty_times_a_minute_at_most(client, oidc):
    oidc.out_of_order = True

    answers = [client.post("/accounts/provider/").status_code for _ in range(31)]

    assert answers == [502] * 30 + [429]


@pytest.mark.parametrize("elsewhere", ["https://elsewhere.example/", "//elsewhere.example", "x:y"])
def test_the_way_back_leads_to_no_other_site(client, oidc, elsewhere):
    assert come_by(client, next=elsewhere)["Location"] == "/"


def test_nobody_is_bound_to_the_account_of_another_by_a_forged_process(client, oidc):
    ada = person("local", "viewer")
    client.force_login(ada)

    come_by(client, process="connect")

    assert not SocialAccount.objects.filter(user=ada).exists()


NEW_KEY = "/tenant/acme/keys/new/"


def an_hour_later(client: Client) -> None:
    session = client.session
    session[CONFIRMED] -= 3600
    session.save()


def remember_a_proof(client: Client) -> None:
    session = client.session
    session[CONFIRMED] = time.time()
    session.save()


def test_being_asked_again_leads_there_again_and_asks_there_too(client, oidc, acme):
    come_by(client)
    assert client.get(NEW_KEY).status_code == 200
    oidc.signed_in_at -= 3600
    an_hour_later(client)
    asked = client.get(NEW_KEY)
    assert asked.status_code == 403
    assert b"Continue with sso.example.org" in asked.content

    answer = come_by(client, next=NEW_KEY)

    assert answer["Location"] == NEW_KEY
    assert not {"prompt", "max_age"} & oidc.asked[0].keys()
    for asked in oidc.asked:
        assert json.loads(asked["claims"]) == {"id_token": {"auth_time": {"essential": True}}}
    assert (oidc.asked[1]["prompt"], oidc.asked[1]["max_age"]) == ("login", "0")
    assert client.get(NEW_KEY).status_code == 200


@pytest.mark.parametrize(
    ("provider_that", "told"),
    [
        ({"asks": False}, b"let you through without asking"),
        ({"tells_when": False}, b"leaves out <code>auth_time</code>"),
    ],
    ids=["asks nobody", "says nothing"],
)
def test_a_provider_that_asks_nobody_again_proves_nothing(client, oidc, acme, provider_that, told):
    come_by(client)
    oidc.signed_in_at -= 3600
    an_hour_later(client)
    for name, value in provider_that.items():
        setattr(oidc, name, value)

    come_by(client, next=NEW_KEY)

    asked = client.get(NEW_KEY)
    assert asked.status_code == 403
    assert told in asked.content


def test_where_the_provider_never_says_when_a_password_of_their_own_is_the_way(
    client, oidc, acme, settings
):
    settings.LANEWAY_REQUIRE_MFA = True
    oidc.tells_when = False
    come_by(client)
    assert client.get(NEW_KEY).status_code == 403
    sam = Client()
    sam.force_login(with_app(person("sam", "security")))
    remember_a_proof(sam)

    page = sam.post("/people/of/ada/link/").content.decode()
    link = re.search(r"/accounts/welcome/[\w-]+/", page)[0]
    chosen = {"new_password1": "correct horse battery", "new_password2": "correct horse battery"}
    client.post(link, chosen)
    ada = with_app(User.objects.get(username="ada"))

    assert client.get(NEW_KEY).status_code == 200
    an_hour_later(client)
    assert client.get(NEW_KEY)["Location"].startswith("/accounts/again/")
    client.post("/accounts/again/code/", {"code": code(), "next": NEW_KEY})
    assert client.get(NEW_KEY).status_code == 200
    assert standing(ada).roles == {"admin", "security"}


def test_an_open_session_over_there_signs_in_and_proves_nothing(client, oidc, acme):
    come_by(Client())
    oidc.signed_in_at -= 3600

    come_by(client)  # whoever finds the screen signs out and in again without a word

    assert client.get("/live/").status_code == 200
    assert client.get(NEW_KEY).status_code == 403
    assert client.get("/accounts/factors/passkeys/new/").status_code == 403


@pytest.mark.parametrize("claim", ["now", None, [], -1, 0, float("nan")])
def test_a_moment_that_is_none_proves_nothing(claim):
    assert not proved_at({"id_token": {"auth_time": claim}}) > 0


def test_a_clock_ahead_of_ours_gives_no_longer_a_time():
    assert proved_at({"id_token": {"auth_time": time.time() + 9999}}) <= time.time()


def test_without_a_provider_there_is_no_button_and_no_page(client, db):
    assert b"Continue with" not in client.get("/accounts/login/").content
    assert client.post("/accounts/provider/").status_code == 404
    assert client.get(urlsplit(BACK).path).status_code == 404
