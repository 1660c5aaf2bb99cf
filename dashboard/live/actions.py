"""Pages where people on call order something, see what became of it, and end it.

Everything works as plain forms.  The live page shows the same fragments in a dialog: an address
with ``fragment`` behind its question mark answers with nothing around them.
"""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from dashboard.accounts.confirming import ask_again
from dashboard.accounts.gate import open_to
from dashboard.accounts.permissions import may_operate, may_watch
from dashboard.live import orders, overrides
from dashboard.live.action_forms import OrderForm, fresh
from dashboard.live.overrides import Changed, NotNow, Order, permits
from gateway.marks import wanted
from gateway.models import Override

PER_PAGE = 50
MORE_MINUTES = 15
TITLES = {
    "pause": "Pause",
    "drain": "Drain",
    "boost": "Boost or demote",
    "evict": "Evict",
    "move": "Move",
    "abort": "Abort",
}
MEANINGS = {
    "pause": "Nothing of it is sent to a model server; it goes on accepting.",
    "drain": "It refuses what arrives and finishes what it has.",
    "boost": "Higher is more urgent. It ends with each request.",
    "evict": "Removes them from the line.",
    "abort": "Ends what runs already.",
    "move": "An override beside the policy, not in it.",
}


@open_to(may_watch)
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """All that was ordered, the newest first."""
    part = Paginator(Override.objects.all(), PER_PAGE).get_page(request.GET.get("page"))
    return render(request, "live/actions.html", {"part": part, "now": timezone.now()})


@open_to(may_watch)
@require_safe
def running(request: HttpRequest) -> HttpResponse:
    """The strips alone, for pages that are open."""
    return _never_stored(render(request, "live/_actions_running.html"))


@open_to(may_operate)
@require_http_methods(["GET", "HEAD", "POST"])
def act(request: HttpRequest, verb: str) -> HttpResponse:
    if verb not in TITLES:
        raise Http404("There is no such action.")
    if not permits(request.user, verb):
        raise PermissionDenied
    if "cancel" in request.POST:
        return redirect(_back(request))
    now = orders.scene()
    try:
        order = orders.order_of(verb, request.GET, now)
    except orders.Unknown as error:
        return _form(request, verb, {"cannot": str(error)}, 404)
    if request.method == "POST":
        order = order._replace(tier=request.POST.get("tier", "") if verb == "move" else order.tier)
    done = carry_out(request, order, now)
    return _to(request, done) if isinstance(done, Override) else done


def carry_out(
    request: HttpRequest, order: Order, now: orders.Scene, **more: Any
) -> HttpResponse | Override:
    """Show what an order would do, and do it once its form is complete.

    Who may was decided before.  ``more`` goes to the page beside it.
    """
    verb = order.verb
    effect, seen = orders.look(order, now)
    if effect.level >= 2 and not effect.cannot:
        ask_again(request)
    context = more | {"effect": effect, "cannot": effect.cannot, "about": _about(order)}
    if request.method != "POST":
        context["form"] = OrderForm(verb, effect, now.policy, initial=fresh(verb, seen))
        return _form(request, verb, context)
    form = context["form"] = OrderForm(verb, effect, now.policy, request.POST)
    valid = form.is_valid()
    if effect.cannot and not (valid and overrides.was_sent(form.cleaned_data["key"])):
        return _form(request, verb, context, 409)
    if not valid:
        form.shown_again(confirmed=True)
        return _form(request, verb, context, 422)
    said = form.cleaned_data
    try:
        return overrides.begin(
            request,
            form.complete(order),
            reason=form.why(),
            key=said["key"],
            saw_at=said["saw_at"],
            seen=said["seen"],
        )
    except Changed as error:
        form.shown_again(saw_at=timezone.now().timestamp(), seen="" if seen is None else seen)
        return _form(request, verb, context | {"changed": error.row}, 409)


@open_to(may_watch)
@require_safe
def one(request: HttpRequest, pk: int) -> HttpResponse:
    """One order and the gateway's own answer."""
    row = get_object_or_404(Override, pk=pk)
    return _order(request, {"row": row, "now": timezone.now()})


@open_to(may_operate)
@require_POST
def end(request: HttpRequest, pk: int) -> HttpResponse:
    _permitted(request, pk)
    try:
        row = overrides.end(request, pk, _saw(request))
    except Changed as error:
        return _changed(request, error.row)
    return _to(request, row)


@open_to(may_operate)
@require_POST
def extend(request: HttpRequest, pk: int) -> HttpResponse:
    _permitted(request, pk)
    try:
        row = overrides.extend(request, pk, _saw(request), MORE_MINUTES)
    except Changed as error:
        return _changed(request, error.row)
    except NotNow as error:
        return _not_now(request, pk, str(error))
    return _to(request, row)


@open_to(may_operate)
@require_POST
def undo(request: HttpRequest, pk: int) -> HttpResponse:
    _permitted(request, pk)
    try:
        row = overrides.undo(request, pk)
    except NotNow as error:
        return _not_now(request, pk, str(error))
    return _to(request, row)


def _permitted(request: HttpRequest, pk: int) -> None:
    row = get_object_or_404(Override, pk=pk)
    if not permits(request.user, row.verb):
        raise PermissionDenied


def _saw(request: HttpRequest) -> int:
    said = request.POST.get("saw", "")
    return int(said) if said.isascii() and said.isdigit() and len(said) < 10 else -1


def _about(order: Order) -> str:
    if order.verb == "move":
        return order.tenant
    if order.tier:
        return order.tier
    return wanted(order.selection)


def _form(
    request: HttpRequest, verb: str, context: dict[str, Any], status: int = 200
) -> HttpResponse:
    known = {"verb": verb, "title": TITLES[verb], "meaning": MEANINGS[verb], "now": timezone.now()}
    template = "live/_actions_form.html" if "fragment" in request.GET else "live/act.html"
    return _never_stored(render(request, template, known | context, status=status))


def _changed(request: HttpRequest, row: Override) -> HttpResponse:
    return _order(request, {"row": row, "changed": row, "now": timezone.now()}, 409)


def _not_now(request: HttpRequest, pk: int, why: str) -> HttpResponse:
    context = {"row": get_object_or_404(Override, pk=pk), "why_not": why, "now": timezone.now()}
    return _order(request, context, 409)


def _order(request: HttpRequest, context: dict[str, Any], status: int = 200) -> HttpResponse:
    fragment = "fragment" in request.GET
    template = "live/_actions_order.html" if fragment else "live/actions_order.html"
    return _never_stored(render(request, template, context, status=status))


def _to(request: HttpRequest, row: Override) -> HttpResponse:
    """After a change: the order's own page, or where the form said to go back to."""
    if "fragment" in request.GET:
        return redirect(reverse("live:order", args=[row.pk]) + "?fragment")
    back = request.POST.get("next", "")
    return redirect(_back(request) if back else reverse("live:order", args=[row.pk]))


def _back(request: HttpRequest) -> str:
    wanted_path = request.POST.get("next", "")
    safe = url_has_allowed_host_and_scheme(wanted_path, None) and wanted_path.startswith("/")
    return wanted_path if safe else reverse("live:page")


def _never_stored(answer: HttpResponse) -> HttpResponse:
    answer["Cache-Control"] = "no-store"
    return answer
