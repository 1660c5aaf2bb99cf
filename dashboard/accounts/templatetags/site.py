"""What every page says of the installation it belongs to."""

from django import template
from django.conf import settings

from dashboard.accounts import permissions
from dashboard.accounts.permissions import Person

register = template.Library()


@register.simple_tag
def may(question: str, person: Person) -> bool:
    """What ``permissions`` says, so that a page shows nothing that its reader may not do."""
    answer: bool = getattr(permissions, f"may_{question}")(person)
    return answer


@register.simple_tag
def environment() -> str:
    """The name shown beside the product's, so that nobody mistakes one installation for another."""
    name: str = getattr(settings, "LANEWAY_ENVIRONMENT", "")
    return name
