"""People with roles."""

from django.contrib.auth.models import Group, User

from dashboard.accounts.models import Membership
from gateway.models import Tenant


def person(name: str, *roles: str, password: str | None = None) -> User:
    """Somebody with roles over the whole installation."""
    user = User.objects.create_user(name, password=password)
    user.groups.set([Group.objects.get_or_create(name=role)[0] for role in roles])
    return user


def member(name: str, tenant: Tenant, role: str = "tenant-admin") -> User:
    """Somebody who belongs to one tenant."""
    user = person(name)
    Membership.objects.create(user=user, tenant=tenant, role=role)
    return user
