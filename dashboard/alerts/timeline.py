"""An incident from beginning to end, as lines; and as Markdown, to paste into a report."""

from datetime import UTC, datetime
from typing import NamedTuple

from dashboard.alerts import marks, message, wording
from dashboard.alerts.models import FIRST_LINES, Incident


class Line(NamedTuple):
    at: datetime
    kind: str
    text: str
    by: str
    severity: str = ""


def lines(incident: Incident, now: datetime) -> list[Line]:
    """Its own events, and beside them what happened from half an hour before it to its end."""
    end = incident.closed_at or now
    found = [
        Line(event.at, event.kind, event.text, event.by, event.severity)
        for event in incident.events.all()
    ]
    if incident.left_out:
        found += _gap(incident)
    own = {(line.at, line.text) for line in found}
    beside = marks.between(incident.opened_at - marks.CAUSE, end)
    found += [
        Line(mark.at, mark.kind, mark.text, mark.by)
        for mark in beside
        if (mark.at, mark.text) not in own
    ]
    return sorted(found, key=lambda line: line.at)


def _gap(incident: Incident) -> list[Line]:
    """Where the middle of a long coming and going is missing."""
    kept = incident.events.filter(by="").order_by("pk").values_list("at", flat=True)
    text = f"{incident.left_out} lines are left out here: it came and went too often"
    return [Line(at, "gap", text, "") for at in kept[FIRST_LINES - 1 : FIRST_LINES]]


def charts(incident: Incident, now: datetime) -> str:
    end = incident.closed_at or now
    row = incident.states.order_by("-severity").first()
    tier = row.tier if row else ""
    return message.charts(incident.opened_at - marks.CAUSE, end, incident.pool, tier)


def markdown(incident: Incident, now: datetime) -> str:
    rule, end = incident.rule, incident.closed_at
    head = [
        f"# {_plain(incident.rule_name)}",
        "",
        f"- Severity: {incident.severity}",
        f"- Pool: {incident.pool or 'none'}",
        f"- Began: {_moment(incident.opened_at)}",
        f"- Ended: {_moment(end)}, after {wording.ago(incident.opened_at, end)}"
        if end
        else "- Ended: not yet",
        f"- Told: {incident.said} time{'' if incident.said == 1 else 's'}",
    ]
    if rule:
        head.append(f"- Rule: {wording.sentence(rule)}")
        head.append(f"- Runbook: <{rule.what_to_do}>")
    head.append(f"- Charts: <{message.whole(charts(incident, now))}>")
    table = ["", "| UTC | what | by |", "|---|---|---|"]
    table += [
        f"| {line.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} | {_plain(line.text)} | {_plain(line.by)} |"
        for line in lines(incident, now)
    ]
    return "\n".join([*head, *table, ""])


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _plain(text: str) -> str:
    """People's own words in a table: what Markdown would read into them is escaped."""
    cleaned = " ".join(text.split())
    for sign in ("\\", "|", "`", "*", "_", "[", "]", "<", ">", "#"):
        cleaned = cleaned.replace(sign, "\\" + sign)
    return cleaned
