"""What people change: rules, acks, silences, notes; each with its audit entry, in one transaction."""

from datetime import datetime
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import transaction
from django.db.models import F
from django.http import HttpRequest
from django.utils import timezone

from dashboard.accounts.actor import actor
from dashboard.alerts import incidents
from dashboard.alerts.models import Annotation, Incident, Rule, Silence
from dashboard.audit.log import changed, record

FIELDS = (
    "name",
    "metric",
    "pool",
    "tier",
    "of_target",
    "warn",
    "warn_for_s",
    "crit",
    "crit_for_s",
    "clear_share",
    "keep_s",
    "no_data",
    "hours",
    "runbook",
    "hidden_while",
    "enabled",
)
WHAT_IS_JUDGED = ("metric", "pool", "tier", "enabled")
Person = AbstractBaseUser | AnonymousUser


class Moved(Exception):
    """The rule was saved from elsewhere since the form was opened."""


@transaction.atomic
def save_rule(request: HttpRequest, rule: Rule | None, said: dict[str, Any]) -> Rule:
    """
    Raises:
        Moved: nothing was changed.
    """
    if rule is None:
        rule = Rule.objects.create(**{name: said[name] for name in FIELDS})
        _set_channels(rule, said)
        name = f"rule:{rule.name}"
        record(actor(request), "rule.created", name, after=told(rule), request=request)
        return rule
    before = told(rule)
    mine = Rule.objects.filter(pk=rule.pk, edit=said["edit"])
    if not mine.update(edit=F("edit") + 1, **{name: said[name] for name in FIELDS}):
        raise Moved
    rule = mine.model.objects.get(pk=rule.pk)
    _set_channels(rule, said)
    was, now = changed(before, told(rule))
    if now:
        verb, name = "rule.changed", f"rule:{rule.name}"
        record(actor(request), verb, name, before=was, after=now, request=request)
    if any(name in now for name in WHAT_IS_JUDGED):  # what fires by the old sentence is over
        why = "the rule judges something else now" if rule.enabled else "the rule is switched off"
        _end_all(request, rule, why)
        rule.states.all().delete()
    return rule


@transaction.atomic
def delete_rule(request: HttpRequest, rule: Rule) -> None:
    """What it fires is over: whoever was told hears that, a pager's alarm included."""
    _end_all(request, rule, "the rule is deleted")
    name = f"rule:{rule.name}"
    record(actor(request), "rule.deleted", name, before=told(rule), request=request)
    rule.delete()


def _end_all(request: HttpRequest, rule: Rule, why: str) -> None:
    by = actor(request)
    name = by if isinstance(by, str) else by.get_username()
    for incident in rule.incidents.open():
        incidents.end(incident, timezone.now(), why, name)


def told(rule: Rule) -> dict[str, Any]:
    return {
        **{name: getattr(rule, name) for name in FIELDS},
        "hidden_while": rule.hidden_while.name if rule.hidden_while else "",
        "warn_channels": sorted(channel.name for channel in rule.warn_channels.all()),
        "crit_channels": sorted(channel.name for channel in rule.crit_channels.all()),
    }


def _set_channels(rule: Rule, said: dict[str, Any]) -> None:
    rule.warn_channels.set(said["warn_channels"])
    rule.crit_channels.set(said["crit_channels"])


@transaction.atomic
def ack(
    incident: Incident,
    by: Person | str,
    until: datetime | None,
    at: datetime,
    request: HttpRequest | None = None,
    *,
    acks: int | None = None,
) -> bool:
    """Take it on: no repeats until then.  ``acks``: only if nobody did since, as a link promises."""
    name = by if isinstance(by, str) else by.get_username()
    mine = Incident.objects.open().filter(pk=incident.pk)
    if acks is not None:
        mine = mine.filter(acks=acks)
    took = mine.update(
        acked_by=name,
        acked_at=at,
        acked_until=until,
        acked_severity=F("severity"),
        acks=F("acks") + 1,
    )
    if not took:
        return False
    term = f"until {until:%H:%M} UTC" if until else "until it is resolved"
    incident.tell(at, "acked", f"acknowledged {term}", by=name)
    after = {"until": until}
    record(by, "alert.acked", _named(incident), after=after, request=request)
    return True


@transaction.atomic
def end_ack(request: HttpRequest, incident: Incident, at: datetime) -> None:
    name = request.user.get_username()
    if incident.acked_at and incidents.end_ack(incident, at, "taken back", name):
        record(request.user, "alert.ack_ended", _named(incident), request=request)


@transaction.atomic
def add_line(request: HttpRequest, incident: Incident, text: str, at: datetime) -> None:
    """A person's own line in an incident's timeline."""
    incident.tell(at, "note", text, by=request.user.get_username())
    after = {"text": text}
    record(request.user, "alert.noted", _named(incident), after=after, request=request)


@transaction.atomic
def silence(request: HttpRequest, said: dict[str, Any], at: datetime, ends_at: datetime) -> Silence:
    made = Silence.objects.create(
        rule=said["rule"],
        tier=said["tier"],
        pool=said["pool"],
        severity=said["severity"],
        reason=said["reason"],
        starts_at=at,
        ends_at=ends_at,
        owner_id=request.user.pk,
    )
    after = {"until": ends_at}
    record(
        request.user,
        "silence.made",
        f"silence:{made.matcher}",
        after=after,
        reason=made.reason,
        request=request,
    )
    return made


@transaction.atomic
def end_silence(request: HttpRequest, one: Silence, at: datetime) -> bool:
    """It stays as a row, so that the next message can say that it ended."""
    if not Silence.objects.active(at).filter(pk=one.pk).update(ends_at=at, announced=True):
        return False
    before, after = {"until": one.ends_at}, {"until": at}
    name = f"silence:{one.matcher}"
    record(request.user, "silence.ended", name, before=before, after=after, request=request)
    return True


@transaction.atomic
def mark(request: HttpRequest, text: str, at: datetime) -> Annotation:
    made = Annotation.objects.create(text=text, at=at, by_id=request.user.pk)
    after = {"text": text, "at": at}
    record(request.user, "note.made", f"note:{made.pk}", after=after, request=request)
    return made


@transaction.atomic
def edit_mark(request: HttpRequest, note: Annotation, text: str, at: datetime) -> None:
    was, now = changed({"text": note.text, "at": note.at}, {"text": text, "at": at})
    if not now:
        return
    note.text, note.at = text, at
    note.save(update_fields=["text", "at"])
    name = f"note:{note.pk}"
    record(request.user, "note.changed", name, before=was, after=now, request=request)


@transaction.atomic
def unmark(request: HttpRequest, note: Annotation) -> None:
    before = {"text": note.text, "at": note.at}
    record(request.user, "note.deleted", f"note:{note.pk}", before=before, request=request)
    note.delete()


def _named(incident: Incident) -> str:
    return f"incident:{incident.pk} {incident.rule_name}"
