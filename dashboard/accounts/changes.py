"""Every change of who may: the rows and the audit entry, in one transaction.

A change that finds itself already done does nothing and records nothing.
"""

from collections.abc import Iterable
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from dashboard.accounts import links
from dashboard.accounts.roles import GUARDED, ROLES
from dashboard.audit.log import record


class Moved(Exception):
    """Somebody else changed the person's roles since this page was made."""


def roles_of(person: User) -> set[str]:
    """Also those that rest until there is a second factor."""
    return set(person.groups.filter(name__in=ROLES).values_list("name", flat=True))


def told(roles: Iterable[str]) -> str:
    return ", ".join(role for role in ROLES if role in set(roles)) or "none"


@transaction.atomic
def invite(request: HttpRequest, name: str, mail: str, roles: Iterable[str]) -> User:
    person = User(username=name, email=mail)
    person.set_unusable_password()
    person.save()
    _record(request, "person.created", person, after={"mail": mail} if mail else None)
    set_roles(request, person, roles)
    return person


@transaction.atomic
def set_roles(
    request: HttpRequest,
    person: User,
    roles: Iterable[str],
    *,
    by: str = "",
    reason: str = "",
    seen: str = "",
) -> bool:
    """Who loses a role of the first person's two loses the break-glass pages with it.

    Raises:
        Moved: their roles are no longer those that were ``seen`` (as ``told``).
    """
    User.objects.select_for_update().get(pk=person.pk)
    before, after = roles_of(person), set(roles)
    if seen and seen != told(before):
        raise Moved
    if before == after:
        return False
    person.groups.remove(*Group.objects.filter(name__in=before - after))
    person.groups.add(*[Group.objects.get_or_create(name=role)[0] for role in after - before])
    if person.is_superuser and not after.issuperset(GUARDED):
        person.is_staff = person.is_superuser = False
        person.save(update_fields=["is_staff", "is_superuser"])
    sides = ({"roles": sorted(before)}, {"roles": sorted(after)})
    _record(
        request,
        "person.roles_changed",
        person,
        by=by,
        before=sides[0],
        after=sides[1],
        reason=reason,
    )
    return True


@transaction.atomic
def switch(request: HttpRequest, person: User, on: bool, reason: str) -> bool:
    moved = User.objects.filter(pk=person.pk, is_active=not on).update(is_active=on)
    if moved:
        if not on:
            _end_sessions(person)
        verb = "person.switched_on" if on else "person.switched_off"
        _record(request, verb, person, reason=reason)
    return bool(moved)


@transaction.atomic
def reset_factors(request: HttpRequest, person: User, reason: str) -> bool:
    """The lost phone: all second factors go, and every session with them."""
    rows = Authenticator.objects.filter(user=person)
    kinds = sorted(rows.values_list("type", flat=True))
    if kinds:
        rows.delete()
        _end_sessions(person)
        _record(request, "person.factors_reset", person, before={"factors": kinds}, reason=reason)
    return bool(kinds)


@transaction.atomic
def end_sessions(request: HttpRequest, person: User, reason: str) -> bool:
    ended = _end_sessions(person)
    if ended:
        _record(request, "person.sessions_ended", person, after={"sessions": ended}, reason=reason)
    return bool(ended)


@transaction.atomic
def give_link(request: HttpRequest, person: User, reason: str = "") -> str:
    """The address of a one-time link, to be shown once."""
    path = links.make(person, timezone.now())
    _record(request, "person.link_made", person, reason=reason)
    return request.build_absolute_uri(path)


def _end_sessions(person: User) -> int:
    rows = list(UserSession.objects.filter(user=person))
    for row in rows:
        row.end()
    return len(rows)


def _record(request: HttpRequest, verb: str, person: User, *, by: str = "", **details: Any) -> None:
    name = f"person:{person.get_username()}"
    record(by or request.user, verb, name, request=request, **details)
