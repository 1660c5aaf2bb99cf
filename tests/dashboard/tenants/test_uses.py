"""Who still uses a key, and when one that retires may be ended early."""

from datetime import timedelta

import pytest
from django.utils import timezone

from gateway.models import APIKey, KeyNetwork
from tests.support.people import member, person
from tests.support.usage import used

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


@pytest.fixture
def ada(client):
    client.force_login(person("ada", "admin"))
    return client


def retiring(acme, *, rotated: float, last_used: float | None) -> APIKey:
    """A key replaced and last used so many hours ago, with a day left from its rotation on."""
    now = timezone.now()
    key, _ = APIKey.objects.issue(acme, "prod-0")
    key.rotate(now - rotated * HOUR, 24 * HOUR, "prod-1", None)
    at = now - last_used * HOUR if last_used is not None else None
    APIKey.objects.filter(pk=key.pk).update(last_used_at=at)
    return key


@pytest.mark.parametrize(
    ("rotated", "last_used", "offered"),
    [
        (7, 7, True),
        (7, 6.1, True),
        (7, 5.9, False),
        (5, 20, False),
        (7, None, True),
        (25, 20, False),
    ],
)
def test_it_may_be_ended_after_six_quiet_hours(ada, acme, rotated, last_used, offered):
    key = retiring(acme, rotated=rotated, last_used=last_used)
    end = f"/tenant/acme/keys/{key.id8}/revoke/"
    page = ada.get(f"/tenant/acme/keys/{key.id8}/uses/").content.decode()

    assert (f'href="{end}">End now' in page) == offered
    assert (f'href="{end}">end now' in ada.get("/tenant/acme/").content.decode()) == offered


def test_the_page_says_from_where_and_for_what(ada, acme):
    key = retiring(acme, rotated=1, last_used=0.1)
    now = timezone.now()
    KeyNetwork.objects.all().note(
        {(key.id8, "10.2.7.0/24"): now - HOUR, (key.id8, "10.9.0.0/24"): now - 30 * HOUR}
    )
    used(acme, key.id8, times=2, ago=HOUR)
    used(acme, "ANOTHER0", model="gemma")
    page = ada.get(f"/tenant/acme/keys/{key.id8}/uses/").content.decode()

    assert "10.2.7.0/24" in page
    assert "10.9.0.0/24" not in page
    assert "gemma" not in page
    assert 'data-label="Requests">2<' in page


def test_a_key_nobody_uses_says_so(ada, acme):
    key, _ = APIKey.objects.issue(acme, "prod")
    page = ada.get(f"/tenant/acme/keys/{key.id8}/uses/").content.decode()

    assert "From nowhere." in page
    assert "no request came with it" in page


def test_another_tenants_key_is_not_there(client, acme, birch):
    key, _ = APIKey.objects.issue(acme, "prod")
    client.force_login(member("ben", birch))

    assert client.get(f"/tenant/acme/keys/{key.id8}/uses/").status_code == 404
    assert client.get(f"/tenant/birch/keys/{key.id8}/uses/").status_code == 404
