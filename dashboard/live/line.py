"""The waiting line beyond what a frame holds: filtered, and one request of it explained.

Both are asked of the gateway by way of ``gateway.questions`` and come within a second.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from dashboard.accounts.gate import open_to
from dashboard.accounts.permissions import may_watch
from dashboard.live import why
from dashboard.live.views import FRAME_KEY
from gateway import questions
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
        return HttpResponse(status=202 if cache.get(FRAME_KEY) else 503, headers=NO_STORE)
    pools = msgspec.json.decode(answer, type=dict[str, tuple[HeadRow, ...]])
    chosen = pools.get(request.GET.get("pool", ""), next(iter(pools.values()), ()))
    body = msgspec.json.encode(part_of(chosen, filter_of(request.GET.dict())))
    return HttpResponse(body, content_type="application/json", headers=NO_STORE)


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
    template = "live/_why.html" if "fragment" in request.GET else "live/why.html"
    answer_page = render(request, template, context)
    answer_page["Cache-Control"] = "no-store"
    return answer_page
