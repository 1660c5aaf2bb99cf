"""What a message about alerts says: enough to decide whether to get up."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.urls import reverse

from dashboard.alerts import links, marks, metrics, past, wording
from dashboard.alerts.models import AlertState, Incident, Rule, Silence
from dashboard.alerts.would import Point
from dashboard.delivery.message import Kind, Message
from gateway.core.snapshot import Frame
from gateway.models import PolicyVersion

SHOWN = timedelta(minutes=15)
MOST_LINES = 6


def of(
    incident: Incident,
    rule: Rule,
    kind: Kind,
    rows: Sequence[AlertState],
    at: datetime,
    *,
    frame: Frame | None,
    ended: Sequence[Silence] = (),
) -> Message:
    """Of ``rows``, what is loud of it: a part that is silenced has no say in its severity."""
    rows = sorted(rows, key=lambda row: (row.severity != "crit", -(row.priority or 0)))
    first = rows[0]
    lines = [_line(rule, row, at) for row in rows[:MOST_LINES]]
    if len(rows) > MOST_LINES:
        lines.append(f"and {len(rows) - MOST_LINES} more")
    if kind == "digest":
        lines.insert(0, "Flapping: it comes and goes. The next word is in 10 min, or when it ends.")
    lines += filter(None, [_busiest(frame, first), _down(frame, first, rule)])
    lines += _causes(incident)
    lines += [
        f"The silence of {owner(one)} ended {moment(one.ends_at)}: {one.reason}" for one in ended
    ]
    lines.append(f"Runbook: {rule.what_to_do}")
    since = incident.opened_at - marks.CAUSE
    lines.append(f"Charts: {whole(charts(since, at, first.pool, first.tier))}")
    return Message(
        kind=kind,
        severity="crit" if first.severity == "crit" else "warn",
        title=wording.title(incident, rows, rule),
        lines=tuple(lines),
        link=whole(reverse("alerts:incident", args=[incident.pk])),
        ack_link=whole(links.ack(incident)),
        at=at,
    )


def end(incident: Incident, why: str, at: datetime) -> Message:
    """The word that ends an incident, also where its rule is no more."""
    return Message(
        kind="resolved",
        severity="info",
        title=f"RESOLVED {incident.rule_name}{f' in {incident.pool}' if incident.pool else ''}",
        lines=(f"{why[0].upper()}{why[1:]}, after {wording.ago(incident.opened_at, at)}.",),
        link=whole(reverse("alerts:incident", args=[incident.pk])),
        at=at,
    )


def silence_ends(silence: Silence, hidden: Sequence[AlertState], at: datetime) -> Message:
    names = ", ".join(
        sorted({f"{row.rule.name}, {wording.subject(row, row.rule)}" for row in hidden})
    )
    return Message(
        kind="reminder",
        severity="info",
        title=f"A silence ends {moment(silence.ends_at)}: {silence.matcher}",
        lines=(
            f"by {owner(silence)}: {silence.reason}",
            f"It hides: {names}" if names else "It hides nothing now.",
        ),
        link=whole(reverse("alerts:silences")),
        ack_link="",
        at=at,
    )


def owner(silence: Silence) -> str:
    return silence.owner.get_username() if silence.owner else "somebody who left"


def moment(at: datetime) -> str:
    return f"at {at.astimezone(UTC):%H:%M} UTC"


def whole(path: str) -> str:
    """An address for somebody who is not on the site."""
    return f"{settings.LANEWAY_URL}{path}"


def charts(since: datetime, until: datetime, pool: str, tier: str) -> str:
    """The live page over an absolute range, so that it shows the same to whoever opens it later."""
    asked = f"?from={since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}&to={until.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    asked += f"&pool={pool}" if pool else ""
    asked += f"&tier={tier}" if tier else ""
    return reverse("live:page") + asked


def _line(rule: Rule, row: AlertState, at: datetime) -> str:
    since = f", since {wording.clock(row.since)}" if row.since else ""
    bars = wording.spark([point.value for point in stored(rule, row, at - SHOWN, at)])
    bars = f" {bars}" if bars else ""
    return f"{row.severity} {wording.subject(row, rule)}: {wording.now_and_limit(rule, row)}{since}{bars}"


def stored(rule: Rule, row: AlertState, since: datetime, until: datetime) -> list[Point]:
    tier = PolicyVersion.objects.newest_policy().tier(row.tier)
    return past.points(rule.metric, row.pool, tier, since, until) if tier else []


def _busiest(frame: Frame | None, row: AlertState) -> str:
    pool = metrics.pool_of(frame, row.pool)
    if pool is None or not row.tier:
        return ""
    found = metrics.busiest(pool, row.tier)
    return (
        "First in line: " + ", ".join(f"{name} {100 * share:.0f} %" for name, share in found)
        if found
        else ""
    )


def _down(frame: Frame | None, row: AlertState, rule: Rule) -> str:
    """Servers that are down beside it, as a possible cause."""
    pool = metrics.pool_of(frame, row.pool)
    if pool is None or rule.metric == "backends_down":
        return ""
    share, names = metrics.backends_down(pool)
    return f"Beside it: backend {names}" if share.value else ""


def _causes(incident: Incident) -> list[str]:
    found = [mark for mark in marks.before(incident.opened_at) if mark.kind != "backend"]
    return [
        f"{wording.clock(mark.at)} {mark.text}{f' by {mark.by}' if mark.by else ''}, "
        f"{wording.ago(mark.at, incident.opened_at)} before"
        for mark in found[:3]
    ]
