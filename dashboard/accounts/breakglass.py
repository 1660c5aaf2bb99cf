"""The door of ``/_admin/``: the site's own sign-in, second factor included."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from dashboard.accounts.gate import open_to
from dashboard.accounts.permissions import may_break_glass


def may_enter(request: HttpRequest) -> bool:
    return may_break_glass(request.user)


@open_to(may_break_glass)
def door(request: HttpRequest, extra_context: object = None) -> HttpResponse:
    return redirect("admin:index")
