"""Silences: who keeps quiet about what, why, for how long, and what that hides right now."""

from typing import NamedTuple

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from dashboard.accounts.gate import open_to
from dashboard.accounts.permissions import may_operate, may_watch
from dashboard.alerts import cards, changes, wording
from dashboard.alerts.forms import SilenceForm
from dashboard.alerts.models import AlertState, Silence
from dashboard.alerts.views import shell
from gateway.models import PolicyVersion

IDLE_S = 3600
ENDED_SHOWN = 20


class Listed(NamedTuple):
    silence: Silence
    hides: list[str]
    idle: bool  # hid nothing for an hour: it may as well end


@open_to(may_watch)
@require_safe
def silences(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    firing = list(AlertState.objects.exclude(severity="").select_related("rule"))
    listed = []
    for one in Silence.objects.active(now).select_related("owner", "rule"):
        hidden = [row for row in firing if one.hides(row)]
        names = [f"{row.rule.name}, {wording.subject(row, row.rule)}" for row in hidden]
        last = one.hid_at or one.starts_at
        listed.append(Listed(one, names, not hidden and (now - last).total_seconds() >= IDLE_S))
    ended = Silence.objects.filter(ends_at__lte=now).select_related("owner", "rule")
    context = {"listed": listed, "ended": ended.order_by("-ends_at")[:ENDED_SHOWN]}
    return render(request, "alerts/silences.html", shell(request, "silences") | context)


@open_to(may_operate)
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    asked = {name: request.GET.get(name, "") for name in ("rule", "tier", "pool", "severity")}
    form = SilenceForm(
        request.POST or None,
        initial=asked,
        policy=PolicyVersion.objects.newest_policy(),
        pools=cards.known_pools(now),
    )
    if request.method == "POST" and form.is_valid():
        made = changes.silence(request, form.cleaned_data, now, form.ends_at(now))
        messages.success(request, f"Silent: {made.matcher}, until {made.ends_at:%H:%M} UTC.")
        return redirect("alerts:silences")
    context = shell(request, "silences") | {"form": form}
    return render(request, "alerts/silence.html", context, status=422 if form.errors else 200)


@open_to(may_operate)
@require_POST
def end(request: HttpRequest, pk: int) -> HttpResponse:
    one = get_object_or_404(Silence.objects.select_related("rule"), pk=pk)
    if changes.end_silence(request, one, timezone.now()):
        messages.success(request, f"The silence of {one.matcher} is over.")
    return redirect("alerts:silences")
