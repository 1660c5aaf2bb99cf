"""The live page, the figures it draws in, and the newest frame for machines."""

from datetime import timedelta
from functools import lru_cache
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from dashboard.accounts.gate import open_to, open_to_all
from dashboard.accounts.keys import admin_key
from dashboard.accounts.permissions import may_manage_boards, may_watch
from dashboard.alerts import open_now, thresholds
from dashboard.alerts.levels import Line
from dashboard.alerts.marks import notes
from dashboard.live import charts
from dashboard.live.release import release
from gateway import newest
from gateway.core.policy import Policy
from gateway.errors import GatewayError
from gateway.models import PolicyVersion, policy_of

RANGES = ("5m", "15m", "1h", "6h", "24h")  # static/js/view.js says how long they are
NOTES_SHOWN = timedelta(minutes=15)  # the page's own history; older ones come with the past


@open_to(may_watch)
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """With ``kiosk=1`` the same as a wall board: nothing on it can be pressed by mistake."""
    if request.GET.get("kiosk") == "1":
        own = {"socket": "/ws/live/", "figures_address": reverse("live:figures")}
        return render(request, "live/board.html", board_context() | own)
    context = board_context() | {
        "address": request.build_absolute_uri("/v1"),
        "ranges": RANGES,
        "may_manage_boards": may_manage_boards(request.user),
        "why_address": reverse("live:why", args=["-"]).removesuffix("-/"),
    }
    return render(request, "live/live.html", context)


def board_context() -> dict[str, Any]:
    """What every page needs that shows the frames."""
    version = PolicyVersion.objects.newest()
    policy = policy_of(version)
    return {
        "tiers": policy.by_urgency,
        "version": version,
        "figures": _newest_figures(version, policy),
        "release": release(),
    }


@open_to(may_watch)
@require_safe
def figures(request: HttpRequest) -> HttpResponse:
    """The charts of the newest policy and rules: an open page asks when a frame names another
    version, and now and then."""
    return JsonResponse(newest_figures())


def newest_figures() -> dict[str, Any]:
    """The charts, and how many alerts are open: a wall board has no badge."""
    version = PolicyVersion.objects.newest()
    return _newest_figures(version, policy_of(version))


def _newest_figures(version: PolicyVersion | None, policy: Policy) -> dict[str, Any]:
    figures = _figures(version.number if version else 0, thresholds.lines(policy))
    return figures | {"notes": _notes(), "alerts": open_now.counts()._asdict()}


def _notes() -> list[dict[str, Any]]:
    """Moments that people marked: no frame carries them."""
    now = timezone.now()
    return [
        {
            "at": note.at.timestamp(),
            "kind": note.kind,
            "text": note.text,
            "by": note.by,
            "link": note.link,
        }
        for note in notes(now - NOTES_SHOWN, now)
    ]


@lru_cache(maxsize=8)
def _figures(number: int, lines: tuple[Line, ...]) -> dict[str, Any]:
    """A published version never changes, so its charts change with the rules' thresholds alone."""
    version = PolicyVersion.objects.filter(number=number).first()
    policy = policy_of(version)
    return {
        "policy_version": number,
        "policy_by": version.author.get_username() if version and version.author else "",
        "policy_at": version.published_at.timestamp() if version else None,
        "levels": [line._asdict() for line in lines],
        "colours": policy.colours,
        "charts": charts.figures(policy, lines),
    }


@open_to_all  # it takes admin keys as well, so it decides itself
@require_safe
def live_api(request: HttpRequest) -> HttpResponse:
    """The newest frame as JSON, for a signed-in person or an admin key."""
    try:
        if not may_watch(request.user):
            admin_key(
                request.headers.get("Authorization", ""),
                timezone.now(),
                request.META.get("REMOTE_ADDR", ""),
            )
        frame = newest.frame_text()
        if frame is None:
            raise _silent()
    except GatewayError as error:
        return HttpResponse(error.body("openai", ""), status=error.status, headers=error.headers())
    return HttpResponse(
        frame, content_type="application/json", headers={"Cache-Control": "no-store"}
    )


def _silent() -> GatewayError:
    message = "The gateway has published no state in the last 5 s. It may be starting or down."
    return GatewayError(503, "no_live_state", message, type="server_error", retry_after_s=1)
