"""What every page says of the installation it belongs to."""

from django import template
from django.conf import settings

from dashboard.accounts import permissions
from dashboard.accounts.permissions import Person

register = template.Library()

# The first mark that is there decides: Edge calls itself Chrome too, and all of them Safari.
BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Mac OS", "macOS"),
    ("Windows", "Windows"),
    ("Linux", "Linux"),
)


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


@register.simple_tag
def must_add_factor(person: Person) -> bool:
    return permissions.must_add_factor(person)


@register.simple_tag
def provider_host() -> str:
    """Whose sign-in is offered beside the password; empty without one."""
    host: str = settings.LANEWAY_OIDC.get("host", "")
    return host


@register.filter
def browser(agent: str) -> str:
    """A browser's long line about itself, as people say it."""
    name = next((said for mark, said in BROWSERS if mark in agent), "Some program")
    system = next((said for mark, said in SYSTEMS if mark in agent), "")
    return f"{name} on {system}" if system else name
