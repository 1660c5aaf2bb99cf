"""A message is written once a channel, and its channel's address stands nowhere in the clear."""

import pytest

from dashboard.delivery.message import Message
from dashboard.delivery.models import Channel, Delivery
from dashboard.delivery.posting import post
from dashboard.delivery.sealing import Unreadable

pytestmark = pytest.mark.django_db

SLACK = "slack://TOKENA/TOKENB/TOKENC"


def test_one_row_a_channel_however_often_it_is_posted(add, message):
    channels = [add("oncall", SLACK), add("quiet", SLACK)]

    post(message, channels, "incident-7:firing")
    post(message, channels, "incident-7:firing")
    post(message, channels, "incident-7:resolved")

    rows = Delivery.objects.filter(dedupe="incident-7:firing")
    assert sorted(row.channel.name for row in rows) == ["oncall", "quiet"]
    assert Delivery.objects.count() == 4
    assert {row.state for row in rows} == {"queued"}


def test_a_disabled_channel_is_told_nothing(add, message):
    post(message, [add("oncall", SLACK, enabled=False)], "incident-7:firing")

    assert not Delivery.objects.exists()


def test_a_message_comes_back_from_its_row_as_it_was(add, message):
    post(message, [add("oncall", SLACK)], "incident-7:firing")

    assert Message.from_json(Delivery.objects.get().message) == message


def test_an_address_is_sealed_and_opens_with_the_same_secret_key_alone(add, settings):
    kept = Channel.objects.get(pk=add("oncall", SLACK).pk)

    assert "TOKENB" not in kept.sealed_address
    assert kept.address == SLACK
    settings.SECRET_KEY = "another one"
    with pytest.raises(Unreadable, match="LANEWAY_SECRET_KEY"):
        _ = kept.address
