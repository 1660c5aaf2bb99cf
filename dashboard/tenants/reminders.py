"""Messages about keys: an end that comes near, a network not seen before, a finder who revokes.

Each goes once to each channel that is to be told of keys.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import groupby

from django.conf import settings
from django.db import transaction
from django.urls import reverse

from dashboard.audit.log import record
from dashboard.delivery.message import Message
from dashboard.delivery.models import Channel
from dashboard.delivery.posting import post
from gateway.models import APIKey, KeyNetwork, Tenant

DAYS = (1, 3, 14)
MOST_NETWORKS = 5  # in one message


def days_before(key: APIKey, now: datetime) -> int | None:
    """Which reminder of the key's end is due: the one of the nearest mark it has passed.

    A mark that lay behind already when the key was made is none: whoever made it knew.
    """
    if key.expires_at is None or key.expires_at <= now:
        return None
    for days in DAYS:
        mark = key.expires_at - timedelta(days=days)
        if mark <= now:
            return days if mark > key.created_at else None
    return None


def tell_of_ends(now: datetime) -> None:
    """A key that has a successor ends on purpose, and one that is off needs no word."""
    ending = APIKey.objects.filter(
        status=APIKey.Status.ACTIVE,
        tenant__status=Tenant.Status.ACTIVE,
        rotated_at=None,
        expires_at__gt=now,
        expires_at__lte=now + timedelta(days=max(DAYS)),
    )
    channels = list(Channel.objects.for_reminders())
    for key in ending.select_related("tenant"):
        days = days_before(key, now)
        if days is not None and key.expires_at is not None:
            message = _ends(key, key.expires_at, now)
            # With the moment: a key whose term is prolonged is told of again before its new end.
            post(message, channels, f"key-{key.id8}-ends-{key.expires_at:%Y%m%d%H%M}.{days}")


def tell_of_networks(now: datetime) -> None:
    """What is new goes into the tenant's trail; a key's owner gets at most a message a day."""
    waiting = KeyNetwork.objects.filter(told=False).order_by("key_id8", "first_seen_at")
    for id8, group in groupby(list(waiting), lambda row: row.key_id8):
        key = APIKey.objects.select_related("tenant").filter(id8=id8).first()
        with transaction.atomic():
            new = [row for row in group if _claimed(row)]
            known = KeyNetwork.objects.filter(key_id8=id8).exclude(pk__in=[row.pk for row in new])
            if not known.exists():
                new = new[1:]  # where a key is used first is no news
            if key is not None and new:
                _tell_of(key, [row.network for row in new], now)


def tell_of_revocation(key: APIKey, networks: Iterable[str], now: datetime) -> None:
    used = (
        f"It was last used {_at(key.last_used_at)}." if key.last_used_at else "It was never used."
    )
    seen = ", ".join(networks)
    message = Message(
        kind="reminder",
        severity="warn",
        title=f"The key {key.name} ({key.id8}) of {key.tenant.name} was revoked by somebody who holds it",
        lines=(
            "Whoever had it gave it up at /revoke: it may have been found where it should not be.",
            used + (f" Lately from {seen}." if seen else ""),
            "Issue another one for what still uses it.",
        ),
        link=_page(key),
        at=now,
    )
    post(message, Channel.objects.for_reminders(), f"key-{key.id8}-revoked")


def _claimed(row: KeyNetwork) -> bool:
    return bool(KeyNetwork.objects.filter(pk=row.pk, told=False).update(told=True))


def _tell_of(key: APIKey, networks: list[str], now: datetime) -> None:
    for network in networks:
        record(
            "system",
            "key.new_network",
            f"key:{key.id8}",
            tenant=key.tenant.slug,
            after={"network": network},
        )
    more = f" and {len(networks) - MOST_NETWORKS} more" if len(networks) > MOST_NETWORKS else ""
    message = Message(
        kind="reminder",
        severity="info",
        title=f"The key {key.name} ({key.id8}) of {key.tenant.name} is used from a new network",
        lines=(
            ", ".join(networks[:MOST_NETWORKS]) + more,
            "If this is not you, rotate the key, or bind it to your networks.",
        ),
        link=_page(key),
        at=now,
    )
    post(message, Channel.objects.for_reminders(), f"key-{key.id8}-network-{now:%Y%m%d}")


def _ends(key: APIKey, at: datetime, now: datetime) -> Message:
    left = at - now
    hours = max(1, round(left.total_seconds() / 3600))
    span = f"{hours} h" if hours < 36 else f"{round(hours / 24)} days"
    used = (
        f"It was last used {_at(key.last_used_at)}." if key.last_used_at else "It was never used."
    )
    return Message(
        kind="reminder",
        severity="warn" if left <= timedelta(days=3) else "info",
        title=f"The key {key.name} ({key.id8}) of {key.tenant.name} ends in {span}",
        lines=(f"It ends {_at(at)}. {used}", "Rotate it: both keys are valid for a while."),
        link=_page(key),
        at=now,
    )


def _at(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _page(key: APIKey) -> str:
    return f"{settings.LANEWAY_URL}{reverse('tenant:page', args=[key.tenant.slug])}"
