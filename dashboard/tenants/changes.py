"""Every change of a tenant, its people and its keys: the rows and the audit entry, in one transaction.

A change that finds itself already done (a form sent twice) does nothing and records nothing.
"""

import hashlib
import json
from datetime import datetime, timedelta
from typing import Any, Literal

from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from msgspec import to_builtins

from dashboard.accounts.actor import actor
from dashboard.accounts.models import Invitation, Membership
from dashboard.audit.log import changed, record
from dashboard.tenants.reminders import tell_of_revocation
from gateway import keys
from gateway.core.policy import KeyRules
from gateway.models import APIKey, KeyNetwork, Tenant

Status = Literal["disabled", "active", "revoked"]
VERBS: dict[Status, str] = {
    "disabled": "key.disabled",
    "active": "key.enabled",
    "revoked": "key.revoked",
}
# From what a key may come to each status; a revoked key stays revoked.
FROM: dict[Status, tuple[str, ...]] = {
    "disabled": ("active",),
    "active": ("disabled",),
    "revoked": ("active", "disabled"),
}


@transaction.atomic
def make_tenant(request: HttpRequest | str, slug: str, name: str) -> Tenant:
    tenant = Tenant.objects.create(slug=slug, name=name)
    after = {"name": name, "status": tenant.status}
    _record(request, "tenant.created", f"tenant:{slug}", tenant, after=after)
    return tenant


@transaction.atomic
def rename_tenant(request: HttpRequest | str, tenant: Tenant, name: str) -> None:
    before, after = changed({"name": tenant.name}, {"name": name})
    if after:
        tenant.name = name
        tenant.save(update_fields=["name"])
        about = f"tenant:{tenant.slug}"
        _record(request, "tenant.renamed", about, tenant, before=before, after=after)


@transaction.atomic
def set_tenant_status(request: HttpRequest, tenant: Tenant, status: str, reason: str) -> bool:
    before = tenant.status
    moved = Tenant.objects.filter(pk=tenant.pk).exclude(status=status).update(status=status)
    if moved:
        verb = "tenant.suspended" if status == Tenant.Status.SUSPENDED else "tenant.resumed"
        _record(
            request,
            verb,
            f"tenant:{tenant.slug}",
            tenant,
            before={"status": before},
            after={"status": status},
            reason=reason,
        )
    return bool(moved)


@transaction.atomic
def issue_key(
    request: HttpRequest,
    tenant: Tenant,
    *,
    name: str,
    service: str,
    kind: keys.Kind,
    rules: KeyRules,
    expires_at: datetime | None,
) -> tuple[APIKey, str]:
    key, whole = APIKey.objects.issue(
        tenant, name, kind=kind, rules=rules, expires_at=expires_at, service=service
    )
    _record(request, "key.issued", f"key:{key.id8}", tenant, after=_told_of_new(key))
    return key, whole


@transaction.atomic
def rotate_key(
    request: HttpRequest, key: APIKey, overlap: timedelta, name: str, at: datetime
) -> tuple[APIKey, str]:
    """The successor gets as long a term as its predecessor had."""
    term = key.expires_at - key.created_at if key.expires_at else None
    successor, whole = key.rotate(at, overlap, name, at + term if term else None)
    _record(
        request,
        "key.rotated",
        f"key:{key.id8}",
        key.tenant,
        after={"retires_at": at + overlap, "successor": successor.id8, "status": key.status},
    )
    _record(
        request, "key.issued", f"key:{successor.id8}", key.tenant, after=_told_of_new(successor)
    )
    return successor, whole


class Moved(Exception):
    """Somebody else changed the key since this page was made."""


def fingerprint(key: APIKey) -> str:
    """Of all that an edit may change: the lock of two open pages."""
    text = json.dumps(told_of(key), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@transaction.atomic
def edit_key(request: HttpRequest, key: APIKey, values: dict[str, Any], seen: str = "") -> None:
    """Raises: Moved: the key is no longer as it was ``seen`` (its ``fingerprint``)."""
    key = APIKey.objects.select_for_update(of=("self",)).select_related("tenant").get(pk=key.pk)
    if seen and seen != fingerprint(key):
        raise Moved
    before = told_of(key)
    for column, value in values.items():
        setattr(key, column, to_builtins(value) if isinstance(value, KeyRules) else value)
    old, new = changed(before, told_of(key))
    if new:
        key.save(update_fields=list(values))
        _record(request, "key.edited", f"key:{key.id8}", key.tenant, before=old, after=new)


@transaction.atomic
def set_key_status(request: HttpRequest, key: APIKey, status: Status, reason: str) -> bool:
    rows = APIKey.objects.filter(pk=key.pk, status__in=FROM[status])
    moved = bool(rows.update(status=status))
    if moved:
        _record(
            request,
            VERBS[status],
            f"key:{key.id8}",
            key.tenant,
            before={"status": key.status},
            after={"status": status},
            reason=reason,
        )
    return moved


@transaction.atomic
def give_up_key(request: HttpRequest, key: APIKey) -> bool:
    """Revoke a key on the word of somebody who holds it; its owner is told."""
    moved = APIKey.objects.filter(pk=key.pk, status__in=FROM["revoked"]).update(status="revoked")
    if moved:
        record(
            f"key {key.id8}",
            VERBS["revoked"],
            f"key:{key.id8}",
            tenant=key.tenant.slug,
            before={"status": key.status},
            after={"status": "revoked"},
            reason="Given up at /revoke by somebody who holds it.",
            request=request,
        )
        now = timezone.now()
        networks = KeyNetwork.objects.all().of_key(key.id8).since(now - timedelta(days=1))
        tell_of_revocation(key, networks.values_list("network", flat=True)[:5], now)
    return bool(moved)


@transaction.atomic
def set_member(by: HttpRequest | str, tenant: Tenant, person: User, role: str) -> None:
    row = Membership.objects.filter(tenant=tenant, user=person).first()
    before = row.role if row else None
    if before != role:
        Membership.objects.update_or_create(tenant=tenant, user=person, defaults={"role": role})
        object, sides = _member(person), ({"role": before}, {"role": role})
        _record(by, "member.set", object, tenant, before=sides[0], after=sides[1])


@transaction.atomic
def invite_member(request: HttpRequest, tenant: Tenant, name: str, role: str) -> bool:
    """A part for whoever signs in with that name.  False: it was a member's, and is changed."""
    member = Membership.objects.filter(tenant=tenant, user__username=name).first()
    if member is not None:  # no secret: they stand on the page
        set_member(request, tenant, member.user, role)
        return False
    told = {"role": role, "by": request.user.get_username(), "at": timezone.now()}
    Invitation.objects.update_or_create(tenant=tenant, name=name, defaults=told)
    _record(request, "member.invited", f"person:{name}", tenant, after={"role": role})
    return True


@transaction.atomic
def follow_invitations(person: User) -> None:
    """Whoever signs in takes the parts that wait for them."""
    name = person.get_username()
    waiting = Invitation.objects.filter(name=name).select_related("tenant")
    for one in waiting.open(timezone.now()).exclude(tenant__memberships__user=person):
        set_member(name, one.tenant, person, one.role)  # before the request is theirs
    waiting.delete()


@transaction.atomic
def take_invitation_back(request: HttpRequest, one: Invitation) -> None:
    before = {"role": one.role}
    _record(request, "member.uninvited", f"person:{one.name}", one.tenant, before=before)
    one.delete()


@transaction.atomic
def remove_member(request: HttpRequest, row: Membership) -> None:
    _record(request, "member.removed", _member(row.user), row.tenant, before={"role": row.role})
    row.delete()


def told_of(key: APIKey) -> dict[str, Any]:
    """What the trail says of a key.  Its digest is no part of it."""
    return {
        "name": key.name,
        "service": key.service,
        "kind": key.kind,
        "expires_at": key.expires_at.isoformat(timespec="seconds") if key.expires_at else None,
        **to_builtins(key.as_rules()),
    }


def _told_of_new(key: APIKey) -> dict[str, Any]:
    """The same without what every key has unless somebody says otherwise."""
    usual = {"service": "", "expires_at": None, **to_builtins(KeyRules())}
    return {name: value for name, value in told_of(key).items() if usual.get(name, key) != value}


def _member(person: User) -> str:
    return f"person:{person.get_username()}"


def _record(by: HttpRequest | str, verb: str, object: str, tenant: Tenant, **details: Any) -> None:
    """``by``: the request of a person or a program, or the name of a command."""
    if isinstance(by, str):
        record(by, verb, object, tenant=tenant.slug, **details)
    else:
        record(actor(by), verb, object, tenant=tenant.slug, request=by, **details)
