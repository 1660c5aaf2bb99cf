"""The waiting line beyond what a frame holds: filtered, and one request of it explained.

Both are asked of the gateway by way of ``gateway.questions`` and come within a second.
"""

import csv
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from dashboard.accounts.gate import open_to
from dashboard.accounts.permissions import may_watch
from dashboard.audit.export import harmless
from dashboard.live import why
from gateway import newest, questions
from gateway.core.snapshot import HeadRow

SHOWN = 200
# By the name in the address: the field of a row.
FIELDS = {"tier": "tier", "tenant": "tenant", "task": "task_type", "key": "key", "model": "model"}
NO_STORE = {"Cache-Control": "no-store"}


class Filter(NamedTuple):
    """What is wanted, by field; a field that is not named takes everything."""

    wanted: dict[str, frozenset[str]]

    def takes(self, row: HeadRow) -> bool:
        return all(getattr(row, field) in values for field, values in self.wanted.items())


def filter_of(query: Mapping[str, str]) -> Filter:
    """``tier=standard,batch&tenant=acme``: commas mean or, different names mean and."""
    wanted = {}
    for name, field in FIELDS.items():
        values = frozenset(v.strip() for v in query.get(name, "").split(",") if v.strip())
        if values:
            wanted[field] = values
    return Filter(wanted)


class Part(msgspec.Struct, frozen=True):
    """The part of one pool's line that a filter leaves."""

    columns: tuple[str, ...]
    rows: tuple[HeadRow, ...]
    matching: int  # how many there are
    looked_at: int  # of the first so many


def part_of(line: Iterable[HeadRow], chosen: Filter) -> Part:
    rows = tuple(line)
    found = tuple(row for row in rows if chosen.takes(row))
    return Part(HeadRow.__struct_fields__, found[:SHOWN], len(found), len(rows))


@open_to(may_watch)
@require_safe
def line(request: HttpRequest) -> HttpResponse:
    """Who waits, filtered; 202 while the gateway has not answered yet."""
    answer = questions.ask_line()
    if answer is None:
        return _not_yet()
    part = part_of(_chosen(request, answer), filter_of(request.GET.dict()))
    body = msgspec.json.encode(part)
    return HttpResponse(body, content_type="application/json", headers=NO_STORE)


@open_to(may_watch)
@require_safe
def as_csv(request: HttpRequest) -> HttpResponse:
    """The same as a file, of all that match; a browser asks again until it is there."""
    answer = questions.ask_line()
    if answer is None:
        pending = _not_yet()
        pending["Refresh"] = "1"
        return pending
    takes = filter_of(request.GET.dict()).takes
    file = HttpResponse(content_type="text/csv; charset=utf-8", headers=NO_STORE)
    file["Content-Disposition"] = 'attachment; filename="waiting.csv"'
    writer = csv.writer(file)
    writer.writerow(HeadRow.__struct_fields__)
    for row in filter(takes, _chosen(request, answer)):
        writer.writerow(_cell(value) for value in msgspec.structs.astuple(row))
    return file


def _chosen(request: HttpRequest, answer: bytes) -> tuple[HeadRow, ...]:
    """The line of the pool that the address names, or of the first."""
    pools = msgspec.json.decode(answer, type=dict[str, tuple[HeadRow, ...]])
    return pools.get(request.GET.get("pool", ""), next(iter(pools.values()), ()))


def _not_yet() -> HttpResponse:
    """The gateway's next tick answers; without a frame there is none."""
    if newest.frame_text():
        return HttpResponse("Asking the gateway…", "text/plain", 202, headers=NO_STORE)
    return HttpResponse("The gateway says nothing.", "text/plain", 503, headers=NO_STORE)


def _cell(value: object) -> object:
    if isinstance(value, tuple):
        return " to ".join(map(str, value))
    return harmless(value) if isinstance(value, str) else value


@open_to(may_watch)
@require_safe
def explained(request: HttpRequest, id: str) -> HttpResponse:
    """One request explained: a page of its own, or a fragment for the live page to renew."""
    answer = questions.ask_why(id)
    document = None if answer is None else msgspec.json.decode(answer)
    context = {
        "id": id,
        "pending": document is None,
        "request_known": bool(document),
        "running": document["request"]["state"] == "running" if document else False,
        "said": why.sentences(document) if document else [],
    }
    fragment = "fragment" in request.GET
    answer_page = render(request, "live/_why.html" if fragment else "live/why.html", context)
    answer_page["Cache-Control"] = "no-store"
    if document is None and not fragment:
        answer_page["Refresh"] = "1"
    return answer_page
