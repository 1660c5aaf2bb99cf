"""The page of what is wrong here and what to do: ``manage.py doctor`` for people with a browser."""

from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from dashboard.accounts.gate import open_to
from dashboard.accounts.permissions import may_watch
from gateway import doctor, newest
from gateway.doctor.finding import WORST_FIRST
from gateway.doctor.looking import live_of

HEADINGS = {"error": "Errors", "warning": "Warnings", "note": "Notes", "ok": "What is well"}


@open_to(may_watch)
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Asks every server while the reader waits, a few seconds at most: nothing here is stored."""
    frame = newest.frame_text()
    live = live_of(frame.encode()) if frame else {}
    error = "" if frame else "it has published no state in the last 5 s"
    report = async_to_sync(doctor.examine)(timezone.now(), live, error)
    groups = [(severity, HEADINGS[severity], report.of(severity)) for severity in WORST_FIRST]
    context = {"groups": groups, "counts": report.counts}
    return render(request, "live/doctor.html", context)
