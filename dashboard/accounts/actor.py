"""Who acts in a request: the person signed in, or the admin key that a program sent."""

from django.http import HttpRequest

from dashboard.accounts.permissions import Person
from gateway.models import APIKey


def actor(request: HttpRequest) -> Person | str:
    """As the audit trail names it.  The management API leaves its key in ``auth``."""
    key = getattr(request, "auth", None)
    return f"key {key.id8}" if isinstance(key, APIKey) else request.user
