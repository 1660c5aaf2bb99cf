from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from dashboard.delivery.message import Message
from dashboard.delivery.models import Channel
from tests.support.receivers import MailReceiver, WebReceiver, mail_receiver, web_receiver

SIGNING = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE = Message(
    kind="firing",
    severity="warn",
    title="standard (0): wait p95 over 1 m",
    lines=("now 2m27", "since 11:20"),
    link="https://laneway.example/live",
    ack_link="https://laneway.example/ack/x",
    at=datetime(2026, 11, 26, 10, 24, tzinfo=UTC),
)


@pytest.fixture
def message() -> Message:
    return MESSAGE


@pytest.fixture
def web() -> Iterator[tuple[WebReceiver, int]]:
    with web_receiver() as pair:
        yield pair


@pytest.fixture
def mail() -> Iterator[tuple[MailReceiver, int]]:
    with mail_receiver() as pair:
        yield pair


@pytest.fixture
def add(db: None) -> Callable[..., Channel]:
    def channel(name: str, address: str, kind: str = "slack", **values: object) -> Channel:
        row = Channel(name=name, kind=kind, where="somewhere", **values)
        row.address = address
        row.signing = SIGNING
        row.save()
        return row

    return channel
