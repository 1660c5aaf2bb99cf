"""The company's own sign-in (OpenID Connect): who comes from there, and the roles its claim gives them.

Its roles are in force anew at each sign-in.  Whom it gives none does not come in.
"""

import json
import logging
from typing import Any

from allauth.account.utils import get_next_redirect_url
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.decorators import rate_limit
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter, get_adapter
from allauth.socialaccount.models import SocialApp, SocialLogin
from allauth.socialaccount.providers.base.constants import AuthProcess
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.openid_connect import views as openid
from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe
from requests import RequestException

from dashboard.accounts.changes import set_roles
from dashboard.accounts.gate import open_to_all
from dashboard.audit.log import record

logger = logging.getLogger(__name__)
PARTS = ("userinfo", "id_token")
# ``confirming`` believes the ID token's ``auth_time``.  A provider may leave it out unless it is asked
# for, by ``max_age`` or as an essential claim (OpenID Connect Core 1.0, 2 and 5.5.1).
TELL_WHEN = json.dumps({"id_token": {"auth_time": {"essential": True}}})
ID = settings.LANEWAY_OIDC.get("id", "none")


@open_to_all
@rate_limit(action="login")  # type: ignore[untyped-decorator] # allauth has no types
@never_cache
@require_POST
def go(request: HttpRequest) -> HttpResponse:
    """Off to the company's sign-in, by a page: a redirect from a form would break the content policy."""
    try:
        chosen = get_adapter(request).get_provider(request, ID)
    except SocialApp.DoesNotExist:
        raise Http404("No sign-in of another house is set up.") from None
    # Somebody who is signed in comes to prove it is them: an open session over there proves nothing.
    asked = {"claims": TELL_WHEN}
    if request.user.is_authenticated:
        asked |= {"prompt": "login", "max_age": "0"}
    try:
        answer = chosen.redirect(
            request,
            AuthProcess.LOGIN,
            next_url=get_next_redirect_url(request),
            auth_params=asked,
        )
    except (RequestException, OAuth2Error, ValueError, LookupError) as error:
        return _out_of_order(request, error)
    return render(request, "accounts/onward.html", {"where": answer["Location"]})


@open_to_all
@never_cache
@require_safe
def callback(request: HttpRequest, provider_id: str) -> HttpResponse:
    try:
        answer: HttpResponse = openid.callback(request, provider_id)
    except (RequestException, ValueError, LookupError, TypeError, AttributeError) as error:
        return _out_of_order(request, error)
    return answer


def _out_of_order(request: HttpRequest, error: Exception) -> HttpResponse:
    _log(error)
    context = {"auth_error": {"exception": error}}
    return render(request, "socialaccount/authentication_error.html", context, status=502)


def _log(error: object) -> None:
    logger.warning("The company's sign-in did not work: %.300r", error)


class ProviderAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: Any,
        error: Any = None,
        exception: Exception | None = None,
        extra_context: Any = None,
    ) -> None:
        _log(exception or error)

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        return True  # ``pre_social_login`` let in only those who have a role

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        told = sociallogin.account.extra_data
        if len({told[part].get("sub") for part in PARTS if told.get(part)}) > 1:
            raise PermissionDenied("The userinfo is of another person than the ID token.")
        roles = roles_in(told)
        if sociallogin.is_existing:
            set_roles(request, sociallogin.user, roles, by=_who())
        if not roles:
            context = {"provider": settings.LANEWAY_OIDC["host"]}
            raise ImmediateHttpResponse(
                render(request, "accounts/no_role.html", context, status=403)
            )

    def populate_user(self, request: HttpRequest, sociallogin: SocialLogin, data: Any) -> User:
        """A mail address that somebody here has stays theirs: it is what they sign in with."""
        person: User = super().populate_user(request, sociallogin, data)
        person.email = person.email.lower()
        if User.objects.filter(email__iexact=person.email).exists():
            person.email = ""
        sociallogin.email_addresses = []
        return person

    @transaction.atomic
    def save_user(self, request: HttpRequest, sociallogin: SocialLogin, form: Any = None) -> User:
        person: User = super().save_user(request, sociallogin, form)
        name = f"person:{person.get_username()}"
        record(_who(), "person.created", name, after={"mail": person.email}, request=request)
        set_roles(request, person, roles_in(sociallogin.account.extra_data), by=_who())
        return person


def roles_in(told: dict[str, Any]) -> set[str]:
    """What the claim makes of somebody.  It may stand in the userinfo or in the ID token."""
    values: list[str] = []
    for part in PARTS:
        value = (told.get(part) or {}).get(settings.LANEWAY_OIDC["claim"])
        listed = value if isinstance(value, list) else [value]
        values += [one for one in listed if isinstance(one, str)]
    return {role for value in values for role in settings.LANEWAY_OIDC["roles"].get(value, ())}


def _who() -> str:
    return f"sign-in of {settings.LANEWAY_OIDC['host']}"
