"""Asking for a preview, stopping it, finding one again: equal questions share an answer."""

import json
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from dashboard.policies import recorded, whatif
from dashboard.policies.edit import clean
from dashboard.policies.fields import Document
from dashboard.policies.models import Draft, Preview, document_of
from gateway.core.policy import load

KEPT = 50  # rows
GIVEN_UP = timedelta(minutes=5)  # a worker that takes longer has died over it
LOOK_EVERY = 0.02  # of the way: how often a stop is looked for, and progress told
State = Preview.State


class Stopped(Exception):
    """Somebody wants it no more."""


def checksum(*parts: Any) -> str:
    return sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def of_draft(draft: Draft) -> str:
    return checksum(draft.base, clean(draft.document))


def ask(
    draft: Draft, person: User, since: datetime, until: datetime, times: float, lost: str
) -> tuple[Preview, bool]:
    """The row that answers, and whether it has yet to be worked out."""
    document = clean(draft.document)
    many = recorded.many(since, until)  # a record that has grown is another question
    asked = checksum(document_of(draft.base), document, since, until, many, times, lost)
    row, is_new = Preview.objects.get_or_create(
        checksum=asked,
        defaults={
            "draft_checksum": of_draft(draft),
            "person": person,
            "base": draft.base,
            "document": document,
            "since": since,
            "until": until,
            "load": times,
            "lost": lost,
        },
    )
    old = Preview.objects.order_by("-pk").values_list("pk", flat=True)[KEPT:]
    Preview.objects.filter(pk__in=list(old)).delete()
    now = timezone.now()
    died = row.state in (State.WAITING, State.RUNNING) and now - row.asked_at > GIVEN_UP
    again = not is_new and (died or row.state in (State.STOPPED, State.FAILED))
    if again:
        Preview.objects.filter(pk=row.pk).update(
            state=State.WAITING, done_share=0, error="", asked_at=now
        )
        row.refresh_from_db()
    return row, is_new or again


def answer_of(draft: Draft) -> Preview | None:
    """The newest finished preview of the draft as it is."""
    done = Preview.objects.filter(draft_checksum=of_draft(draft), state=State.DONE)
    return done.order_by("-ended_at").first()


def stop(row: Preview) -> None:
    Preview.objects.filter(pk=row.pk, state__in=[State.WAITING, State.RUNNING]).update(
        state=State.STOPPED
    )


def work_out(pk: int, now: datetime) -> None:
    """The task.  One worker claims the row; a stop is seen on the way."""
    rows = Preview.objects.filter(pk=pk)
    if not rows.filter(state=State.WAITING).update(state=State.RUNNING):
        return
    row = rows.get()
    try:
        result, state, error = _result(row), State.DONE, ""
    except Stopped:
        return
    except ValueError as failed:
        result, state, error = None, State.FAILED, str(failed)[:300]
    ended = {"state": state, "result": result, "error": error, "done_share": 1.0, "ended_at": now}
    rows.filter(state=State.RUNNING).update(**ended)


def _result(row: Preview) -> Document:
    found = recorded.arrivals(row.since, row.until)
    if not found:
        raise ValueError("No request was recorded in that time: choose another.")
    told = 0.0

    def progress(share: float) -> None:
        nonlocal told
        if share - told < LOOK_EVERY:
            return
        told = share
        running = Preview.objects.filter(pk=row.pk, state=State.RUNNING)
        if not running.update(done_share=share):
            raise Stopped

    machine = recorded.machine(found)
    if row.lost and (row.lost not in machine.engines or len(machine.engines) < 2):
        raise ValueError(f"Without {row.lost} no server is left.")
    before, after = load(document_of(row.base)), load(row.document)
    replay = whatif.Replay(before, after, found, machine, progress, row.load)
    return replay.result(as_recorded=row.load == 1.0 and not row.lost, lost=row.lost)
