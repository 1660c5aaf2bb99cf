"""What every page says of the installation it belongs to."""

from django import template
from django.conf import settings

register = template.Library()


@register.simple_tag
def environment() -> str:
    """The name shown beside the product's, so that nobody mistakes one installation for another."""
    name: str = getattr(settings, "LANEWAY_ENVIRONMENT", "")
    return name
