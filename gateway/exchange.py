"""The little ASGI that the token path needs: one request in, one reply out, and the hang-up.

Knows HTTP and nothing of tenants, tiers or models.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from types import TracebackType
from typing import Any
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
        "headers",
        "method",
        "path",
    )

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._scope = scope
        self._receive = receive
        self._body_began_at: float | None = None  # None: nobody waits for it
        self._body_moved_at = 0.0
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
        return HangupWatch(self._receive)


class HangupWatch:
    """Cancels the block under it when the caller leaves, and turns that into ``HungUp``.

    Use it once the body has been read: from then on ``receive`` has only the end to tell.  A
    caller that leaves after the block has ended is none of our business.
    """

    __slots__ = ("_left", "_over", "_receive", "_task", "_watch")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._left = False
        self._over = False

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._watch = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._over:
            self._left = True
            self._task.cancel()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over = True
        self._watch.cancel()
        if self._left:
            self._task.uncancel()
            if kind is None or issubclass(kind, asyncio.CancelledError):
                raise HungUp from None


class Reply:
    """What the caller gets: a head, pieces of a body, an end; each at most once, in that order.

    ``blocked_at`` is the loop time since which a write has been waiting for the caller to read;
    ``proxy`` cuts callers that take nothing for too long.
    """

    __slots__ = ("_send", "blocked_at", "ended", "started")

    def __init__(self, send: Send) -> None:
        self._send = send
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
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        self.blocked_at = None

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
