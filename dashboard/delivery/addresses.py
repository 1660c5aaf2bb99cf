"""What an admin may write as a channel's address, and what it leads to.  Nothing is sent here.

Apprise knows many services and many parameters; some read local files or reach into the network.
So both are lists of what is allowed.
"""

from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from dashboard.delivery.guard import explained, refused
from dashboard.delivery.models import Channel

Kind = Channel.Kind
KINDS = {
    "slack": Kind.SLACK,
    "workflows": Kind.TEAMS,
    "workflow": Kind.TEAMS,
    "msteams": Kind.TEAMS,
    "pagerduty": Kind.PAGERDUTY,
    "mailto": Kind.MAIL,
    "mailtos": Kind.MAIL,
    "ntfy": Kind.NTFY,
    "ntfys": Kind.NTFY,
    "discord": Kind.OTHER,
    "gotify": Kind.OTHER,
    "gotifys": Kind.OTHER,
    "mmost": Kind.OTHER,
    "mmosts": Kind.OTHER,
    "opsgenie": Kind.OTHER,
    "tgram": Kind.OTHER,
    "zulip": Kind.OTHER,
}
OWN_HOST = ("mmost", "mmosts", "gotify", "gotifys", "workflow", "workflows")
# Of Apprise's own parameters; "template", "pgpkey", "attach", "redirect" and the like are not here.
PARAMETERS = (
    {"to", "from", "name", "reply", "cc", "bcc", "smtp", "mode", "user", "pass"}
    | {"auth", "token", "priority", "tags", "channel", "topic", "thread", "format", "image"}
    | {"region", "component", "source", "class", "group", "verify"}
    | {"api-version", "sp", "sv", "sig"}
)
AT_MOST = 2000


class Unusable(ValueError):
    """The address cannot be a channel's, in a sentence for whoever wrote it.  Never quotes it."""


class Target(NamedTuple):
    """Where an address leads: ``plugin`` is Apprise's, or None for a webhook."""

    kind: Channel.Kind
    where: str  # may be shown
    plugin: Any = None


def target_of(address: str, *, look_up: bool = True) -> Target:
    """
    Raises:
        Unusable: not a form that is known and allowed, or it leads to a private address.
    """
    if len(address) > AT_MOST or any(ord(sign) <= 32 for sign in address):
        raise Unusable(f"An address is one word of at most {AT_MOST} characters.")
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
        parts.port  # noqa: B018 -- raises for one that is none
    except ValueError:
        raise Unusable("This is no address: host or port cannot be read.") from None
    scheme = parts.scheme.lower()
    if scheme not in KINDS and scheme not in ("http", "https"):
        raise Unusable(f"Addresses begin with https:// or one of {', '.join(sorted(KINDS))}.")
    unknown = {name.lower() for name, _ in parse_qsl(parts.query)} - PARAMETERS
    plugin = None if unknown and scheme == "https" else plugin_of(address)
    if plugin is None and scheme not in ("http", "https"):
        raise Unusable(f"Something is missing or wrong in this {scheme}:// address.")
    if plugin is None:
        found = Target(Kind.WEBHOOK, _webhook(scheme, host, parts.port))
    elif unknown:
        raise Unusable(f"These parameters are not allowed: {', '.join(sorted(unknown))}.")
    else:
        found, host = _service(plugin, scheme)
    inner = refused(host) if look_up and host else ""
    if inner:
        raise Unusable(explained(inner))
    return found


def plugin_of(address: str) -> Any:
    from apprise import Apprise, AppriseAsset  # 0.2 s, and most commands never send

    asset = AppriseAsset(http_redirects=False, app_id="Laneway", app_desc="Laneway", app_url="")
    return Apprise.instantiate(address, asset=asset, suppress_exceptions=True)


def _webhook(scheme: str, host: str, port: int | None) -> str:
    if not host:
        raise Unusable("The address names no host.")
    return f"{scheme}://{host}" + (f":{port}" if port else "")


def _service(plugin: Any, scheme: str) -> tuple[Target, str]:
    """What Apprise made of it, and the host that it would connect to, where the address names one."""
    if scheme == "https":  # as the service itself shows it, such as https://hooks.slack.com/…
        names = plugin.secure_protocol
        scheme = names if isinstance(names, str) else names[0]
    if scheme not in KINDS:
        raise Unusable(f"{plugin.service_name} is not among the services that are allowed.")
    if len(plugin) > 1:
        raise Unusable(
            f"It names {len(plugin)} receivers. Make a channel of each: if one of them failed, "
            "the others would be told twice."
        )
    kind = KINDS[scheme]
    if kind == Kind.MAIL:
        to = ", ".join(mail for _, mail in plugin.targets)
        return Target(kind, f"{to} by {plugin.smtp_host}"[:200], plugin), plugin.smtp_host
    if scheme in OWN_HOST or (kind == Kind.NTFY and plugin.mode == "private"):
        return Target(kind, plugin.host[:200], plugin), plugin.host
    return Target(kind, str(plugin.service_name), plugin), ""
