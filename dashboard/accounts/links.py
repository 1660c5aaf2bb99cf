"""Links that work once: for whom somebody invited, and for whom a password is lost."""

import hashlib
import secrets
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.urls import reverse

from dashboard.accounts.models import OneTimeLink

TERM = timedelta(days=3)


def make(person: User, now: datetime) -> str:
    """The path of a new link; an older one of the same person stops working."""
    token = secrets.token_urlsafe(32)
    OneTimeLink.objects.update_or_create(
        user=person, defaults={"digest": _digest(token), "expires_at": now + TERM}
    )
    return reverse("accounts:welcome", args=[token])


def find(token: str, now: datetime) -> OneTimeLink | None:
    """The link, if it still works: not used, not too old, and its person not switched off."""
    rows = OneTimeLink.objects.select_related("user").filter(user__is_active=True)
    return rows.filter(digest=_digest(token), expires_at__gt=now).first()


def use(link: OneTimeLink) -> bool:
    """Of two who use it at once, one does."""
    used, _ = OneTimeLink.objects.filter(pk=link.pk, digest=link.digest).delete()
    return bool(used)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
