"""Who may do what: one function a question, asked by views and consumers, answered nowhere else.

Roles over the whole installation are groups.  Those in a tenant are ``Membership`` rows.  Being a
superuser opens ``/_admin/`` and nothing here: a right that no group shows could not be seen.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.db.models import QuerySet

from dashboard.accounts.factors import lacks_factor
from dashboard.accounts.models import Membership
from dashboard.accounts.roles import ADMIN, GUARDED, ON_CALL, ROLES, SECURITY
from gateway.models import Tenant

Person = AbstractBaseUser | AnonymousUser
Question = TypeVar("Question", bound=Callable[..., bool])

TENANT_ADMIN = Membership.Role.ADMIN.value


class Standing(NamedTuple):
    """What somebody is: roles everywhere, and a role in each of their tenants, by its id."""

    roles: frozenset[str]
    tenants: dict[int, str]


NOBODY = Standing(frozenset(), {})


def standing(person: Person) -> Standing:
    """Two or three queries, once for each loaded person: for a page, that is once a request.

    Roles that need a second factor sleep until there is one.
    """
    if not isinstance(person, User) or not person.is_active:
        return NOBODY
    known: Standing | None = person.__dict__.get("_standing")
    if known is None:
        names = set(person.groups.filter(name__in=ROLES).values_list("name", flat=True))
        if not names.isdisjoint(GUARDED) and lacks_factor(person):
            names.difference_update(GUARDED)
            person.__dict__["_must_add_factor"] = True
        parts = Membership.objects.filter(user=person).values_list("tenant_id", "role")
        known = person.__dict__["_standing"] = Standing(frozenset(names), dict(parts))
    return known


def must_add_factor(person: Person) -> bool:
    """Whether a role of theirs sleeps until they set up a second factor."""
    standing(person)
    return bool(person.__dict__.get("_must_add_factor"))


def _has(person: Person, *roles: str) -> bool:
    return not standing(person).roles.isdisjoint(roles)


def _part(person: Person, tenant: Tenant) -> str:
    return standing(person).tenants.get(tenant.pk, "")


def of_weight(question: Question) -> Question:
    """Every change behind it asks again who it is: it gives rights, or makes or breaks rules.

    What is ordered on call does not: it ends by itself, and at night a minute counts.  Nor does a
    step back to a version that was in force before.
    """
    question.__dict__["of_weight"] = True
    return question


def is_of_weight(question: Callable[..., Any]) -> bool:
    return "of_weight" in question.__dict__


# The line


def may_watch(person: Person) -> bool:
    """See every tier's queue, live, with all tenants' names: nothing for a tenant's people."""
    return _has(person, *ROLES)


@of_weight
def may_manage_boards(person: Person) -> bool:
    """Let a screen on a wall show the live state, and take that back."""
    return _has(person, ADMIN)


def may_operate(person: Person) -> bool:
    """Pause, drain, boost, evict, acknowledge."""
    return _has(person, ON_CALL, ADMIN)


def may_move(person: Person) -> bool:
    """Put a tenant into another tier for a while, past what the policy says."""
    return _has(person, ADMIN)


def may_abort(person: Person) -> bool:
    """End what runs already, an answer half given."""
    return _has(person, ADMIN)


# Messages


def may_see_channels(person: Person) -> bool:
    """Where messages go and whether they arrive, never an address."""
    return _has(person, ON_CALL, ADMIN)


@of_weight
def may_manage_channels(person: Person) -> bool:
    return _has(person, ADMIN)


# Alerts


def may_edit_alert_rules(person: Person) -> bool:
    return _has(person, ADMIN)


# The policy


def may_read_policy(person: Person) -> bool:
    return _has(person, *ROLES)


def may_draft(person: Person) -> bool:
    return _has(person, ON_CALL, ADMIN)


@of_weight
def may_publish(person: Person) -> bool:
    return _has(person, ADMIN)


def may_roll_back(person: Person) -> bool:
    """By one version, as somebody on call must be able to."""
    return _has(person, ON_CALL, ADMIN)


# Tenants and keys


def visible_tenants(person: Person) -> QuerySet[Tenant]:
    """All for those who look after all; for others the tenants they belong to."""
    if _has(person, ADMIN, SECURITY):
        return Tenant.objects.all()
    return Tenant.objects.filter(pk__in=standing(person).tenants)


def may_see_tenants(person: Person) -> bool:
    return _has(person, ADMIN, SECURITY) or bool(standing(person).tenants)


def may_see_all_tenants(person: Person) -> bool:
    return _has(person, ADMIN, SECURITY)


@of_weight
def may_manage_tenants(person: Person) -> bool:
    """Make, suspend and resume them."""
    return _has(person, ADMIN)


@of_weight
def may_suspend(person: Person, tenant: Tenant) -> bool:
    return may_manage_tenants(person)


def may_see_tenant(person: Person, tenant: Tenant) -> bool:
    return _has(person, ADMIN, SECURITY) or bool(_part(person, tenant))


def may_evict_own(person: Person, tenant: Tenant) -> bool:
    """Take this tenant's waiting requests out of the line, and nobody else's."""
    return _has(person, ADMIN) or _part(person, tenant) == TENANT_ADMIN


@of_weight
def may_issue_keys(person: Person, tenant: Tenant) -> bool:
    """Make, rotate, edit, disable and enable them."""
    return _has(person, ADMIN) or _part(person, tenant) == TENANT_ADMIN


@of_weight
def may_revoke(person: Person, tenant: Tenant) -> bool:
    return may_issue_keys(person, tenant) or _has(person, SECURITY)


@of_weight
def may_manage_members(person: Person, tenant: Tenant) -> bool:
    """Say who belongs to a tenant.  Whoever changes the rules cannot change who may."""
    return _has(person, SECURITY) or _part(person, tenant) == TENANT_ADMIN


# People


@of_weight
def may_manage_people(person: Person) -> bool:
    """Invite them, give and take roles, switch them off.  Not the admin, who changes the rules."""
    return _has(person, SECURITY)


def may_change_person(person: Person, other: User) -> bool:
    """Not themselves, and nobody above them: a superuser's new password would make them one."""
    return (
        may_manage_people(person)
        and person.pk != other.pk
        and (not other.is_superuser or may_break_glass(person))
    )


def may_break_glass(person: Person) -> bool:
    """The stock admin pages, for the day that no other page helps."""
    enters = isinstance(person, User) and person.is_active and person.is_superuser
    return enters and not must_add_factor(person)


# The audit trail


def may_read_audit(person: Person) -> bool:
    return may_read_whole_audit(person) or TENANT_ADMIN in standing(person).tenants.values()


def may_read_whole_audit(person: Person) -> bool:
    return _has(person, ADMIN, SECURITY)


def may_read_audit_of(person: Person, tenant: Tenant) -> bool:
    return may_read_whole_audit(person) or _part(person, tenant) == TENANT_ADMIN


def audited_tenants(person: Person) -> QuerySet[Tenant]:
    """Whose part of the trail somebody may read who may not read all of it."""
    parts = standing(person).tenants
    return Tenant.objects.filter(pk__in=[pk for pk, role in parts.items() if role == TENANT_ADMIN])
