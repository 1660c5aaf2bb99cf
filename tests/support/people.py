"""People with roles."""

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import Group, User
from django.contrib.sessions.backends.db import SessionStore

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


def signed_in(user: User) -> str:
    """The cookie of a fresh sign-in, for whoever has no browser."""
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return str(session.session_key)
