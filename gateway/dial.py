"""The way to a backend: its URL, the addresses of its name, a TCP connection, TLS.

What becomes of the connection is `gateway.upstream`. Nothing is read from the environment, so
there is no proxy on the way.
"""

import asyncio
import re
import socket
import ssl
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from gateway.connection import Connection
from gateway.response import NotConnected, Times

DEFAULT_PORTS = {"http": 80, "https": 443}

_HOST = re.compile(r"[0-9A-Za-z._:%-]+")
_PREFIX = re.compile(r"/[\x21-\x7e]*")


class Origin(NamedTuple):
    """Where a backend listens. ``prefix`` goes before every path, without a slash at its end."""

    scheme: str
    host: str
    port: int
    prefix: str = ""

    @classmethod
    def parse(cls, url: str) -> "Origin":
        """Read ``http(s)://host[:port][/prefix]``, with nothing else in it.

        Raises:
            ValueError: in words for whoever typed the URL.
        """
        parts = urlsplit(url.strip())
        if parts.scheme not in DEFAULT_PORTS:
            raise ValueError(f"{url!r} must begin with http:// or https://.")
        host = parts.hostname or ""
        if not _HOST.fullmatch(host) or "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError(f"{url!r} must look like http://host:port/prefix.")
        prefix = parts.path.rstrip("/")
        if prefix and not _PREFIX.fullmatch(prefix):
            raise ValueError(f"The path of {url!r} has characters that a URL cannot have.")
        port = parts.port if parts.port is not None else DEFAULT_PORTS[parts.scheme]
        return cls(parts.scheme, host, port, prefix)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.prefix}"

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


class Route:
    """How an origin is reached. Its addresses are kept until none of them takes a connection."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self._addresses: list[Any] = []  # as `getaddrinfo` gives them; none: not looked up
        self._lookup: asyncio.Task[list[Any]] | None = None

    async def connect(
        self, connection: Connection, times: Times, tls: ssl.SSLContext | None
    ) -> None:
        """Dial, and make ``connection`` the protocol of what came of it.

        Raises:
            NotConnected: in the words of whatever went wrong.
        """
        sock = await self._reach(times.connect_s)
        name = self.origin.host if tls is not None else None
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(times.tls_s):
                await loop.create_connection(
                    lambda: connection, sock=sock, ssl=tls, server_hostname=name
                )
        except TimeoutError as error:
            reason = f"no TLS handshake within {times.tls_s:g} s"
            raise NotConnected(f"{self.origin}: {reason}") from error
        except OSError as error:
            raise NotConnected(f"{self.origin}: {error}") from error
        except BaseException:  # the loop itself would say goodbye to TLS first
            connection.abort()
            raise

    async def _reach(self, connect_s: float) -> socket.socket:
        """Connect to the first address that takes it; each has its share of the time left."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + connect_s
        failure: Exception = OSError("no address")
        try:
            async with asyncio.timeout_at(give_up_at):
                addresses = await self._resolve()
        except (OSError, UnicodeError) as error:
            addresses = []
            failure = error
        for place, address in enumerate(addresses):
            share_s = (give_up_at - loop.time()) / (len(addresses) - place)
            try:
                return await _connected(address, share_s)
            except OSError as error:
                failure = error
        self._addresses = []  # it may have moved: look again
        if isinstance(failure, TimeoutError):
            raise NotConnected(f"{self.origin}: no connection within {connect_s:g} s") from failure
        raise NotConnected(f"{self.origin}: {failure}") from failure

    async def _resolve(self) -> list[Any]:
        """Look the name up in a thread, once for all who wait for it."""
        if not self._addresses:
            host, port = self.origin.host, self.origin.port
            try:  # digits need no lookup, so this never blocks
                self._addresses = socket.getaddrinfo(
                    host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
                )
            except socket.gaierror:
                loop = asyncio.get_running_loop()
                if self._lookup is None or self._lookup.done():
                    lookup = loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                    self._lookup = loop.create_task(lookup)
                self._addresses = await asyncio.shield(self._lookup)
        return self._addresses


async def _connected(address: Any, patience_s: float) -> socket.socket:
    family, kind, protocol, _, place = address
    loop = asyncio.get_running_loop()
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        async with asyncio.timeout(patience_s):
            await loop.sock_connect(sock, place)
    except BaseException:
        sock.close()
        raise
    return sock


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """``ca_file``: whom to trust instead of the system's authorities."""
    tls = ssl.create_default_context(cafile=ca_file)
    tls.set_alpn_protocols(["http/1.1"])
    return tls
