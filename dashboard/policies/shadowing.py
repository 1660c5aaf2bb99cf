"""A draft as a shadow: begun, ended, and what it would have done otherwise in sentences' place."""

from collections.abc import Iterable
from datetime import timedelta
from typing import NamedTuple

from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from dashboard.accounts.gate import open_to
from dashboard.accounts.permissions import may_publish, may_read_policy
from dashboard.audit.log import record
from dashboard.policies.diff import keyed, sentences, unkeyed
from dashboard.policies.edit import clean
from dashboard.policies.fields import Document
from dashboard.policies.fields import document as as_document
from dashboard.policies.models import Draft, StaleDraft, document_of
from dashboard.policies.publish import LONGEST_MESSAGE
from dashboard.policies.request import person
from gateway.core.policy import Policy, dump, load
from gateway.models import Shadow, ShadowCount

SHOWN_FOR = timedelta(days=1)  # after its end
STOP_POLLING = 286  # htmx


class Moved(NamedTuple):
    """Requests of one tenant that the shadow decides otherwise, or in another rank."""

    tenant: str
    was: str
    would: str
    n: int
    effect: str


@transaction.atomic
def start(
    draft: Draft,
    edit: int,
    message: str,
    minutes: int,
    author: User,
    request: HttpRequest | None = None,
) -> Shadow:
    """Count beside the real policy for so long; the draft stays.  One that runs ends.

    Raises:
        StaleDraft, ValueError: as ``publish.publish`` does.
    """
    if not Draft.objects.filter(pk=draft.pk, edit=edit).exists():
        raise StaleDraft
    policy = load(unkeyed(keyed(clean(draft.document))))
    now = timezone.now()
    end(author, request)
    row = Shadow.objects.create(
        document=dump(policy),
        base=draft.base,
        message=message[:LONGEST_MESSAGE],
        author=author.get_username(),
        ends_at=now + timedelta(minutes=minutes),
    )
    changes = sentences(document_of(draft.base), as_document(policy))
    told = {"base": row.base, "minutes": minutes, "changes": changes}
    name = f"policy:shadow {row.pk}"
    record(author, "policy.shadow_started", name, after=told, reason=message, request=request)
    return row


@transaction.atomic
def end(by: User, request: HttpRequest | None = None) -> None:
    now = timezone.now()
    row = Shadow.objects.current(now)
    if row and Shadow.objects.filter(pk=row.pk, ends_at__gt=now).update(ends_at=now):
        record(by, "policy.shadow_ended", f"policy:shadow {row.pk}", request=request)


def standing(request: HttpRequest) -> Document:
    """The newest shadow that still tells something."""
    now = timezone.now()
    row = Shadow.objects.filter(ends_at__gt=now - SHOWN_FOR).first()
    if row is None:
        return {"shadow": None}
    counts = list(ShadowCount.objects.filter(shadow=row))
    return {
        "shadow": row,
        "shadow_runs": row.ends_at > now,
        "shadow_n": sum(count.n for count in counts),
        "shadow_moved": moved(load(document_of(row.base)), load(row.document), counts),
        "may_end_shadow": may_publish(request.user),
    }


def moved(before: Policy, after: Policy, counts: Iterable[ShadowCount]) -> list[Moved]:
    """What differs, the most first."""
    found = [
        Moved(count.tenant, count.was, count.would, count.n, effect)
        for count in counts
        if (effect := _effect(before, after, count.was, count.would))
    ]
    return sorted(found, key=lambda row: (-row.n, row.tenant, row.was, row.would))


def _effect(before: Policy, after: Policy, was: str, would: str) -> str:
    if was == would == "":
        return ""
    if not would:
        return "refused"
    if not was:
        return "let in"
    old, new = before.tier(was), after.tier(would)
    if old and new and old.priority != new.priority:
        return "ranked higher" if new.priority > old.priority else "ranked lower"
    return "another tier" if was != would else ""


@open_to(may_read_policy)
@require_safe
def card(request: HttpRequest) -> HttpResponse:
    """The card alone; it asks every two seconds while a shadow runs."""
    context = standing(request)
    answer = render(request, "policies/_shadow.html", context)
    if not context.get("shadow_runs") and request.headers.get("HX-Request"):
        answer.status_code = STOP_POLLING
    return answer


@open_to(may_publish)
@require_POST
def stop(request: HttpRequest) -> HttpResponse:
    end(person(request), request)
    return redirect("policies:overview")
