"""Every change of a channel: the row and the audit entry in one transaction, addresses in neither's clear."""

import hashlib
import json
import secrets
from base64 import b64encode
from typing import Any

from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from dashboard.audit.log import changed, record
from dashboard.delivery.addresses import Target
from dashboard.delivery.message import Message
from dashboard.delivery.models import Channel, Delivery
from dashboard.delivery.posting import post, post_again

DISABLED = "The channel was disabled before this was sent."


@transaction.atomic
def add(
    request: HttpRequest, name: str, address: str, target: Target, *, reminders: bool
) -> tuple[Channel, str]:
    """The new channel and, for a webhook, the secret its signatures are made with: show it once."""
    by = request.user.get_username()
    channel = Channel(name=name, reminders=reminders, created_by=by)
    signing = _lead_to(channel, address, target)
    channel.save()
    _record(request, "channel.created", channel, after=_told_of(channel))
    return channel, signing


class Moved(Exception):
    """The channel was saved from elsewhere since the form was opened."""


def fingerprint(channel: Channel) -> str:
    """Of all that an edit may change: the lock of two open pages."""
    sealed = [channel.sealed_address, channel.sealed_signing]
    text = json.dumps([_told_of(channel), sealed], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@transaction.atomic
def edit(
    request: HttpRequest,
    channel: Channel,
    name: str,
    address: str,
    target: Target | None,
    *,
    reminders: bool,
    new_signing: bool,
    seen: str = "",
) -> str:
    """Change it, the address where one was given.  A new signing secret is returned.

    Raises:
        Moved: the channel is no longer as it was ``seen`` (its ``fingerprint``).
    """
    channel = Channel.objects.select_for_update().get(pk=channel.pk)
    if seen and seen != fingerprint(channel):
        raise Moved
    before, signing = _told_of(channel), ""
    channel.name, channel.reminders = name, reminders
    if target is not None:
        signing = _lead_to(channel, address, target)
    elif new_signing:
        signing = channel.signing = make_signing()
    channel.save()
    old, new = changed(before, _told_of(channel))
    if target is not None:
        new["address"] = "(changed)"
    if signing:
        new["signing"] = "(changed)"
    if new:
        _record(request, "channel.edited", channel, before=old, after=new)
    return signing


@transaction.atomic
def switch(request: HttpRequest, channel: Channel, *, on: bool) -> bool:
    """Enable or disable.  What still waits for a channel that is disabled is not sent later."""
    moved = Channel.objects.filter(pk=channel.pk).exclude(enabled=on).update(enabled=on)
    if moved:
        verb = "channel.enabled" if on else "channel.disabled"
        after = {} if on else {"not_sent": channel.deliveries.give_up(timezone.now(), DISABLED)}
        _record(request, verb, channel, after=after)
    return bool(moved)


@transaction.atomic
def delete(request: HttpRequest, channel: Channel) -> None:
    _record(request, "channel.deleted", channel, before=_told_of(channel))
    channel.delete()


@transaction.atomic
def send_test(request: HttpRequest, channel: Channel) -> Delivery:
    by, dedupe = request.user.get_username(), f"test-{secrets.token_hex(8)}"
    message = Message(
        kind="test",
        severity="info",
        title="Test message from Laneway",
        lines=(f"{by} tries the channel {channel.name}. There is nothing to do.",),
        link=request.build_absolute_uri("/"),
        at=timezone.now(),
    )
    post(message, [channel], dedupe)
    _record(request, "channel.tested", channel)
    return channel.deliveries.get(dedupe=dedupe)


@transaction.atomic
def retry(request: HttpRequest, row: Delivery) -> bool:
    moved = post_again(row)
    if moved:
        _record(request, "delivery.retried", row.channel, after={"message": row.message["title"]})
    return moved


def make_signing() -> str:
    return "whsec_" + b64encode(secrets.token_bytes(24)).decode()


def _lead_to(channel: Channel, address: str, target: Target) -> str:
    channel.address, channel.kind, channel.where = address, target.kind, target.where
    signing = ""
    if target.kind == Channel.Kind.WEBHOOK and not channel.sealed_signing:
        signing = channel.signing = make_signing()
    return signing


def _told_of(channel: Channel) -> dict[str, Any]:
    return {
        "name": channel.name,
        "kind": channel.kind,
        "where": channel.where,
        "reminders": channel.reminders,
    }


def _record(request: HttpRequest, verb: str, channel: Channel, **details: Any) -> None:
    record(request.user, verb, f"channel:{channel.name}", request=request, **details)
