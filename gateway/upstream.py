"""The connections to all backends: as many exchanges at a time as are asked for.

The pool never makes anybody wait: without an idle connection it dials one, because the scheduler
alone decides how many requests run. Idle connections are taken last in, first out, so that what a
burst left over ages and goes. No redirects, no cookies. How one is made is `gateway.dial`, what
travels over it `gateway.connection`; nothing here knows of tenants, models or vLLM's API.
"""

import asyncio
import logging
import ssl
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from gateway.connection import Connection, request_head
from gateway.dial import Origin, Route, tls_context
from gateway.response import (
    BrokenBeforeHead,
    BrokenOff,
    Malformed,
    NotConnected,
    Response,
    TimedOut,
    Times,
    UpstreamError,
)

__all__ = [
    "BrokenBeforeHead",
    "BrokenOff",
    "Malformed",
    "NotConnected",
    "Origin",
    "Response",
    "TimedOut",
    "Times",
    "Upstream",
    "UpstreamError",
]

logger = logging.getLogger(__name__)

SHELF_BYTES = 65_536


class Upstream:
    """The connections of one event loop to all its backends."""

    def __init__(
        self,
        times: Times | None = None,
        *,
        ca_file: str | None = None,
        connections_expected: int = 1024,
    ) -> None:
        """
        Args:
            ca_file: whom to trust instead of the system's authorities.
            connections_expected: more to one origin are logged; they would mean lost slots.
        """
        self.times = times or Times()
        self._ca_file = ca_file
        self._connections_expected = connections_expected
        self._pools: dict[Origin, _Pool] = {}
        self._dropped: set[_Pool] = set()
        self._shelf = memoryview(bytearray(SHELF_BYTES))
        self._tls: ssl.SSLContext | None = None
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._closed = False

    async def start(self) -> None:
        self._closed = False

    async def close(self) -> None:
        """Abort everything. Exchanges that still run fail as if the backend had gone."""
        self._closed = True
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
            self._sweep_timer = None
        for connection in self._connections():
            connection.abort()
        while self._connections():  # noqa: ASYNC110 they go within a turn or two of the loop
            await asyncio.sleep(0)

    def exchange(
        self,
        origin: Origin,
        method: str,
        path: str,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        *,
        streaming: bool,
        first_byte_s: float = 120.0,
    ) -> AbstractAsyncContextManager[Response]:
        """Send a request; inside the block, the head of the reply has been read.

        Leaving the block before the end of the body aborts the connection, at once.
        ``first_byte_s`` counts from the head of a stream to its first event; comments are none.

        Raises:
            ValueError: here, before anything is sent: this would not be one request.
            UpstreamError: on entering, and from ``Response.next``.
        """
        head = request_head(origin.authority, method, origin.prefix + path, headers, len(body))
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = _Pool(origin)
        return _Exchange(self, pool, method, head, body, streaming, first_byte_s)

    def open_connections(self, origin: Origin) -> int:
        """Connections in use, idle, or being made."""
        pool = self._pools.get(origin)
        return 0 if pool is None else len(pool.connections) + pool.dialling

    def idle_connections(self, origin: Origin) -> int:
        pool = self._pools.get(origin)
        return 0 if pool is None else len(pool.idle)

    def drop(self, origin: Origin) -> None:
        """Forget a backend: idle connections close now, those in use as their exchanges end."""
        pool = self._pools.pop(origin, None)
        if pool is not None:
            pool.dropped = True
            self._dropped.add(pool)
            while pool.idle:
                pool.idle.popitem()[0].abort()

    def __repr__(self) -> str:
        pools = [f"{p.origin} {len(p.connections)} ({len(p.idle)} idle)" for p in self._all_pools()]
        return f"<Upstream {', '.join(pools)}>"

    def _all_pools(self) -> list["_Pool"]:
        return [*self._pools.values(), *self._dropped]

    def _connections(self) -> list[Connection]:
        return [connection for pool in self._all_pools() for connection in pool.connections]

    # What an exchange asks for.

    def idle_one(self, pool: "_Pool") -> Connection | None:
        """The connection used last, if it has not been idle for too long."""
        while pool.idle:
            connection = pool.idle.popitem()[0]
            idle_s = connection.loop.time() - connection.idle_since
            if idle_s < self.times.idle_s:
                return connection
            connection.abort()
        return None

    def give_back(self, pool: "_Pool", connection: Connection) -> None:
        """An exchange has ended, well or not: keep its connection if another can follow."""
        if not connection.finish():
            return
        if self._closed or pool.dropped:
            connection.abort()
        else:
            connection.idle_since = connection.loop.time()
            pool.idle[connection] = None

    async def dial(self, pool: "_Pool") -> Connection:
        if self._closed:
            raise NotConnected("The gateway is stopping.")
        pool.dialling += 1
        self._look_for_leaks(pool)
        connection = Connection(self._shelf, pool.lost)
        try:
            tls = self._tls_context() if pool.origin.scheme == "https" else None
            await pool.route.connect(connection, self.times, tls)
        finally:
            pool.dialling -= 1
        if connection.usable:  # else it is lost, or will be at once, and its exchange will see it
            pool.connections.add(connection)
        if pool.dropped:  # while a stale connection was replaced, perhaps
            self._dropped.add(pool)
        if self._closed:
            connection.abort()
        elif self._sweep_timer is None:
            self._sweep_timer = connection.loop.call_later(self.times.sweep_s, self._sweep)
        return connection

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:  # reading the authorities takes some 30 ms: once, and if needed
            self._tls = tls_context(self._ca_file)
        return self._tls

    def _look_for_leaks(self, pool: "_Pool") -> None:
        many = len(pool.connections) + pool.dialling > self._connections_expected
        if many and not pool.crowded:
            logger.warning(
                "More than %d connections to %s.", self._connections_expected, pool.origin
            )
        pool.crowded = many

    def _sweep(self) -> None:
        """Give up what takes too long, close what idles too long. Runs while there is anything."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for pool in self._all_pools():
            for connection in list(pool.connections):
                if connection.reply is not None:
                    connection.reply.check(now)
            for connection in list(pool.idle):  # the one that idles longest comes first
                if now - connection.idle_since < self.times.idle_s:
                    break
                del pool.idle[connection]
                connection.abort()
        self._dropped = {pool for pool in self._dropped if pool.connections or pool.dialling}
        busy = bool(self._connections())
        self._sweep_timer = loop.call_later(self.times.sweep_s, self._sweep) if busy else None


class _Pool:
    """The connections to one origin."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.route = Route(origin)
        self.connections: set[Connection] = set()
        self.idle: dict[Connection, None] = {}  # in the order in which they became idle
        self.dialling = 0
        self.dropped = False
        self.crowded = False

    def lost(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self.idle.pop(connection, None)


class _Exchange:
    """What ``Upstream.exchange`` returns: a block that owns a connection."""

    def __init__(
        self,
        upstream: Upstream,
        pool: _Pool,
        method: str,
        head: bytes,
        body: bytes,
        streaming: bool,
        first_byte_s: float,
    ) -> None:
        self._upstream = upstream
        self._pool = pool
        self._method = method
        self._head = head
        self._body = body
        self._streaming = streaming
        self._first_byte_s = first_byte_s
        self._connection: Connection

    async def __aenter__(self) -> Response:
        used = self._upstream.idle_one(self._pool)
        if used is not None:
            try:
                return await self._ask(used)
            except BrokenBeforeHead as error:
                # A server may close an idle connection just as a request leaves for it. With
                # not one byte of reply it is sent again, once, on a connection that was not idle.
                if error.received:
                    raise
        return await self._ask(await self._upstream.dial(self._pool))

    async def _ask(self, connection: Connection) -> Response:
        self._connection = connection
        try:
            response = connection.begin(
                self._upstream.times,
                self._method,
                self._head,
                self._body,
                streaming=self._streaming,
                first_byte_s=self._first_byte_s,
            )
            await response.head()
        except BaseException:
            self._upstream.give_back(self._pool, connection)
            raise
        return response

    async def __aexit__(self, *_: object) -> None:
        self._upstream.give_back(self._pool, self._connection)
