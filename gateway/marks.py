"""Moments that explain a curve: a policy was published, an override began or ended.

In words for people, made from the rows that are kept anyway.
"""

from collections.abc import Iterator
from datetime import datetime
from itertools import chain

from gateway.core.selection import Selection
from gateway.core.snapshot import MarkView
from gateway.models import Override, PolicyVersion

KEPT = 10
LONGEST = 100  # letters: ten marks travel with every frame
UNREADABLE = "nobody: whom it means cannot be read"
MINUS = "\N{MINUS SIGN}"
DONE = {
    "pause": "paused",
    "drain": "drained",
    "move": "moved",
    "boost": "boosted",
    "evict": "evicted",
    "abort": "aborted",
}


def recent(most: int = KEPT) -> tuple[MarkView, ...]:
    """The last ones, oldest first."""
    versions = PolicyVersion.objects.select_related("author").order_by("-number")[:most]
    begun = Override.objects.order_by("-begun_at")[:most]
    ended = Override.objects.filter(ended_at__isnull=False).order_by("-ended_at")[:most]
    rows = {row.pk: row for row in chain(begun, ended)}
    found = chain((_published(v) for v in versions), *(_of(row) for row in rows.values()))
    return tuple(sorted(found, key=_moment)[-most:])


def between(since: datetime, until: datetime) -> tuple[MarkView, ...]:
    """All in a span, for a chart of the past."""
    versions = PolicyVersion.objects.select_related("author")
    published = versions.filter(published_at__range=(since, until))
    rows = Override.objects.between(since, until)
    found = chain((_published(v) for v in published), *(_of(row) for row in rows))
    first, last = since.timestamp(), until.timestamp()
    return tuple(sorted((mark for mark in found if first <= mark.at <= last), key=_moment))


def _moment(mark: MarkView) -> float:
    return mark.at


def _published(version: PolicyVersion) -> MarkView:
    by = version.author.get_username() if version.author else ""
    return MarkView(version.published_at.timestamp(), "policy", f"policy v{version.number}", by)


def _of(row: Override) -> Iterator[MarkView]:
    what, chosen = told(row), _chosen(row)
    if len(what) > LONGEST:
        what = what[: LONGEST - 1] + "…"
    tier = row.tier or (chosen.tier[0] if chosen and len(chosen.tier) == 1 else "")
    yield MarkView(row.begun_at.timestamp(), "override", what, row.owner, tier)
    if row.ended_at is not None:
        text = f"{what}: ended" if row.ended_by else f"{what}: ran its term"
        yield MarkView(row.ended_at.timestamp(), "override_ended", text, row.ended_by, tier)


def told(row: Override) -> str:
    """The order as a statement: ``paused batch``, ``moved acme to critical``."""
    if row.undoes_id:
        return f"took back order no. {row.undoes_id}"
    if row.verb == Override.Verb.MOVE:
        return f"moved {row.tenant} to {row.tier}"
    if row.lasts:
        return f"{DONE[row.verb]} {row.tier}"
    by = f" by {row.by:+}".replace("-", MINUS) if row.by else ""
    chosen = _chosen(row)
    return f"{DONE[row.verb]} {wanted(chosen) if chosen else UNREADABLE}{by}"


def _chosen(row: Override) -> Selection | None:
    """None where it cannot be read: no gateway carries that order out, and charts still show it."""
    try:
        return row.chosen()
    except ValueError:
        return None


def wanted(chosen: Selection) -> str:
    """Whom a selection means, in words."""
    if chosen.ids:
        return f"{len(chosen.ids)} request{'s' if len(chosen.ids) != 1 else ''}"
    named = {
        "tier": chosen.tier,
        "tenant": chosen.tenant,
        "task": chosen.task_type,
        "key": chosen.key,
        "model": chosen.model,
    }
    parts = [f"{word} {' or '.join(values)}" for word, values in named.items() if values]
    return "all that wait" + (f" ({', '.join(parts)})" if parts else "")
