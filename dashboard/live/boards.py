"""Wall boards: an admin makes a link, a screen opens it once and from then on shows and does nothing.

The link leaves a cookie that is sent to ``/live/board/`` alone and that no other view reads, so
every action refuses a board as it refuses a stranger.
"""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from dashboard.accounts.gate import open_to, open_to_all
from dashboard.accounts.permissions import may_manage_boards
from dashboard.audit.log import record
from dashboard.live.models import TERM, WallBoard
from dashboard.live.views import board_context, newest_figures

COOKIE = "laneway_board"
COOKIE_PATH = "/live/board/"  # the page, its charts and its socket lie under it
NAME_LONGEST = 60


@open_to(may_manage_boards)
@require_safe
def boards(request: HttpRequest) -> HttpResponse:
    return render(request, "live/boards.html", _listed())


@open_to(may_manage_boards)
@never_cache
@require_POST
def make(request: HttpRequest) -> HttpResponse:
    """The link is shown once, in this answer."""
    name = request.POST.get("name", "").replace("\0", "").strip()
    if not 0 < len(name) <= NAME_LONGEST:
        error = f"Give the board a name of at most {NAME_LONGEST} letters: where does it hang?"
        context = _listed() | {"error": error, "asked": name}
        return render(request, "live/boards.html", context, status=400)
    with transaction.atomic():
        board, secret = WallBoard.objects.make(name, _person(request), timezone.now())
        record(request.user, "board.made", _object(board), after=_told(board), request=request)
    link = request.build_absolute_uri(reverse("live:board-open", args=[secret]))
    return render(request, "live/boards.html", _listed() | {"made": board, "link": link})


@open_to(may_manage_boards)
@require_POST
def revoke(request: HttpRequest, pk: int) -> HttpResponse:
    board = get_object_or_404(WallBoard, pk=pk)
    now = timezone.now()
    with transaction.atomic():
        done = WallBoard.objects.filter(pk=pk, revoked_at__isnull=True).update(revoked_at=now)
        if done:
            record(request.user, "board.revoked", _object(board), request=request)
    messages.success(request, f"{board.name} is revoked: its screen goes blank within 10 s.")
    return redirect("live:boards")


@open_to_all  # the link decides
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def open_link(request: HttpRequest, secret: str) -> HttpResponse:
    """GET asks, so that a chat's preview of the link does not use it up; POST opens."""
    now = timezone.now()
    board = WallBoard.objects.by_link(secret, now)
    if board is None:
        return render(request, "live/board_gone.html", status=404)
    if request.method != "POST":
        return render(request, "live/board_open.html", {"board": board})
    with transaction.atomic():
        cookie = board.open(now)
        if cookie is None:
            return render(request, "live/board_gone.html", status=404)
        record(f"board {board.pk}", "board.opened", _object(board), request=request)
    answer = redirect(f"{COOKIE_PATH}?kiosk=1")
    answer.set_cookie(
        COOKIE,
        cookie,
        max_age=TERM,
        path=COOKIE_PATH,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
    return answer


@open_to_all  # a board's cookie decides
@never_cache
@require_safe
def board(request: HttpRequest) -> HttpResponse:
    shown = _board_of(request)
    if shown is None:
        return render(request, "live/board_gone.html", status=403)
    context = board_context() | {
        "board": shown,
        "socket": f"{COOKIE_PATH}socket/",
        "figures_address": reverse("live:board-figures"),
    }
    return render(request, "live/board.html", context)


@open_to_all  # a board's cookie decides
@require_safe
def figures(request: HttpRequest) -> HttpResponse:
    if _board_of(request) is None:
        raise Http404("There is no such board.")
    return JsonResponse(newest_figures())


def _board_of(request: HttpRequest) -> WallBoard | None:
    return WallBoard.objects.by_cookie(request.COOKIES.get(COOKIE, ""), timezone.now())


def _listed() -> dict[str, Any]:
    now = timezone.now()
    rows = [(row, row.state(now)) for row in WallBoard.objects.select_related("created_by")[:100]]
    return {"boards": rows, "longest": NAME_LONGEST}


def _person(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user


def _object(board: WallBoard) -> str:
    return f"board:{board.pk}"


def _told(board: WallBoard) -> dict[str, Any]:
    return {"name": board.name, "expires_at": board.expires_at}
