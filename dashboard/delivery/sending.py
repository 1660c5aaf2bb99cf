"""One try to deliver one message: by Apprise, or as a signed webhook."""

import json
import logging
import re
import threading
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote

import httpx
from django.utils import timezone
from standardwebhooks import Webhook

from dashboard.delivery.addresses import Unusable, target_of
from dashboard.delivery.guard import explained, public_only
from dashboard.delivery.message import Message
from dashboard.delivery.models import FIRST_PAUSE, Channel, Delivery
from dashboard.delivery.sealing import Unreadable

TIMEOUT_S = 10.0
LONGEST_PAUSE = timedelta(hours=1)  # whatever a server asks for
TRY_AGAIN = (408, 409, 425, 429)  # and all of 5xx; other refusals will be the same in a minute
LAST_PART = re.compile(r"[:-][^:-]+\Z")
FORGETTABLE = {"http", "https", "mailto", "mailtos", "insecure", "starttls", "channel", "from"}


class NotSent(Exception):
    """In words without a secret.  ``pause`` is the least before another try; None: do not try."""

    def __init__(self, why: str, pause: timedelta | None = FIRST_PAUSE) -> None:
        super().__init__(why)
        self.pause = pause


def send(delivery: Delivery) -> None:
    """
    Raises:
        NotSent: why, and whether another try makes sense.
    """
    channel = delivery.channel
    try:
        target = target_of(channel.address)
        with public_only() as met:
            if target.kind == Channel.Kind.WEBHOOK:
                _call(channel, delivery)
            else:
                _tell(target.plugin, channel, delivery)
    except (Unusable, Unreadable) as error:
        raise NotSent(str(error), None) from None
    except NotSent:
        if met:
            raise NotSent(explained(met[0]), None) from None
        raise


def _call(channel: Channel, delivery: Delivery) -> None:
    """POST it, signed per Standard Webhooks.  The id is that of the delivery: the same at each try."""
    message: dict[str, Any] = delivery.message
    body = json.dumps(
        {
            "type": f"laneway.{message['kind']}",
            "timestamp": message["at"] or delivery.created_at.isoformat(),
            "data": message,
        },
        ensure_ascii=False,
    )
    name, now = f"msg_{delivery.pk}_{delivery.created_at:%Y%m%d%H%M%S}", datetime.now(UTC)
    headers = {
        "content-type": "application/json",
        "user-agent": "Laneway",
        "webhook-id": name,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(channel.signing).sign(name, now, body),
    }
    try:
        # trust_env: a netrc or proxy of this machine is no part of the channel
        with httpx.Client(timeout=TIMEOUT_S, trust_env=False, follow_redirects=False) as http:
            with http.stream("POST", channel.address, content=body, headers=headers) as answer:
                _judge(answer)
    except httpx.TimeoutException:
        raise NotSent(f"No answer within {TIMEOUT_S:g} s.") from None
    except httpx.TransportError as error:
        raise NotSent(f"The connection failed ({type(error).__name__}).") from None


def _judge(answer: httpx.Response) -> None:
    status = answer.status_code
    if answer.is_success:
        return
    if answer.is_redirect:
        raise NotSent(f"Answered {status}, a redirect, which is not followed.", None)
    again = status >= 500 or status in TRY_AGAIN
    asked = answer.headers.get("retry-after", "")
    raise NotSent(f"Answered {status}.", _pause(asked, timezone.now()) if again else None)


def _pause(asked: str, now: datetime) -> timedelta:
    """``Retry-After`` in seconds or as a date; what cannot be read asks for nothing."""
    if asked.isascii() and asked.isdigit():
        wanted = timedelta(seconds=min(int(asked[:9]), 10**6))
    else:
        try:
            at = parsedate_to_datetime(asked)
        except ValueError:
            return FIRST_PAUSE
        wanted = at.replace(tzinfo=at.tzinfo or UTC) - now
    return max(FIRST_PAUSE, min(wanted, LONGEST_PAUSE))


def _tell(plugin: Any, channel: Channel, delivery: Delivery) -> None:
    message = Message.from_json(delivery.message)
    if channel.kind == Channel.Kind.PAGERDUTY:  # so that a resolution ends what its alarm began
        plugin.action, plugin.dedup = "map", LAST_PART.sub("", delivery.dedupe)
    logger, said = logging.getLogger("apprise"), _Said()
    logger.addHandler(said)
    try:
        done = plugin.notify(
            title=message.title, body=message.text() or message.title, notify_type=_tone(message)
        )
    finally:
        logger.removeHandler(said)
    if not done:
        why = said.lines[-1] if said.lines else "The service did not take it."
        raise NotSent(without(channel.address, why))


def _tone(message: Message) -> str:
    if message.kind == "resolved":
        return "success"
    return {"crit": "failure", "warn": "warning", "info": "info"}[message.severity]


class _Said(logging.Handler):
    """What Apprise tells of in this thread: it answers True or False and nothing else."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.lines.append(record.getMessage())


def without(address: str, text: str) -> str:
    """``text`` with every longer part of the address struck out."""
    parts = {unquote(part) for part in re.split(r"[:/@?&=#,]+", address)} - FORGETTABLE
    for part in sorted((part for part in parts if len(part) >= 4), key=len, reverse=True):
        text = text.replace(part, "…")
    return text
