"""Signing in and out."""

import pytest
from django.contrib.auth.models import AnonymousUser, User

from dashboard.accounts.permissions import may_watch

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"


@pytest.fixture
def otto():
    return User.objects.create_user("otto", password=PASSWORD)


def sign_in(client, password, **more):
    return client.post("/accounts/login/", {"username": "otto", "password": password, **more})


def test_the_right_password_leads_to_where_one_was_going(client, otto):
    answer = sign_in(client, PASSWORD, next="/live/?tz=utc")

    assert (answer.status_code, answer["Location"]) == (302, "/live/?tz=utc")


def test_the_wrong_password_says_so_and_keeps_the_name(client, otto):
    html = sign_in(client, "wrong").content.decode()

    assert 'role="alert"' in html
    assert 'value="otto"' in html


def test_nobody_is_sent_to_another_site(client, otto):
    assert sign_in(client, PASSWORD, next="https://elsewhere.example/")["Location"] == "/"


def test_signing_out_takes_a_post_and_ends_the_session(client, otto):
    client.force_login(otto)

    assert client.get("/accounts/logout/").status_code == 405
    assert client.post("/accounts/logout/")["Location"] == "/accounts/login/"
    assert client.get("/live/").status_code == 302


def test_those_who_are_signed_in_and_active_may_watch(otto):
    gone = User(username="ada", is_active=False)

    assert [may_watch(who) for who in (otto, gone, AnonymousUser())] == [True, False, False]
