"""Who calls, where proxies stand in front: the only place that believes ``X-Forwarded-For``.

Networks of keys, limits on sign-in and the audit trail all go by the address that this leaves in
the scope.  A proxy adds the address it saw at the end, so the header is read from there, and only
as far as the proxies that were named reach: what stands further left a caller may have written.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from gateway.exchange import Application, Receive, Scope, Send

Networks = Sequence[IPv4Network | IPv6Network]


def behind(application: Application, proxies: Sequence[str]) -> Application:
    """``application``, told who calls by those ``proxies``; without any, as it is."""
    networks = [ip_network(proxy) for proxy in proxies]
    if not networks:
        return application

    async def told(scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        if client and scope["type"] in ("http", "websocket"):
            said = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
            scope["client"] = (caller(client[0], b",".join(said).decode("latin-1"), networks), 0)
        await application(scope, receive, send)

    return told


def caller(peer: str, said: str, proxies: Networks) -> str:
    """The nearest address that is no proxy of ours; the farthest proxy where nobody says more."""
    found = peer
    for part in [peer, *reversed(said.split(","))]:
        address = _address(part)
        if address is None:
            break
        found = str(address)
        if not any(address in network for network in proxies):
            break
    return found


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Some write a port behind it: ``10.2.7.9:4711``, ``[2001:db8::7]:4711``."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
