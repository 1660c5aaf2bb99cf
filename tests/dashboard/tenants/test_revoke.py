"""Whoever holds a key can end it at /revoke/, and the page keeps nothing of it."""

import logging

import pytest
from django.core.cache import cache
from django.test import Client

from dashboard.audit.models import AuditEvent
from dashboard.delivery.models import Channel, Delivery
from dashboard.tenants.revoke import TRIES
from gateway.models import APIKey

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nobody_tried():
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def issued(acme) -> tuple[APIKey, str]:
    return APIKey.objects.issue(acme, "prod")


def test_a_holder_revokes_the_key_and_its_owner_is_told(client, issued, caplog):
    caplog.set_level(logging.DEBUG)
    key, whole = issued
    channel = Channel(name="owners", kind="ntfy", where="ntfy", reminders=True)
    channel.address = "ntfy://alarms"
    channel.save()
    answer = client.post("/revoke/", {"key": f"  {whole} "})

    key.refresh_from_db()
    assert key.status == "revoked"
    assert answer.status_code == 200
    assert key.id8 in answer.content.decode()
    secret = whole.rpartition("_")[2]
    assert secret not in answer.content.decode()
    assert secret not in caplog.text
    event = AuditEvent.objects.get(verb="key.revoked")
    assert (event.actor, event.tenant) == (f"key {key.id8}", "acme")
    assert secret not in str(event.document())
    told = Delivery.objects.get().message
    assert "revoked by somebody who holds it" in told["title"]
    assert secret not in str(told)


def test_a_second_time_changes_and_tells_nothing(client, issued):
    _, whole = issued
    client.post("/revoke/", {"key": whole})
    answer = client.post("/revoke/", {"key": whole})

    assert b"It was revoked before" in answer.content
    assert AuditEvent.objects.filter(verb="key.revoked").count() == 1


@pytest.mark.parametrize("kind", ["unknown", "mistyped", "nothing", "nul", "long", "id of another"])
def test_what_is_no_key_gets_one_answer_and_is_not_shown_again(client, issued, birch, kind):
    key, whole = issued
    other, other_whole = APIKey.objects.issue(birch, "else")
    other.delete()
    said = {
        "unknown": other_whole,
        "mistyped": whole[:-1] + ("a" if whole[-1] != "a" else "b"),
        "nothing": "",
        "nul": whole + "\0",
        "long": whole * 9,
        "id of another": whole.replace(key.id8, "EXAMPLE0"),
    }[kind]
    answer = client.post("/revoke/", {"key": said})

    assert answer.status_code == 422
    assert whole[17:40] not in answer.content.decode()
    key.refresh_from_db()
    assert key.status == "active"


def test_a_forged_form_revokes_nothing(issued):
    key, whole = issued
    browser = Client(enforce_csrf_checks=True)

    assert browser.post("/revoke/", {"key": whole}).status_code == 403
    key.refresh_from_db()
    assert key.status == "active"


def test_one_address_tries_so_often_a_minute(client, issued):
    _, whole = issued
    for _ in range(TRIES):
        assert client.post("/revoke/", {"key": "x"}).status_code == 422
    answer = client.post("/revoke/", {"key": whole})

    assert (answer.status_code, answer["Retry-After"]) == (429, "60")
    other = client.post("/revoke/", {"key": whole}, REMOTE_ADDR="10.0.0.9")
    assert other.status_code == 200
