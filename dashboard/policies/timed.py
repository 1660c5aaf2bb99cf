"""Publishing at a moment: put down with its zone, done by the ticker, called off until then."""

from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from dashboard.audit.log import record
from dashboard.delivery import Message, post
from dashboard.delivery.models import Channel
from dashboard.policies import managed, publish
from dashboard.policies.models import Draft, Scheduled
from gateway.core.policy import dump, load
from gateway.models import PolicyVersion

TOLD_FOR = timedelta(days=7)  # how long the author's page says that nothing was published


@transaction.atomic
def schedule(
    draft: Draft,
    edit: int,
    message: str,
    at: datetime,
    zone: str,
    author: User,
    request: HttpRequest | None = None,
) -> Scheduled:
    """Have the draft published at ``at``, as it was at its ``edit``-th save.

    Raises:
        BaseMoved, StaleDraft, ValueError: as ``publish.publish`` does, now rather than then.
    """
    publish.hold_to_edit(draft.base)
    document = dump(publish.take(draft, edit))
    row = Scheduled.objects.create(
        person=author,
        document=document,
        base=draft.base,
        message=message[: publish.LONGEST_MESSAGE],
        at=at,
        zone=zone,
    )
    told = {"base": row.base, "at": at, "zone": zone}
    record(author, "policy.scheduled", _name(row), after=told, reason=message, request=request)
    return row


@transaction.atomic
def cancel(row: Scheduled, by: User, request: HttpRequest | None = None) -> bool:
    """Call it off and give its author the draft back.  False: it is over already."""
    if not _ended(row, Scheduled.State.CANCELLED, datetime.now(row.at.tzinfo)):
        return False
    publish.give_back(row.person, row.document, row.base)
    record(by, "policy.schedule_cancelled", _name(row), reason=row.message, request=request)
    return True


def publish_due(now: datetime) -> None:
    """Publish what has come due.  Two gateways may both ask: each row is done once."""
    for row in Scheduled.objects.filter(state=Scheduled.State.WAITING, at__lte=now):
        _publish(row, now)


@transaction.atomic
def _publish(row: Scheduled, now: datetime) -> None:
    author: User = row.person
    try:
        before = publish.hold_to_edit(row.base)
    except publish.BaseMoved as moved:
        if _ended(row, Scheduled.State.MOVED, now, moved.newest):
            publish.give_back(author, row.document, row.base)
            told = {"base": row.base, "newest": moved.newest}
            record("schedule", "policy.not_published", _name(row), after=told, reason=str(moved))
            title = f"A scheduled policy was not published: {moved}"
            lines = (
                f"{author}'s draft on v{row.base}: {row.message}",
                "Its edits are a draft again.",
            )
            message = Message("firing", "warn", title, lines, at=now)
            post(message, Channel.objects.enabled(), f"schedule-{row.pk}")
        return
    if not _ended(row, Scheduled.State.PUBLISHED, now, row.base + 1):
        return
    version = PolicyVersion.objects.publish(load(row.document), row.message, author)
    publish.recorded("policy.published", version, before, row.message, author, None)
    managed.published_in_browser()


def _ended(
    row: Scheduled, state: Scheduled.State, now: datetime, version: int | None = None
) -> bool:
    """Claim the row's end for whoever asks first."""
    waiting = Scheduled.objects.filter(pk=row.pk, state=Scheduled.State.WAITING)
    return bool(waiting.update(state=state, ended_at=now, version=version))


def waiting() -> QuerySet[Scheduled]:
    return Scheduled.objects.filter(state=Scheduled.State.WAITING).select_related("person")


def not_published(person: User, now: datetime) -> QuerySet[Scheduled]:
    """What this person has to hear of: their schedules that met a newer version."""
    moved = Scheduled.objects.filter(person=person, state=Scheduled.State.MOVED)
    return moved.filter(ended_at__gte=now - TOLD_FOR).order_by("-ended_at")


def _name(row: Scheduled) -> str:
    return f"policy:schedule {row.pk}"
