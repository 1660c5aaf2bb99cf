"""Where somebody is signed in, and how to end it from here."""

from allauth.usersessions.internal.flows.sessions import end_other_sessions, end_sessions
from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from dashboard.accounts.gate import open_to_self
from dashboard.audit.log import record


@open_to_self
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    open_ones = UserSession.objects.purge_and_list(_person(request))
    open_ones.sort(key=lambda session: (not session.is_current(), -session.pk))
    return render(request, "accounts/sessions.html", {"sessions": open_ones})


@open_to_self
@require_POST
@transaction.atomic
def end(request: HttpRequest) -> HttpResponse:
    """One of them (``session``), or all others.  Only one's own are there."""
    person = _person(request)
    wanted = request.POST.get("session", "")
    if wanted:
        own = UserSession.objects.filter(user=person)
        named = wanted.isdecimal() and len(wanted) < 18
        found = own.filter(pk=wanted) if named else own.none()
        end_sessions(request, list(found[:1]))
        told = "That session is ended."
    else:
        end_other_sessions(request, person)
        told = "All other sessions are ended."
    record(
        person,
        "person.sessions_ended",
        f"person:{person.get_username()}",
        after={"which": "one" if wanted else "all others"},
        request=request,
    )
    messages.success(request, told)
    return redirect("accounts:sessions")


def _person(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user
