"""Owners hear of an end that comes near and of a network that is new: each once."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from dashboard.audit.models import AuditEvent
from dashboard.delivery.models import Channel, Delivery
from dashboard.tenants import reminders
from dashboard.tenants.tasks import remind_of_keys
from gateway.models import APIKey, KeyNetwork

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def channel():
    channel = Channel(name="owners", kind="ntfy", where="ntfy", reminders=True)
    channel.address = "ntfy://alarms"
    channel.save()
    other = Channel(name="pager", kind="ntfy", where="ntfy")
    other.address = "ntfy://pager"
    other.save()
    return channel


def key_of(acme, *, days: float, term: float = 180, **values: object) -> APIKey:
    """One that ends ``days`` from NOW and was made ``term`` days before its end."""
    ends = NOW + days * DAY
    key, _ = APIKey.objects.issue(acme, f"prod-{days}-{term}", expires_at=ends)
    APIKey.objects.filter(pk=key.pk).update(created_at=ends - term * DAY, **values)
    key.refresh_from_db()
    return key


def titles() -> list[str]:
    return [row.message["title"] for row in Delivery.objects.order_by("pk")]


@pytest.mark.parametrize(
    ("days", "term", "due"),
    [
        (14.1, 180, None),
        (14, 180, 14),
        (3.1, 180, 14),
        (3, 180, 3),
        (1.1, 180, 3),
        (1, 180, 1),
        (0.1, 180, 1),
        (0, 180, None),
        (-1, 180, None),
        (7, 7, None),
        (2.9, 7, 3),
        (0.5, 0.75, None),
    ],
)
def test_the_nearest_mark_that_is_passed_is_due_unless_it_lay_behind_at_the_start(
    acme, days, term, due
):
    assert reminders.days_before(key_of(acme, days=days, term=term), NOW) == due


def test_each_mark_is_told_once_to_the_channels_for_it(acme, channel):
    key = key_of(acme, days=20)
    for hour in range(0, 21 * 24, 6):
        reminders.tell_of_ends(NOW + timedelta(hours=hour))
        reminders.tell_of_ends(NOW + timedelta(hours=hour))

    assert [title.rpartition("ends in ")[2] for title in titles()] == ["14 days", "3 days", "24 h"]
    assert {row.channel for row in Delivery.objects.all()} == {channel}
    assert all(key.id8 in title for title in titles())
    assert "/tenant/acme/" in Delivery.objects.first().message["link"]


def test_a_prolonged_key_is_told_of_again_before_its_new_end(acme):
    key = key_of(acme, days=2)
    reminders.tell_of_ends(NOW)
    APIKey.objects.filter(pk=key.pk).update(expires_at=NOW + 30 * DAY)
    reminders.tell_of_ends(NOW)
    assert len(titles()) == 1
    reminders.tell_of_ends(NOW + 28 * DAY)

    assert len(titles()) == 2


def test_of_a_key_that_is_off_or_has_a_successor_nothing_is_told(acme, birch):
    key_of(acme, days=2, status="revoked")
    key_of(acme, days=2.1, status="disabled")
    key_of(acme, days=2.2, rotated_at=NOW)
    key_of(birch, days=2)
    birch.status = "suspended"
    birch.save()
    reminders.tell_of_ends(NOW)

    assert titles() == []


def seen(key: APIKey, network: str, at: datetime = NOW) -> None:
    KeyNetwork.objects.all().note({(key.id8, network): at})


def test_the_first_network_is_no_news_and_the_next_is(acme):
    key, _ = APIKey.objects.issue(acme, "prod")
    seen(key, "10.2.0.0/24")
    reminders.tell_of_networks(NOW)
    assert titles() == []

    seen(key, "10.2.7.0/24")
    seen(key, "10.2.0.0/24")
    reminders.tell_of_networks(NOW)
    reminders.tell_of_networks(NOW)
    assert titles() == [f"The key prod ({key.id8}) of Acme is used from a new network"]
    assert Delivery.objects.get().message["lines"][0] == "10.2.7.0/24"
    event = AuditEvent.objects.get(verb="key.new_network")
    assert (event.actor, event.tenant, event.after) == (
        "system",
        "acme",
        {"network": "10.2.7.0/24"},
    )


def test_a_key_that_roams_is_told_of_once_a_day_and_all_of_it_stands_in_the_trail(acme):
    key, _ = APIKey.objects.issue(acme, "prod")
    for n in range(9):
        seen(key, f"10.2.{n}.0/24", NOW + timedelta(seconds=n))
    reminders.tell_of_networks(NOW)
    seen(key, "10.9.9.0/24")
    reminders.tell_of_networks(NOW)

    assert len(titles()) == 1
    assert Delivery.objects.get().message["lines"][0].endswith("10.2.5.0/24 and 3 more")
    assert AuditEvent.objects.filter(verb="key.new_network").count() == 9


def test_a_network_of_a_key_that_is_gone_stops_nothing(acme):
    key, _ = APIKey.objects.issue(acme, "prod")
    KeyNetwork.objects.all().note(
        {("GONE0000", "10.0.0.0/24"): NOW, ("GONE0000", "10.0.1.0/24"): NOW}
    )
    APIKey.objects.filter(pk=key.pk).update(
        expires_at=timezone.now() + 2 * DAY, created_at=timezone.now() - 90 * DAY
    )
    remind_of_keys()

    assert len(titles()) == 1
    assert not KeyNetwork.objects.filter(told=False).exists()
