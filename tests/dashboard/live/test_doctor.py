"""The doctor's page: what it shows, and to whom."""

import re

import pytest
from django.core.cache import cache

from gateway.core.snapshot import encode
from gateway.newest import FRAME
from tests.support.frames import Traffic
from tests.support.people import person

pytestmark = pytest.mark.django_db

ADDRESS = "/doctor/"


@pytest.fixture(autouse=True)
def silent():
    cache.delete(FRAME)


def test_a_finding_comes_with_what_to_do(client):
    client.force_login(person("otto", "on-call"))

    page = client.get(ADDRESS).content.decode()

    assert "No backend is switched on, so every request is refused." in page
    assert "Set VLLM_URL" in page
    assert 'data-severity="error" data-code="no_backends"' in page
    assert page.index("Errors") < page.index("What is well")
    assert re.search(r"[1-9] errors?, (no|\d+) warnings?, (no|\d+) notes?, \d+ ok", page)
    assert "It could not be asked: it has published no state in the last 5 s." in page


def test_a_gateway_that_publishes_is_well(client):
    line = Traffic(per_s={})
    line.second()
    cache.set(FRAME, encode(line.frame(1.0, version=1)).decode(), 5)
    client.force_login(person("otto", "viewer"))

    page = client.get(ADDRESS).content.decode()

    assert 'data-code="running"' in page


def test_a_stranger_signs_in_first(client):
    answer = client.get(ADDRESS)

    assert (answer.status_code, answer.url) == (302, f"/accounts/login/?next={ADDRESS}")


def test_somebody_without_a_role_is_turned_away(client):
    client.force_login(person("nobody"))

    assert client.get(ADDRESS).status_code == 403
