"""The strips of running overrides on every page, and what became of an order in words."""

from datetime import datetime
from typing import Any

from django import template
from django.utils import timezone

from dashboard.accounts.permissions import may_watch
from dashboard.live.overrides import UNDO_WITHIN_S, permits
from dashboard.units.shown import count, seconds
from gateway import marks
from gateway.models import GatewayState, Override
from gateway.models.overrides import ONCE_WITHIN

register = template.Library()
SIGNS = {"pause": "‖", "drain": "▼", "move": "⇄"}
ANSWER_WITHIN_S = 5
STATES = {"pause": "paused", "drain": "draining", "move": "moved"}


@register.simple_tag(takes_context=True)
def running_overrides(context: dict[str, Any]) -> list[Override]:
    """What is in force, for those who may watch the line."""
    request = context.get("request")
    if request is None or not may_watch(request.user):
        return []
    return list(Override.objects.in_force(timezone.now()).order_by("pk"))


@register.simple_tag(takes_context=True)
def may_change(context: dict[str, Any], row: Override) -> bool:
    return permits(context["request"].user, row.verb)


@register.filter
def timesince_short(at: datetime, now: datetime) -> str:
    return seconds(max(0.0, (now - at).total_seconds()))


@register.filter
def sign(row: Override) -> str:
    return SIGNS.get(row.verb, "·")


@register.filter
def held(row: Override) -> str:
    """``batch paused``, ``acme moved to critical``."""
    if row.verb == Override.Verb.MOVE:
        return f"{row.tenant} moved to {row.tier}"
    return f"{row.tier} {STATES[row.verb]}"


@register.filter
def told(row: Override) -> str:
    text = marks.told(row)
    return text[0].upper() + text[1:]


@register.filter
def answered(row: Override) -> bool:
    """Whether nothing more is to be heard of it."""
    return row.ended_at is not None or (row.gateways > 0 and not _missing(row))


@register.filter
def answer(row: Override) -> str:
    """The gateways' own answer, as far as there is one."""
    if not row.gateways:
        if row.ended_at is not None:
            return "It ended before a gateway answered."
        if (timezone.now() - row.begun_at).total_seconds() < ANSWER_WITHIN_S:
            return "The gateway has not answered yet."
        return "The gateway has not answered: it may be down."
    missing, of = _missing(row), _missing(row) + row.gateways
    late = f" {missing} of {of} gateways {'has' if missing == 1 else 'have'} not answered."
    return _outcome(row) + (late if missing else "")


def _outcome(row: Override) -> str:
    reached = row.applied or 0
    if row.lasts:
        waited = f" {count(reached)} waited then." if row.verb != Override.Verb.MOVE else ""
        return f"{'In force' if row.ended_at is None else 'Was in force'}.{waited}"
    if row.seen is None or reached >= row.seen:
        return f"Applied to {count(reached)}."
    gone = row.seen - reached
    left = "was dispatched or left" if gone == 1 else "were dispatched or left"
    return f"Applied to {count(reached)} of {count(row.seen)}; {count(gone)} {left} meanwhile."


def _missing(row: Override) -> int:
    """Running gateways that owe an answer; of an old order nobody is asked any more."""
    now = timezone.now()
    if now - row.begun_at > ONCE_WITHIN:
        return 0
    return max(0, GatewayState.objects.all().alive(now).count() - row.gateways)


@register.simple_tag(takes_context=True)
def may_undo(context: dict[str, Any], row: Override) -> bool:
    """Whether the person sees an undo: their own boost of the last seconds, not taken back."""
    person, age = context["request"].user, timezone.now() - row.begun_at
    return (
        row.verb == Override.Verb.BOOST
        and row.undoes_id is None
        and row.owner == person.get_username()
        and 0 <= age.total_seconds() <= UNDO_WITHIN_S
        and permits(person, row.verb)
        and not Override.objects.filter(undoes=row).exists()
    )
