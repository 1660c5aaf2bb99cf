"""What happened that may explain a curve or an alert: versions, orders, backends, own notes."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from django.urls import reverse

from dashboard.alerts.models import AlertEvent, Annotation
from gateway import marks
from gateway.models import PolicyVersion

CAUSE = timedelta(minutes=30)  # what lies so far before an alert may have to do with it


class Mark(NamedTuple):
    at: datetime
    kind: str  # policy, override, override_ended, backend, note
    text: str
    by: str
    link: str = ""


def between(since: datetime, until: datetime) -> list[Mark]:
    """In the order of time."""
    versions = PolicyVersion.objects.filter(published_at__gte=since, published_at__lte=until)
    found = [
        Mark(
            version.published_at,
            "policy",
            f"policy v{version.number}: {version.message}",
            version.author.get_username() if version.author else "the system",
            f"/policy/versions/{version.number}/",
        )
        for version in versions.select_related("author")
    ]
    found += [
        Mark(datetime.fromtimestamp(order.at, UTC), order.kind, order.text, order.by)
        for order in marks.between(since, until)
        if order.kind != "policy"
    ]
    return sorted([*found, *beside(since, until)])


def beside(since: datetime, until: datetime) -> list[Mark]:
    """What is neither a version nor an order: backends that went or came, and notes."""
    backends = AlertEvent.objects.filter(
        at__gte=since,
        at__lte=until,
        kind__in=["fired", "rose", "resolved"],
        incident__rule__metric="backends_down",
    )
    found = [Mark(event.at, "backend", event.text, "") for event in backends]
    return found + notes(since, until)


def notes(since: datetime, until: datetime) -> list[Mark]:
    """What people marked themselves."""
    rows = Annotation.objects.between(since, until).select_related("by")
    return [
        Mark(
            note.at,
            "note",
            note.text,
            note.by.get_username() if note.by else "",
            reverse("alerts:note", args=[note.pk]),
        )
        for note in rows
    ]


def before(at: datetime) -> list[Mark]:
    """Possible causes of what began then, the nearest first."""
    return between(at - CAUSE, at)[::-1]
