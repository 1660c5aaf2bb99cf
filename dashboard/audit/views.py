"""The trail as a page with filters, and as files."""

from datetime import UTC, datetime, time, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django import forms
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from dashboard.accounts import permissions as may
from dashboard.accounts.gate import open_to
from dashboard.audit.export import COLUMNS, OF_A_TENANT, as_csv, as_json_lines
from dashboard.audit.log import record
from dashboard.audit.models import AuditEvent, AuditLook, AuditRows

PER_PAGE = 50


class FilterForm(forms.Form):
    who = forms.CharField(required=False, max_length=150)
    verb = forms.CharField(required=False, max_length=64)
    object = forms.CharField(required=False, max_length=200, label="To (object or tenant)")
    since = forms.DateField(required=False, widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(required=False, widget=forms.DateInput(attrs={"type": "date"}))


class Found(NamedTuple):
    form: FilterForm
    events: AuditRows
    query: str  # the filters, as they stand in an address


@open_to(may.may_read_audit)
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    form, events, query = _found(request)
    before = request.GET.get("before", "")
    if before.isascii() and before.isdecimal() and len(before) < 18:
        events = events.filter(number__lt=int(before))
    rows = list(events[: PER_PAGE + 1])
    verbs = _readable(request).order_by("verb").values_list("verb", flat=True).distinct()
    whole = may.may_read_whole_audit(request.user)
    context = {
        "form": form,
        "rows": rows[:PER_PAGE],
        "older": rows[PER_PAGE - 1].number if len(rows) > PER_PAGE else None,
        "is_first": not before,
        "query": query,
        "verbs": list(verbs),
        "whole": whole,
        "look": AuditLook.objects.filter(pk=1).first() if whole else None,
    }
    fragment = request.headers.get("HX-Target") == "events"
    return render(request, "audit/_events.html" if fragment else "audit/page.html", context)


@open_to(may.may_read_audit)
@require_safe
def export(request: HttpRequest, form: str) -> HttpResponse:
    """What the filters show, oldest first.  Taking it away is an act of its own."""
    found = _found(request)
    with transaction.atomic():
        record(
            request.user,
            "audit.exported",
            "audit:trail",
            after={"as": form, "filters": found.query},
            request=request,
        )
    events = found.events.order_by("number").iterator(chunk_size=1000)
    columns = COLUMNS if may.may_read_whole_audit(request.user) else OF_A_TENANT
    lines, kind = {
        "csv": (as_csv(events, columns), "text/csv; charset=utf-8"),
        "jsonl": (as_json_lines(events, columns), "application/x-ndjson"),
    }[form]
    # Joined, not streamed: under ASGI a synchronous stream would be collected by Django anyway.
    answer = HttpResponse("".join(lines), content_type=kind)
    answer["Content-Disposition"] = f'attachment; filename="laneway-audit.{form}"'
    return answer


def _readable(request: HttpRequest) -> AuditRows:
    rows = AuditEvent.objects.all()
    if may.may_read_whole_audit(request.user):
        return rows
    return rows.in_tenants(may.audited_tenants(request.user).values("slug"))


def _found(request: HttpRequest) -> Found:
    """A filter that cannot be read filters nothing, and the page says so beside it."""
    form = FilterForm(request.GET)
    form.is_valid()
    said: dict[str, Any] = {name: value for name, value in form.cleaned_data.items() if value}
    rows = _readable(request)
    if "who" in said:
        rows = rows.by(said["who"])
    if "verb" in said:
        rows = rows.of_verb(said["verb"])
    if "object" in said:
        rows = rows.about(said["object"])
    if "since" in said:
        rows = rows.since(_midnight(said["since"]))
    if "until" in said:
        rows = rows.until(_midnight(said["until"] + timedelta(days=1)))
    return Found(form, rows, urlencode(said))


def _midnight(day: Any) -> datetime:
    return datetime.combine(day, time(), UTC)
