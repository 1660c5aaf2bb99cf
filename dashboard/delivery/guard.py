"""No message goes into the inner network, unless the operator allows it.

An address can be checked when it is typed and lead elsewhere when it is used: names change what they
resolve to, and a server redirects.  So the check that counts is made by Python's audit event of
``connect``, on the very address a socket is about to connect to, whichever library asked for it.
"""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

from django.conf import settings

NAT64 = IPv6Network("64:ff9b::/96")  # its last 32 bits are the IPv4 address it leads to

_refusals: ContextVar[list[str] | None] = ContextVar("refusals", default=None)


class Private(PermissionError):
    """About to connect to an address that is not a public one."""


def refused(host: str) -> str:
    """The private address behind ``host`` in any spelling, or "".  A name that nobody knows has none."""
    if settings.LANEWAY_ALLOW_PRIVATE_TARGETS:
        return ""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return ""
    return next((str(at[0]) for *_, at in found if not is_public(str(at[0]))), "")


def is_public(text: str) -> bool:
    address = _inner(ip_address(text.partition("%")[0]))
    return address.is_global and not address.is_multicast


@contextmanager
def public_only() -> Iterator[list[str]]:
    """Inside, this thread connects to public addresses only; yields those it was kept from."""
    if settings.LANEWAY_ALLOW_PRIVATE_TARGETS:
        yield []
        return
    _listen()
    met: list[str] = []
    token = _refusals.set(met)
    try:
        yield met
    finally:
        _refusals.reset(token)


def explained(address: str) -> str:
    return f"{address} is not a public address. LANEWAY_ALLOW_PRIVATE_TARGETS=yes allows messages there."


def _inner(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 one stands for, if it does."""
    if isinstance(address, IPv6Address):
        if address in NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
        teredo = address.teredo[1] if address.teredo else None
        return address.ipv4_mapped or address.sixtofour or teredo or address
    return address


@cache
def _listen() -> None:
    """Once a process: an audit hook cannot be taken away again."""
    sys.addaudithook(_on_event)


def _on_event(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in ("socket.connect", "socket.sendto"):
        return
    met = _refusals.get()
    if met is None or not isinstance(arguments[1], tuple):  # a path of a Unix socket is a string
        return
    address = str(arguments[1][0])
    if not is_public(address):
        met.append(address)
        raise Private(explained(address))
