"""Moments and signed numbers as the tables of tenants, keys and acts say them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()

MINUS = "\N{MINUS SIGN}"


@register.filter
def signed(number: int) -> str:
    """A priority with a real minus sign."""
    return str(number).replace("-", MINUS)


@register.filter
def of(values: Mapping[Any, Any], name: Any) -> Any:
    return values.get(name, 0)


@register.filter
def moment(at: datetime) -> SafeString:
    """A day, with the time when it is within a day of now; in UTC, exact on hover."""
    at, now = at.astimezone(UTC), timezone.now().astimezone(UTC)
    day = f"{at.day} {at:%b}" + ("" if at.year == now.year else f" {at.year}")
    if abs((now - at).total_seconds()) >= 86_400:
        return _time(at, day)
    return _time(at, f"{'' if at.date() == now.date() else day + ' '}{at:%H:%M} UTC")


@register.filter
def exactly(at: datetime) -> SafeString:
    at = at.astimezone(UTC)
    return _time(at, f"{at.day} {at:%b %Y %H:%M:%S}")


@register.filter
def ago(at: datetime) -> SafeString:
    seconds = max(0, round((timezone.now() - at).total_seconds()))
    for unit_s, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit_s:
            return _time(at, f"{seconds // unit_s} {unit} ago")
    return _time(at, f"{seconds} s ago")


def _time(at: datetime, shown: str) -> SafeString:
    at = at.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        at.isoformat(timespec="seconds"),
        f"{at:%Y-%m-%d %H:%M:%S} UTC",
        shown,
    )
