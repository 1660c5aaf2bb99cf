"""The canary on the policy page: how both groups do, promoted or taken back in one click."""

from contextlib import suppress

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from dashboard.accounts.gate import open_to
from dashboard.accounts.permissions import may_publish, may_read_policy, may_roll_back
from dashboard.policies import canary, guards, publish
from dashboard.policies.fields import Document
from dashboard.policies.reach import groups
from dashboard.policies.request import person
from gateway.models import PolicyVersion, Rollout

STOP_POLLING = 286  # htmx


@open_to(may_read_policy)
@require_safe
def card(request: HttpRequest) -> HttpResponse:
    """The card alone; it asks every two seconds while a canary runs."""
    newest = PolicyVersion.objects.newest()
    answer = render(request, "policies/_canary.html", {**standing(request), "newest": newest})
    if Rollout.objects.running() is None and request.headers.get("HX-Request"):
        answer.status_code = STOP_POLLING
    return answer


def standing(request: HttpRequest) -> Document:
    row = Rollout.objects.running()
    if row is None:
        return {"canary": None, "last": Rollout.objects.first()}
    now = timezone.now()
    return {
        "canary": row,
        "pairs": [pair for pair in canary.figures(row, now, groups()) if _told(pair)],
        "on_it": canary.tenants_of(row),
        "guarded": [guards.LABELS[name] for name in row.guards if name in guards.LABELS],
        "minutes": int(min(now - row.started_at, canary.WINDOW).total_seconds() // 60),
        "promotes_min": row.promotes_after_s and row.promotes_after_s // 60,
        "may_promote": may_publish(request.user),
        "may_take_back": may_roll_back(request.user),
    }


def _told(pair: guards.Pair) -> bool:
    return not pair.tier or any(side.n or side.waiting for side in (pair.canary, pair.others))


@open_to(may_publish)
@require_POST
def promote(request: HttpRequest, version: int) -> HttpResponse:
    """Everybody follows it; one that is over stays as it is."""
    row = Rollout.objects.running()
    if row and row.version == version:
        canary.promote(row, "promoted by hand", person(request), request)
    return redirect("policies:overview")


@open_to(may_roll_back)
@require_POST
def take_back(request: HttpRequest, version: int) -> HttpResponse:
    row = Rollout.objects.running()
    why = request.POST.get("reason", "").strip()[:300] or "taken back by hand"
    if row and row.version == version:
        with suppress(publish.BaseMoved):  # a guard, or somebody, was faster
            canary.take_back(row, why, person(request), request)
    return redirect("policies:overview")
