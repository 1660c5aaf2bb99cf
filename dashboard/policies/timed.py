"""Publishing at a moment: put down with its zone, done by the ticker, called off until then.

Who put it down must be one who may publish when it comes to it.
"""

from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from dashboard.accounts.permissions import may_publish
from dashboard.audit.log import record
from dashboard.delivery.message import Message
from dashboard.delivery.models import Channel
from dashboard.delivery.posting import post
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
    if not may_publish(author):
        why = f"{author} may not publish any more."
        _not_published(row, now, Scheduled.State.REFUSED, why)
        return
    try:
        before = publish.hold_to_edit(row.base)
    except publish.BaseMoved as moved:
        _not_published(row, now, Scheduled.State.MOVED, str(moved), moved.newest)
        return
    if not _ended(row, Scheduled.State.PUBLISHED, now, row.base + 1):
        return
    version = PolicyVersion.objects.publish(load(row.document), row.message, author)
    publish.recorded("policy.published", version, before, row.message, author, None)
    managed.published_in_browser()


def _not_published(
    row: Scheduled,
    now: datetime,
    state: Scheduled.State,
    why: str,
    newest: int | None = None,
) -> None:
    if not _ended(row, state, now, newest):
        return
    publish.give_back(row.person, row.document, row.base)
    told = {"base": row.base} | ({} if newest is None else {"newest": newest})
    record("schedule", "policy.not_published", _name(row), after=told, reason=why)
    lines = (
        f"{row.person}'s draft on v{row.base}: {row.message}",
        "Its edits are a draft again.",
    )
    title = f"A scheduled policy was not published: {why}"
    message = Message("firing", "warn", title, lines, at=now)
    post(message, Channel.objects.enabled(), f"schedule-{row.pk}")


def _ended(
    row: Scheduled, state: Scheduled.State, now: datetime, version: int | None = None
) -> bool:
    """Claim the row's end for whoever asks first."""
    waiting = Scheduled.objects.filter(pk=row.pk, state=Scheduled.State.WAITING)
    return bool(waiting.update(state=state, ended_at=now, version=version))


def waiting() -> QuerySet[Scheduled]:
    return Scheduled.objects.filter(state=Scheduled.State.WAITING).select_related("person")


def not_published(person: User, now: datetime) -> QuerySet[Scheduled]:
    """What this person has to hear of: their schedules of which nothing came."""
    states = (Scheduled.State.MOVED, Scheduled.State.REFUSED)
    moved = Scheduled.objects.filter(person=person, state__in=states)
    return moved.filter(ended_at__gte=now - TOLD_FOR).order_by("-ended_at")


def _name(row: Scheduled) -> str:
    return f"policy:schedule {row.pk}"
