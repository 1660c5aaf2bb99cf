"""Being asked again: what cannot be taken back lightly needs a person who proved lately who they are."""

import time
from typing import Any

from allauth.account.adapter import get_adapter
from allauth.account.signals import authentication_step_completed
from allauth.core.exceptions import ImmediateHttpResponse, ReauthenticationRequired
from django.contrib.auth.signals import user_logged_in
from django.dispatch import receiver
from django.http import HttpRequest
from django.shortcuts import render

LATELY_S = 15 * 60
CONFIRMED = "confirmed_at"  # in the session: Unix time


@receiver(user_logged_in)
def signed_in(request: HttpRequest, **_: Any) -> None:
    request.session[CONFIRMED] = time.time()


@receiver(authentication_step_completed)
def proved(request: HttpRequest, reauthenticated: bool = False, **_: Any) -> None:
    if reauthenticated:
        request.session[CONFIRMED] = time.time()


def confirmed_lately(request: HttpRequest) -> bool:
    at: float = request.session.get(CONFIRMED, 0)
    return time.time() - at < LATELY_S


def ask_again(request: HttpRequest) -> None:
    """Go on if the person proved lately who they are; else lead them to do so, and back.

    A form that was sent is kept meanwhile and counts once they did.

    Raises:
        ReauthenticationRequired, ImmediateHttpResponse: allauth's middleware answers them.
    """
    if confirmed_lately(request):
        return
    if get_adapter(request).get_reauthentication_methods(request.user):
        raise ReauthenticationRequired
    # Without password or factor of their own they came from the company's sign-in: there again.
    raise ImmediateHttpResponse(
        render(request, "accounts/again.html", {"next": request.get_full_path()}, status=403)
    )
