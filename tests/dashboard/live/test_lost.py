"""What the live page counts as lost, one by one."""

from datetime import timedelta

import pytest
from django.core.cache import cache

from gateway.models import Tenant
from tests.support.people import person
from tests.support.usage import used

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _no_frame():
    cache.clear()


@pytest.fixture
def acme(db):
    return Tenant.objects.create(slug="acme", name="Acme")


@pytest.fixture
def vic(client):
    client.force_login(person("vic", "viewer"))
    return client


def gone(tenant, id, code, *, tier="batch", ago=MINUTE, e2e_s=5.0, **more):
    used(
        tenant, "XoBh07B0", request_id=id, code=code, tier=tier, ago=ago, e2e_s=e2e_s,
        backend="", status=429, outcome="rejected", **more,
    )  # fmt: skip


def shown(browser, **asked):
    answer = browser.get("/live/lost/", asked)
    assert answer.status_code == 200
    return [one.row.request_id for one in answer.context["part"]]


def test_it_lists_who_left_the_line_without_a_slot_the_last_first(vic, acme):
    gone(acme, "full", "queue_full")
    gone(acme, "hung", "client_disconnected", ago=MINUTE / 2)
    gone(acme, "late", "queue_timeout", ago=16 * MINUTE, e2e_s=840.0)
    gone(acme, "limited", "rate_limit_exceeded")  # never stood in a line
    gone(acme, "answered", "client_disconnected", queue_wait_s=0.1)  # had its slot
    gone(acme, "other", "evicted", tier="standard")

    assert set(shown(vic)) == {"hung", "full", "late", "other"}
    assert shown(vic, tier="batch", minutes="15") == ["hung", "full", "late"]
    assert shown(vic, tier="batch", how="expired") == ["late"]
    html = vic.get("/live/lost/", {"tier": "batch"}).content.decode()
    assert "3 in the last 15 min" in html
    assert "429 <span" in html


def test_what_is_older_or_nothing_is_told_in_words(vic, acme):
    gone(acme, "old", "queue_full", ago=30 * MINUTE)

    assert shown(vic) == []
    assert shown(vic, minutes="60") == ["old"]
    assert shown(vic, minutes="soon", tier="x\0") == []
    assert (
        "Nothing was lost of batch in the last 15 min."
        in vic.get("/live/lost/", {"tier": "batch"}).content.decode()
    )


def test_the_number_of_queries_is_fixed(vic, acme, django_assert_max_num_queries):
    for n in range(60):
        gone(acme, f"r{n}", "queue_full")
    vic.get("/live/lost/")

    with django_assert_max_num_queries(14):
        assert len(shown(vic)) == 50
    assert len(shown(vic, page="2")) == 10
