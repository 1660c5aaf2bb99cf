"""Acts that Django performs and tells of by signals: signing in and out, and the break-glass admin."""

from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.models.signals import post_save
from django.dispatch import receiver
from django.http import HttpRequest

from dashboard.audit.log import record

NAMED = 150


@receiver(user_logged_in)
def signed_in(request: HttpRequest, user: User, **_: Any) -> None:
    record(user, "person.signed_in", _person(user), request=request)


@receiver(user_logged_out)
def signed_out(request: HttpRequest, user: User | None, **_: Any) -> None:
    if user is not None:
        record(user, "person.signed_out", _person(user), request=request)


@receiver(user_login_failed)
def refused(credentials: dict[str, Any], request: HttpRequest | None = None, **_: Any) -> None:
    """Under the name that was tried, if somebody has it: else it may be a password typed there."""
    name = str(credentials.get("username", ""))[:NAMED]
    known = User.objects.filter(username=name).exists()
    said = f"person:{name if known else '(unknown)'}"
    record("nobody", "person.sign_in_refused", said, request=request)


@receiver(post_save, sender=LogEntry)
def saved_in_break_glass(instance: LogEntry, created: bool, **_: Any) -> None:
    if created:
        kind = instance.content_type.name if instance.content_type else "?"
        record(
            instance.user,
            "breakglass.saved",
            f"{kind}:{instance.object_repr}",
            after={"what": instance.get_change_message()},
        )


def _person(user: User) -> str:
    return f"person:{user.get_username()}"
