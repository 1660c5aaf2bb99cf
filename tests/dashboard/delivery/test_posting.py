"""A message is written once a channel, and its channel's address stands nowhere in the clear."""

from datetime import UTC, datetime

import pytest

from dashboard.delivery import Message, post
from dashboard.delivery.models import Channel, Delivery
from dashboard.delivery.sealing import Unreadable

pytestmark = pytest.mark.django_db

AT = datetime(2026, 11, 26, 10, 24, tzinfo=UTC)
MESSAGE = Message(
    kind="firing",
    severity="warn",
    title="standard (0): wait p95 over 1 m",
    lines=("now 2m27", "since 11:20"),
    link="https://laneway.example/live",
    ack_link="https://laneway.example/ack/x",
    at=AT,
)


def channel(name: str, **values: object) -> Channel:
    row = Channel(name=name, kind="slack", where="hooks.slack.com", **values)
    row.address = f"slack://TOKENA/TOKENB/{name}"
    row.save()
    return row


def test_one_row_a_channel_however_often_it_is_posted():
    channels = [channel("oncall"), channel("quiet")]

    post(MESSAGE, channels, "incident-7:firing")
    post(MESSAGE, channels, "incident-7:firing")
    post(MESSAGE, channels, "incident-7:resolved")

    rows = Delivery.objects.filter(dedupe="incident-7:firing")
    assert sorted(row.channel.name for row in rows) == ["oncall", "quiet"]
    assert Delivery.objects.count() == 4
    assert {row.state for row in rows} == {"queued"}


def test_a_disabled_channel_is_told_nothing():
    post(MESSAGE, [channel("oncall", enabled=False)], "incident-7:firing")

    assert not Delivery.objects.exists()


def test_a_message_comes_back_from_its_row_as_it_was():
    post(MESSAGE, [channel("oncall")], "incident-7:firing")

    assert Message.from_json(Delivery.objects.get().message) == MESSAGE


def test_an_address_is_sealed_and_opens_with_the_same_secret_key_alone(settings):
    row = channel("oncall")
    kept = Channel.objects.get(pk=row.pk)

    assert "TOKENB" not in kept.sealed_address
    assert kept.address == "slack://TOKENA/TOKENB/oncall"
    settings.SECRET_KEY = "another one"
    with pytest.raises(Unreadable, match="LANEWAY_SECRET_KEY"):
        _ = kept.address
