"""Being asked again: what cannot be taken back lightly needs a person who proved lately who they are."""

import time
from datetime import UTC, datetime
from typing import Any

from allauth.account.adapter import get_adapter
from allauth.account.signals import authentication_step_completed
from allauth.account.signals import user_logged_in as came_in
from allauth.core.exceptions import ImmediateHttpResponse, ReauthenticationRequired
from allauth.socialaccount.models import SocialLogin
from django.contrib.auth.signals import user_logged_in
from django.dispatch import receiver
from django.http import HttpRequest
from django.shortcuts import render

LATELY_S = 15 * 60
CONFIRMED = "confirmed_at"  # in the session: Unix time


@receiver(user_logged_in)
def signed_in(request: HttpRequest, **_: Any) -> None:
    request.session[CONFIRMED] = time.time()


@receiver(came_in)
def came_by_the_company(
    request: HttpRequest, sociallogin: SocialLogin | None = None, **_: Any
) -> None:
    """After ``signed_in``: an open session over there proves nothing of this moment."""
    if sociallogin is not None:
        request.session[CONFIRMED] = proved_at(sociallogin.account.extra_data)


def proved_at(told: dict[str, Any]) -> float:
    """When the person last proved to the provider who they are; 0 where it does not say.

    ``iat`` is no stand-in: it dates the token, not the person.  Whoever finds an open browser strikes
    ``prompt`` out of the address and gets a fresh token from the session that is open over there.
    """
    claim = (told.get("id_token") or {}).get("auth_time")
    if isinstance(claim, int | float) and claim > 0:
        return min(float(claim), time.time())
    return 0.0


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
    last = request.session.get(CONFIRMED)
    context = {
        "next": request.get_full_path(),
        "last": datetime.fromtimestamp(last, UTC) if last else None,
    }
    raise ImmediateHttpResponse(render(request, "accounts/again.html", context, status=403))
