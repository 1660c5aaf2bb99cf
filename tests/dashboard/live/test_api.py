"""GET /api/v1/live: the newest frame for machines and people."""

from datetime import timedelta

import pytest
from django.core.cache import cache
from django.utils import timezone

from gateway import newest
from gateway.models import APIKey, Tenant
from tests.support.people import person

pytestmark = pytest.mark.django_db
FRAME = '{"v":1,"seq":7}'


@pytest.fixture(autouse=True)
def frame():
    cache.set(newest.FRAME, FRAME, 5)
    yield
    cache.clear()


@pytest.fixture
def ask(client):
    return lambda key: client.get("/api/v1/live", headers={"Authorization": f"Bearer {key}"})


def admin(acme, **more):
    return APIKey.objects.issue(acme, "board", kind="admin", **more)


def test_a_person_gets_the_frame_as_it_was_published(client):
    client.force_login(person("otto", "viewer"))

    answer = client.get("/api/v1/live")

    assert (answer.status_code, answer.content.decode()) == (200, FRAME)
    assert answer["Content-Type"] == "application/json"


def test_an_admin_key_gets_it_too(ask, acme):
    _, key = admin(acme)

    assert ask(key).json() == {"v": 1, "seq": 7}


@pytest.mark.parametrize("kind", ["live", "test"])
def test_a_key_for_models_does_not(ask, acme, kind):
    _, key = APIKey.objects.issue(acme, "prod", kind=kind)

    answer = ask(key)

    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "key_not_admin")


def test_a_stranger_learns_nothing(client):
    answer = client.get("/api/v1/live")

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_a_wrong_secret_with_a_right_id_is_like_an_unknown_key(ask, acme):
    row, _ = admin(acme)
    other, key = APIKey.objects.issue(acme, "second", kind="admin")
    APIKey.objects.filter(pk=row.pk).delete()
    APIKey.objects.filter(pk=other.pk).update(digest=bytes(32))

    assert ask(key).json()["error"]["code"] == "invalid_api_key"


def test_a_cut_off_key_is_told_so(ask, acme):
    _, key = admin(acme)
    swapped = key[:-1] + ("0" if key[-1] != "0" else "1")

    assert "mistyped" in ask(swapped).json()["error"]["message"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"status": "disabled"}, "key_disabled"),
        ({"status": "revoked"}, "key_revoked"),
        ({"expires_at": timezone.now() - timedelta(days=1)}, "key_expired"),
        ({"not_before": timezone.now() + timedelta(days=1)}, "key_not_yet_valid"),
        ({"retires_at": timezone.now() - timedelta(days=1)}, "key_rotated"),
    ],
)
def test_a_key_out_of_use_is_refused_with_the_reason(ask, acme, change, code):
    row, key = admin(acme)
    assert ask(key).status_code == 200

    APIKey.objects.filter(pk=row.pk).update(**change)

    assert (ask(key).status_code, ask(key).json()["error"]["code"]) == (401, code)


def test_a_suspended_tenant_s_key_is_refused(ask, acme):
    _, key = admin(acme)
    Tenant.objects.filter(pk=acme.pk).update(status=Tenant.Status.SUSPENDED)

    assert ask(key).json()["error"]["code"] == "tenant_suspended"


def test_without_a_frame_the_answer_says_that_nothing_is_known(ask, acme):
    _, key = admin(acme)
    cache.clear()

    answer = ask(key)

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_live_state")
    assert answer["Retry-After"] == "1"


def test_only_reading_is_possible(client):
    assert client.post("/api/v1/live").status_code == 405


@pytest.mark.parametrize(
    ("networks", "status"), [(["127.0.0.0/8"], 200), (["10.0.0.0/8"], 403), (["home"], 403)]
)
def test_a_key_bound_to_networks_is_refused_from_elsewhere(ask, acme, networks, status):
    row, key = admin(acme)
    APIKey.objects.filter(pk=row.pk).update(rules={"networks": networks})

    assert ask(key).status_code == status
