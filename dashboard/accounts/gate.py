"""The door of a view: it says which question of ``permissions`` decides, and nobody else comes in.

Behind a question that is ``of_weight`` it also asks whoever proved over 15 minutes ago who they are.
A test walks all addresses and fails on a view that has no decision, or that changes something of
weight unasked.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import resolve_url
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from dashboard.accounts.confirming import ask_again
from dashboard.accounts.permissions import (
    Person,
    is_of_weight,
    must_add_factor,
    visible_tenants,
)
from gateway.models import Tenant

Rest = ParamSpec("Rest")
View = Callable[Concatenate[HttpRequest, Rest], HttpResponseBase]
TenantView = Callable[Concatenate[HttpRequest, Tenant, Rest], HttpResponseBase]


def open_to(may: Callable[[Person], bool]) -> Callable[[View[Rest]], View[Rest]]:
    """Let in whom ``may`` lets in; ask strangers to sign in, refuse the others."""

    def decide(view: View[Rest]) -> View[Rest]:
        @wraps(view)
        def asked(
            request: HttpRequest, /, *args: Rest.args, **kwargs: Rest.kwargs
        ) -> HttpResponseBase:
            turned_away = _turned_away(request)
            if turned_away is not None:
                return turned_away
            if not may(request.user):
                raise PermissionDenied
            _ask_again(request, may, view)
            return view(request, *args, **kwargs)

        _decided(asked, may.__name__)
        return asked

    return decide


def open_in_tenant(
    may: Callable[[Person, Tenant], bool],
) -> Callable[[TenantView[Rest]], Callable[..., HttpResponseBase]]:
    """The same for a view of one tenant, which it gets for the ``slug`` in the address.

    A tenant that somebody may not see is not there for them: 404, as for a name nobody has.
    """

    def decide(view: TenantView[Rest]) -> Callable[..., HttpResponseBase]:
        @wraps(view)
        def asked(
            request: HttpRequest, /, slug: str, *args: Rest.args, **kwargs: Rest.kwargs
        ) -> HttpResponseBase:
            turned_away = _turned_away(request)
            if turned_away is not None:
                return turned_away
            tenant = visible_tenants(request.user).filter(slug=slug).first()
            if tenant is None:
                raise Http404("There is no such tenant.")
            if not may(request.user, tenant):
                raise PermissionDenied
            _ask_again(request, may, view)
            return view(request, tenant, *args, **kwargs)

        _decided(asked, may.__name__)
        return asked

    return decide


def open_to_all(view: View[Rest]) -> View[Rest]:
    """For a view that decides itself, or that anybody may see.  Said, so that it is no oversight."""
    _decided(view, "anybody")
    return view


def open_to_self(view: View[Rest]) -> View[Rest]:
    """For a person's own sign-in, whoever they are: also when something else must come first."""

    @wraps(view)
    def asked(request: HttpRequest, /, *args: Rest.args, **kwargs: Rest.kwargs) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return _to_sign_in(request)
        return view(request, *args, **kwargs)

    _decided(asked, "whoever is signed in")
    return asked


def open_to_self_lately(view: View[Rest]) -> View[Rest]:
    """The same for what signs in, a factor: who gave themselves one would be asked for that one."""

    @wraps(view)
    def asked(request: HttpRequest, /, *args: Rest.args, **kwargs: Rest.kwargs) -> HttpResponseBase:
        ask_again(request)
        return view(request, *args, **kwargs)

    return open_to_self(asked)


def form_page(view: Callable[Rest, HttpResponse]) -> Callable[Rest, HttpResponse]:
    """A form's page, shown by GET and sent by POST: whoever is asked again is asked before they type."""
    shown = require_http_methods(["GET", "HEAD", "POST"])(view)
    shown.__dict__["is_form"] = True
    return shown


def _ask_again(request: HttpRequest, may: Callable[..., bool], view: Callable[..., Any]) -> None:
    changes = request.method not in ("GET", "HEAD", "OPTIONS") or hasattr(view, "is_form")
    if changes and is_of_weight(may):
        ask_again(request)


def _decided(view: Callable[..., Any], question: str) -> None:
    view.__dict__["decision"] = question


def _turned_away(request: HttpRequest) -> HttpResponse | None:
    if not request.user.is_authenticated:
        return _to_sign_in(request)
    if must_add_factor(request.user):
        return redirect_to_login(
            request.get_full_path(), login_url=reverse("mfa_index"), redirect_field_name="next"
        )
    return None


def _to_sign_in(request: HttpRequest) -> HttpResponse:
    if request.headers.get("HX-Request"):  # a sign-in page inside a table helps nobody
        answer = HttpResponse(status=401)
        answer["HX-Redirect"] = resolve_url("accounts:login")
        return answer
    return redirect_to_login(request.get_full_path())
