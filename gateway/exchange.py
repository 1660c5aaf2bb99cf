"""The little ASGI that the token path needs: one request in, one reply out, and the hang-up.

Knows HTTP and nothing of tenants, tiers or models.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import parse_qsl

from gateway import errors

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY_LIMIT_BYTES = 16 * 1024 * 1024
BODY_SILENCE_S = 30.0
BODY_TOTAL_S = 120.0

DIRECT = "laneway.direct"  # in the scope, where our own server class put one


class Direct(Protocol):
    """What ``gateway.protocol`` can do beyond ASGI, in plain calls: a streamed token costs neither
    a message nor a switch of tasks, and a hang-up is heard without a task that waits for it.
    Other servers have none; then all goes by ASGI, with the same outcome."""

    def listen(self, hung_up: Callable[[], None]) -> None:
        """Call ``hung_up`` if the caller leaves.  The whole body must have been read."""

    def stop_listening(self) -> None: ...

    @property
    def gone(self) -> bool:
        """Whether the caller has left."""

    @property
    def takes_more(self) -> bool:
        """Whether a piece of a streamed body can be written without waiting."""

    def write(self, chunk: bytes) -> None:
        """Write one, if it ``takes_more``."""


class HungUp(Exception):
    """The caller closed its connection; there is nobody to answer."""


class Request:
    """Method, path and headers at once; the body when asked for.

    ``headers`` has lower-case names; of a repeated header the last one counts.
    """

    __slots__ = (
        "_body_began_at",
        "_body_moved_at",
        "_receive",
        "_scope",
        "direct",
        "headers",
        "method",
        "path",
    )

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._scope = scope
        self._receive = receive
        self._body_began_at: float | None = None  # None: nobody waits for it
        self._body_moved_at = 0.0
        # Taken out, for it knows the scope: the two would wait for the garbage collector.
        self.direct: Direct | None = scope.pop(DIRECT, None)
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: dict[str, str] = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self._scope.get("query_string", b"").decode("latin-1")))

    @property
    def address(self) -> str:
        client = self._scope.get("client")
        return client[0] if client else ""

    def body_is_stuck(self, now: float) -> bool:
        """Whether the body is being waited for, and for too long: in silence, or in all.

        A look once a second instead of two timers a request, which cost more than the queue.
        """
        return self._body_began_at is not None and (
            now - self._body_moved_at > BODY_SILENCE_S or now - self._body_began_at > BODY_TOTAL_S
        )

    async def body(self, limit_bytes: int = BODY_LIMIT_BYTES) -> bytes:
        """The whole body.

        Raises:
            GatewayError: compressed, or too large (at once when ``content-length`` says so).
            HungUp: the caller left before it was complete.
        """
        if self.headers.get("content-encoding", "identity") != "identity":
            raise errors.unsupported_media_type("a compressed body")
        declared = self.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit_bytes:
            raise errors.request_too_large(limit_bytes)
        loop = asyncio.get_running_loop()
        self._body_began_at = self._body_moved_at = loop.time()
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise HungUp
            piece = message.get("body", b"")
            size += len(piece)
            if size > limit_bytes:
                raise errors.request_too_large(limit_bytes)
            pieces.append(piece)
            if not message.get("more_body", False):
                self._body_began_at = None
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self._body_moved_at = loop.time()

    def cancelled_by_hangup(self) -> "HangupWatch":
        return HangupWatch(self._receive, self.direct)


class HangupWatch:
    """Cancels the block under it when the caller leaves, and turns that into ``HungUp``.

    Use it once the body has been read: from then on ``receive`` has only the end to tell.  A
    caller that leaves after the block has ended is none of our business.
    """

    __slots__ = ("_direct", "_left", "_over", "_receive", "_task", "_watch")

    def __init__(self, receive: Receive, direct: Direct | None) -> None:
        self._receive = receive
        self._direct = direct
        self._left = False
        self._over = False
        self._watch: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        if self._direct is None or self._direct.gone:  # cancelled in the loop's next turn, not now
            self._watch = asyncio.create_task(self._listen())
        else:
            self._direct.listen(self._leave)

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _leave(self) -> None:
        if not self._over and not self._left:
            self._left = True
            self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over = True
        if self._watch is not None:
            self._watch.cancel()
        elif self._direct is not None:
            self._direct.stop_listening()
        if self._left:
            self._task.uncancel()
            if kind is None or issubclass(kind, asyncio.CancelledError):
                raise HungUp from None


class Reply:
    """What the caller gets: a head, pieces of a body, an end; each at most once, in that order.

    ``blocked_at`` is the loop time since which a write has been waiting for the caller to read;
    ``proxy`` cuts callers that take nothing for too long.
    """

    __slots__ = ("_direct", "_send", "blocked_at", "ended", "started")

    def __init__(self, send: Send, direct: Direct | None = None) -> None:
        self._send = send
        self._direct = direct
        self.started = False
        self.ended = False
        self.blocked_at: float | None = None

    async def start(self, status: int, headers: dict[str, str]) -> None:
        self.started = True
        await self._send(
            {"type": "http.response.start", "status": status, "headers": _encoded(headers)}
        )

    async def write(self, chunk: bytes) -> None:
        self.blocked_at = asyncio.get_running_loop().time()
        try:
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        finally:
            self.blocked_at = None

    @property
    def takes_more(self) -> bool:
        """Whether ``write_now`` can take a piece: it has begun, and need not wait for the caller."""
        return self.started and self._direct is not None and self._direct.takes_more

    def write_now(self, chunk: bytes) -> None:
        """``write`` in a plain call, while it ``takes_more``."""
        assert self._direct is not None
        self._direct.write(chunk)

    async def end(self, chunk: bytes = b"") -> None:
        """Finish the body.  Returning without this leaves Daphne's caller waiting for ever."""
        if not self.ended:
            self.ended = True
            await self._send({"type": "http.response.body", "body": chunk})

    async def whole(self, status: int, headers: dict[str, str], body: bytes) -> None:
        await self.start(status, {**headers, "content-length": str(len(body))})
        await self.end(body)


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
