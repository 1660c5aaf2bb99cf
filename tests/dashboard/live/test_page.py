"""The live page as the server renders it."""

import re

import pytest
from django.core.cache import cache
from django.test import Client

from gateway.core.policy import default_policy
from gateway.models import PolicyVersion
from tests.support.people import person

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def policy(db):
    return PolicyVersion.objects.publish(default_policy(), "the first")


@pytest.fixture
def otto(client):
    client.force_login(person("otto", "viewer"))
    return client


def test_the_page_shows_every_tier_most_urgent_first(otto):
    html = otto.get("/live/").content.decode()

    names = re.findall(r'<tr data-tier="([a-z]+)"', html)
    assert names == ["realtime", "critical", "standard", "batch", "background"]


def test_a_stranger_is_sent_to_sign_in_and_back(client):
    answer = client.get("/live/")

    assert (answer.status_code, answer["Location"]) == (302, "/accounts/login/?next=/live/")


def test_the_page_takes_a_fixed_number_of_queries(otto, django_assert_num_queries):
    otto.get("/live/")  # builds the figures of this version, once a process

    with django_assert_num_queries(8):  # session, person, newest policy, thresholds, notes
        otto.get("/live/")


def test_the_root_leads_to_the_live_page(otto):
    assert otto.get("/")["Location"] == "/live/"


@pytest.mark.parametrize("path", ["/live/", "/accounts/login/", "/nowhere/"])
def test_no_markup_needs_what_the_policy_refuses(otto, client, path):
    answer = (client if "login" in path else otto).get(path, follow=True)

    html = answer.content.decode()
    assert not re.search(r"<[^>]+\sstyle=", html)
    assert "<style" not in html
    assert not re.search(r"<[^>]+\son[a-z]+=", html)
    for script in re.findall(r"<script[^>]*>", html):
        assert "src=" in script or 'type="application/json"' in script
    assert "'unsafe-" not in answer.headers["Content-Security-Policy"]
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", html)


def test_another_version_brings_other_charts(otto):
    first = otto.get("/live/figures/").json()
    PolicyVersion.objects.publish(default_policy(), "the second")

    second = otto.get("/live/figures/").json()

    assert second["policy_version"] == first["policy_version"] + 1
    assert set(second["charts"]) == {"queue", "wait"}


def test_the_charts_are_not_for_strangers(client):
    assert client.get("/live/figures/").status_code == 302


def test_a_page_that_is_not_there_says_so_in_the_site_s_own_words(otto):
    answer = otto.get("/nowhere/")

    assert answer.status_code == 404
    assert "There is no such page" in answer.content.decode()


def test_a_failure_needs_neither_context_nor_database():
    from django.template.loader import get_template

    assert "Something broke here" in get_template("500.html").render()


@pytest.fixture(autouse=True)
def _empty_cache():
    cache.clear()


@pytest.mark.parametrize(
    ("role", "way"),
    [("admin", '<a href="/tenants/">tenant</a>'), ("viewer", "Have an admin make a key")],
)
def test_before_the_first_request_everybody_is_told_their_way_to_a_key(client, role, way):
    client.force_login(person("somebody", role))

    assert way in client.get("/live/").content.decode()


def test_a_form_without_its_token_changes_nothing_and_says_what_to_do():
    careful = Client(enforce_csrf_checks=True)
    careful.force_login(person("ada", "admin"))

    answer = careful.post("/tenants/new/", {"name": "Acme", "slug": "acme"})

    page = answer.content.decode()
    assert answer.status_code == 403
    assert "Nothing was changed: send it again" in page
    assert "LANEWAY_HTTPS=yes" in page
    assert "DEBUG" not in page


def test_under_a_name_nobody_gave_it_the_site_names_the_setting(client):
    answer = client.get("/live/", HTTP_HOST="gateway.example.org")

    assert answer.status_code == 400
    assert "LANEWAY_HOST_NAMES" in answer.content.decode()
