"""What every page says of alerts, and how rules are told in templates."""

from datetime import UTC, datetime

from django import template
from django.utils import timezone

from dashboard.alerts import open_now, wording
from dashboard.alerts.models import Rule
from dashboard.units.shown import seconds

register = template.Library()


@register.simple_tag
def open_alerts() -> open_now.Counts:
    return open_now.counts()


@register.filter
def held(since: datetime, until: datetime | None = None) -> str:
    """How long, in digits: 3m38s."""
    return seconds(((until or timezone.now()) - since).total_seconds())


@register.filter
def utc(at: datetime) -> str:
    """``11:14:03``, with the day where that is not today."""
    at = at.astimezone(UTC)
    today = at.date() == timezone.now().astimezone(UTC).date()
    return f"{at:%H:%M:%S}" if today else f"{at.day} {at:%b %H:%M:%S}"


@register.filter
def warn_of(rule: Rule) -> str:
    return wording.threshold(rule, "warn")


@register.filter
def crit_of(rule: Rule) -> str:
    return wording.threshold(rule, "crit")


@register.filter
def whole_percent(share: float) -> str:
    return f"{share * 100:.0f} %"
