"""Acts that Django and allauth perform and tell of by signals: signing in and out, second factors,
and the break-glass admin.
"""

from typing import Any

from allauth.account.authentication import get_authentication_records
from allauth.mfa import signals as factors
from allauth.mfa.models import Authenticator
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.models import Q
from django.db.models.signals import post_save
from django.dispatch import receiver
from django.http import HttpRequest

from dashboard.audit.log import record
from dashboard.audit.refusals import refuse, tell_of_the_rest

NAMED = 150


@receiver(user_logged_in)
def signed_in(request: HttpRequest, user: User, **_: Any) -> None:
    tell_of_the_rest()
    steps = [step.get("type", step["method"]) for step in get_authentication_records(request, user)]
    by = {"by": list(dict.fromkeys(steps))} if steps else None
    record(user, "person.signed_in", _person(user), after=by, request=request)


@receiver(user_logged_out)
def signed_out(request: HttpRequest, user: User | None, **_: Any) -> None:
    if user is not None:
        record(user, "person.signed_out", _person(user), request=request)


@receiver(user_login_failed)
def refused(credentials: dict[str, Any], request: HttpRequest | None = None, **_: Any) -> None:
    """Under the name that was tried, if somebody has it: else it may be a password typed there."""
    tried = str(credentials.get("username") or credentials.get("email") or "")[:NAMED]
    known = User.objects.filter(Q(username=tried) | Q(email=tried.lower(), email__gt="")).first()
    refuse(_person(known) if known else "person:(unknown)", request)


@receiver(factors.authentication_failed)
def factor_refused(request: HttpRequest, user: User, **_: Any) -> None:
    refuse(_person(user), request, step="second factor")


@receiver(factors.authenticator_added)
def factor_added(**told: Any) -> None:
    _factor("person.factor_added", **told)


@receiver(factors.authenticator_removed)
def factor_removed(**told: Any) -> None:
    _factor("person.factor_removed", **told)


@receiver(factors.authenticator_reset)
def codes_renewed(**told: Any) -> None:
    _factor("person.recovery_codes_renewed", **told)


@receiver(factors.authenticator_used)
def factor_used(authenticator: Authenticator, **told: Any) -> None:
    """A recovery code is rare and worth a look; the others are told with the sign-in."""
    if authenticator.type == Authenticator.Type.RECOVERY_CODES:
        _factor("person.recovery_code_used", authenticator=authenticator, **told)


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


def _factor(
    verb: str, request: HttpRequest, user: User, authenticator: Authenticator, **_: Any
) -> None:
    after = {"kind": str(authenticator.type)}
    record(user, verb, _person(user), after=after, request=request)
