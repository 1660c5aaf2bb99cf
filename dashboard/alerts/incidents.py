"""Incidents, from the first alert of a rule in a pool to the last, and who is told of them."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet

from dashboard.alerts import message
from dashboard.alerts.models import AlertState, Incident, Rule, Silence, hiding
from dashboard.alerts.saying import RANK, Say, Told, due, worst_of
from dashboard.alerts.stored import restored
from dashboard.delivery.message import Message
from dashboard.delivery.models import Channel
from dashboard.delivery.posting import post
from gateway.core.snapshot import Frame

ANNOUNCED = timedelta(minutes=15)  # before a silence ends
NOTED = timedelta(minutes=1)  # how often it is written that a silence hides something
ENDED = timedelta(minutes=10)  # a silence that ended so recently is named in a message


def open_for(rule: Rule, pool: str, severity: str, at: datetime) -> Incident:
    """The open incident of a rule in a pool, locked until the transaction ends; a new one if none.

    The lock is a write to its row: whoever would close it waits, and then sees what joined.
    """
    while True:
        mine = Incident.objects.open().filter(rule=rule, pool=pool)
        if mine.update(moves=F("moves") + 1):
            return mine.get()
        try:
            with transaction.atomic():
                return Incident.objects.create(
                    rule=rule, rule_name=rule.name, pool=pool, severity=severity, opened_at=at
                )
        except IntegrityError:  # another evaluator opened it this moment
            continue


def settle(at: datetime, frame: Frame | None) -> None:
    """Bring all open incidents up to date: their severity, their acks, what is said, their end."""
    silences = list(Silence.objects.active(at).select_related("rule", "owner"))
    hidden_by: dict[int, list[AlertState]] = {}
    opened = Incident.objects.open().select_related("rule").prefetch_related("states")
    for incident in opened:
        rows = [row for row in incident.states.all() if row.severity]
        flapping = any(restored(row).flapping for row in incident.states.all())
        if not rows and not flapping:
            end(incident, at)
            continue
        _level(incident, rows, at)
        loud = []
        for row in rows:
            silence = hiding(silences, row)
            if silence is not None:
                hidden_by.setdefault(silence.pk, []).append(row)
            elif not row.hidden_by:
                loud.append(row)
        say = _due(incident, loud, at, flapping=flapping)
        if say:
            _say(incident, say, loud, at, frame)
    for silence in silences:
        _look_after(silence, hidden_by.get(silence.pk, []), at)


def _due(
    incident: Incident, loud: Sequence[AlertState], at: datetime, *, flapping: bool
) -> Say | None:
    said_at = incident.said_at.timestamp() if incident.said_at else 0.0
    told = Told(
        incident.said,
        said_at,
        incident.said_severity,  # type: ignore[arg-type] # the column's own choices
        frozenset(incident.said_of),
        incident.said_flapping,
    )
    return due(
        told,
        {row.instance: row.severity for row in loud},  # type: ignore[misc] # the same
        opened_at=incident.opened_at.timestamp(),
        acked=incident.acked(at),
        flapping=flapping,
        now=at.timestamp(),
    )


def _level(incident: Incident, rows: Sequence[AlertState], at: datetime) -> None:
    """The severity is the worst there is; an ack is over when that rises, or when its time is."""
    worst = worst_of({row.instance: row.severity for row in rows})  # type: ignore[misc]
    if worst and worst != incident.severity:
        Incident.objects.filter(pk=incident.pk).update(severity=worst)
        incident.severity = worst
    if incident.acked_at is None:
        return
    rose = RANK[incident.severity] > RANK[incident.acked_severity]
    if rose or not incident.acked(at):
        end_ack(incident, at, "it rose to crit" if rose else "its time is over")


def end_ack(incident: Incident, at: datetime, why: str, by: str = "") -> bool:
    mine = Incident.objects.filter(pk=incident.pk, acked_at=incident.acked_at)
    with transaction.atomic():
        if not mine.update(acked_at=None, acked_until=None, acked_by="", acked_severity=""):
            return False
        incident.tell(at, "ack_ended", f"the ack of {incident.acked_by} ended: {why}", by=by)
    incident.acked_at = None
    return True


def _say(
    incident: Incident, kind: Say, loud: Sequence[AlertState], at: datetime, frame: Frame | None
) -> None:
    rule = incident.rule
    if rule is None:
        return
    worst = worst_of({row.instance: row.severity for row in loud})  # type: ignore[misc]
    channels = [one for one in rule.channels(worst) if one.enabled]
    ended = [
        silence
        for silence in Silence.objects.ended_since(at - ENDED, at).select_related("owner")
        if any(silence.hides(row) for row in loud)
    ]
    told = message.of(incident, rule, kind, loud, at, frame=frame, ended=ended)
    with transaction.atomic():
        mine = Incident.objects.open().filter(pk=incident.pk, said=incident.said)
        if not mine.update(
            said=F("said") + 1,
            said_at=at,
            said_severity=worst,
            said_of=sorted(row.instance for row in loud),
            said_flapping=kind == "digest",
            said_to=sorted({*incident.said_to, *(one.pk for one in channels)}),
        ):
            return
        _post(incident, kind, told, channels, at)


def end(incident: Incident, at: datetime, why: str = "", by: str = "") -> bool:
    """Close it and tell those who heard of it, whichever channels the rule names by now.

    ``why``: something else than that all is calm, such as that the rule is deleted.
    """
    with transaction.atomic():
        locked = Incident.objects.open().select_for_update().filter(pk=incident.pk).first()
        if locked is None:
            return False
        if not why:
            if locked.states.exclude(severity="").exists():
                return False
            why = "nothing fires any more" if locked.rule_id else "the rule is gone"
        locked.closed_at = at
        locked.save(update_fields=["closed_at"])
        locked.tell(at, "closed", f"resolved: {why}", by=by)
        if locked.said:
            told = message.end(locked, why, at)
            _post(locked, "resolved", told, list(_heard(locked)), at)
        return True


def _heard(incident: Incident) -> QuerySet[Channel]:
    return Channel.objects.enabled().filter(pk__in=incident.said_to)


def _post(
    incident: Incident,
    kind: str,
    told: Message,
    channels: Sequence[Channel],
    at: datetime,
) -> None:
    names = ", ".join(channel.name for channel in channels)
    to = names or "nobody: no channel is chosen for the rule"
    severity = "" if told.severity == "info" else told.severity
    incident.tell(at, "said", f"{kind} told to {to}", severity=severity)
    number = "end" if kind == "resolved" else str(incident.said + 1)
    post(told, channels, f"incident-{incident.pk}-{number}")


def _look_after(silence: Silence, hidden: Sequence[AlertState], at: datetime) -> None:
    """Note that it is of use, and tell of its end before it comes."""
    mine = Silence.objects.filter(pk=silence.pk)
    if hidden and (silence.hid_at is None or at - silence.hid_at >= NOTED):
        mine.update(hid_at=at)
    ends_soon = silence.ends_at - at <= ANNOUNCED < silence.ends_at - silence.starts_at
    if silence.announced or not ends_soon:
        return
    with transaction.atomic():
        if not mine.filter(announced=False).update(announced=True):
            return
        for row in hidden:
            if row.incident:
                text = f"the silence of {message.owner(silence)} ends {message.moment(silence.ends_at)}"
                row.incident.tell(at, "silence", text, instance=row.instance)
        told = message.silence_ends(silence, hidden, at)
        post(told, _ears(silence, hidden), f"silence-{silence.pk}-ends")


def _ears(silence: Silence, hidden: Sequence[AlertState]) -> list[Channel]:
    """Where what it hides would have been told; of one that hides nothing now, what it could.

    It may be there for what is still to come, so its owner hears of its end all the same.
    """
    chosen = [row.rule for row in hidden] or silence.could_hide()
    level = silence.severity or "crit"
    found = {channel.pk: channel for rule in chosen for channel in rule.channels(level)}
    return [channel for channel in found.values() if channel.enabled]
