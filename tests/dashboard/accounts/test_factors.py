"""Second factors: with real codes, for whom they are required, and the ways back in."""

import json
import re

import pytest
from allauth.mfa.models import Authenticator
from django.test import Client

from dashboard.accounts.permissions import must_add_factor, standing
from dashboard.audit.models import AuditEvent
from tests.support.factors import SECRET, code, recovery_codes, with_app
from tests.support.people import person

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"
FACTOR = "/accounts/login/factor/"


@pytest.fixture
def ada():
    return person("ada", "admin", password=PASSWORD)


def sign_in(client, name="ada", password=PASSWORD, **more):
    return client.post("/accounts/login/", {"login": name, "password": password, **more})


def come_in(client, name="ada"):
    sign_in(client, name)
    return client.post(FACTOR, {"code": code()})


def test_an_app_is_set_up_with_a_real_code_and_its_recovery_codes_are_shown_once(client, ada):
    sign_in(client)
    page = client.get("/accounts/factors/app/").content.decode()
    secret = re.search(r'class="mono secret">(\w+)<', page)[1]

    wrong = client.post("/accounts/factors/app/", {"code": "000000"})
    right = client.post("/accounts/factors/app/", {"code": code(secret)}, follow=True)

    assert b"half a minute" in wrong.content
    assert len(re.findall(r"^\d{8}$|>\d{8}$", right.content.decode(), re.MULTILINE)) == 10
    again = client.get("/accounts/factors/codes/").content.decode()
    assert "10 of 10 are left" in again
    assert "<pre" not in again
    assert client.get("/tenants/").status_code == 200


def test_a_role_that_needs_a_factor_rests_until_there_is_one(client, ada):
    sign_in(client)

    assert standing(ada).roles == frozenset()
    assert must_add_factor(ada)
    assert client.get("/policy/")["Location"] == "/accounts/factors/?next=/policy/"
    assert b"needs a second factor" in client.get("/accounts/factors/").content
    assert client.get("/api/v1/live").status_code in (401, 403)


def test_a_role_given_while_one_is_signed_in_rests_too(client, db):
    otto = person("otto", "on-call", password=PASSWORD)
    sign_in(client, "otto")
    assert client.get("/policy/").status_code == 200

    otto.groups.add(person("x", "security").groups.get())

    assert client.get("/policy/")["Location"].startswith("/accounts/factors/")


def test_the_demo_asks_for_none(client, ada, settings):
    settings.LANEWAY_REQUIRE_MFA = False
    sign_in(client)

    assert client.get("/tenants/").status_code == 200


def test_a_password_alone_opens_nothing_when_there_is_a_factor(client, ada):
    with_app(ada)

    assert sign_in(client, next="/policy/")["Location"] == FACTOR
    assert client.get("/policy/")["Location"].startswith("/accounts/login/?")
    assert client.post(FACTOR, {"code": "123456"}).status_code == 200
    assert client.get("/policy/").status_code == 302
    assert client.post(FACTOR, {"code": code()})["Location"] == "/policy/"
    assert client.get("/policy/").status_code == 200


def test_a_code_is_good_once(client, ada):
    with_app(ada)
    shown = code()
    sign_in(client)
    assert client.post(FACTOR, {"code": shown}).status_code == 302

    other = Client()
    sign_in(other)
    assert other.post(FACTOR, {"code": shown}).status_code == 200
    assert other.get("/tenants/").status_code == 302


def test_a_code_of_five_minutes_ago_is_none(client, ada):
    with_app(ada)
    sign_in(client)

    assert client.post(FACTOR, {"code": code(ago=10)}).status_code == 200


def test_a_recovery_code_stands_in_once(client, ada):
    with_app(ada)
    come_in(client)
    spare = recovery_codes(client)[0]

    for answered in (302, 200):
        other = Client()
        sign_in(other)
        assert other.post(FACTOR, {"code": spare}).status_code == answered

    verbs = list(AuditEvent.objects.values_list("verb", flat=True))
    assert verbs.count("person.recovery_code_used") == 1


def test_guessing_codes_ends_after_five(client, ada):
    with_app(ada)
    sign_in(client)
    for guess in range(5):
        client.post(FACTOR, {"code": f"{guess:06}"})

    answer = client.post(FACTOR, {"code": code()})

    assert b"Too many wrong attempts" in answer.content
    assert client.get("/tenants/").status_code == 302


def test_taking_the_app_away_is_asked_told_and_makes_the_role_rest(client, ada):
    with_app(ada)
    come_in(client)

    assert (
        b"Take the authenticator app away?" in client.get("/accounts/factors/app/remove/").content
    )
    client.post("/accounts/factors/app/remove/")

    assert not Authenticator.objects.filter(user=ada, type="totp").exists()
    assert client.get("/tenants/")["Location"].startswith("/accounts/factors/")
    assert AuditEvent.objects.filter(verb="person.factor_removed", actor="ada").exists()


def test_the_secrets_stand_sealed_in_the_database_and_nowhere_on_the_trail(client, ada):
    with_app(ada)
    come_in(client)
    codes = recovery_codes(client)

    kept = str(list(Authenticator.objects.values())) + str(list(AuditEvent.objects.values()))

    assert SECRET not in kept
    assert not any(one in kept for one in codes)


def test_under_another_secret_key_no_code_opens_anything(client, ada, settings):
    with_app(ada)
    settings.SECRET_KEY = "another one altogether"
    sign_in(client)

    assert client.post(FACTOR, {"code": code()}).status_code == 200


GARBAGE = {"clientDataJSON": "AA", "attestationObject": "oWE", "authenticatorData": "AA"}
NO_PASSKEYS = [
    *("", "{}", "[]", "7", '"x"', '{"id": 1}', "{", '{"id": "AA", "rawId": "AA", "response": 1}'),
    json.dumps({"id": "AA", "rawId": "AA", "type": "public-key", "response": GARBAGE}),
    json.dumps(
        {"id": "AA", "rawId": "AA", "response": {**GARBAGE, "userHandle": "!", "signature": "A"}}
    ),
]


@pytest.mark.parametrize("credential", NO_PASSKEYS)
def test_what_is_no_passkey_is_refused_and_never_an_error(client, ada, credential):
    with_app(ada)
    client.get("/accounts/login/passkey/", headers={"accept": "application/json"})

    answer = client.post("/accounts/login/passkey/", {"credential": credential})
    sign_in(client)
    second = client.post(FACTOR, {"credential": credential})

    assert answer.status_code == 302
    assert second.status_code == 200
    assert client.get("/live/").status_code == 302

    client.force_login(ada)
    for path in ("/accounts/factors/passkeys/new/", "/accounts/again/passkey/"):
        client.get(path)
        assert client.post(path, {"credential": credential}).status_code in (200, 302)
    assert not Authenticator.objects.filter(type="webauthn").exists()


def test_nobody_removes_another_s_passkey(client, ada):
    ben = person("ben", "admin")
    passkey = Authenticator.objects.create(user=ben, type="webauthn", data={"name": "his"})
    client.force_login(ada)

    answer = client.post(f"/accounts/factors/passkeys/{passkey.pk}/remove/")

    assert answer.status_code == 404
    assert Authenticator.objects.filter(pk=passkey.pk).exists()


def test_the_break_glass_pages_need_the_factor_too(client, db):
    root = person("root", "admin", "security", password=PASSWORD)
    root.is_staff = root.is_superuser = True
    root.save()
    client.force_login(root)

    assert (
        client.get("/_admin/", follow=True).redirect_chain[-1][0].startswith("/accounts/factors/")
    )
    with_app(root)
    assert client.get("/_admin/").status_code == 200
