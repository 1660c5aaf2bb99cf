"""Is somebody still who they were?  For connections that outlive the request that opened them."""

from importlib import import_module
from typing import Any

from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.http import HttpRequest


@database_sync_to_async
def person_now(session_key: str | None) -> AbstractBaseUser | AnonymousUser:
    """Whose session it is at this moment: nobody's after a sign-out, an end or a new password."""
    sessions: Any = import_module(settings.SESSION_ENGINE)
    request = HttpRequest()
    request.session = sessions.SessionStore(session_key)
    return get_user(request)
