"""A reply from a backend while it arrives: its parsing, its time-outs, its ways to fail.

`Response` is what the callers of `gateway.upstream` read from, and what httptools calls back. It
reads no socket: `gateway.connection` feeds it. Sources: RFC 9110, RFC 9112.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import httptools

MOST_HEAD_BYTES = 65_536  # of a head, 1xx ones before it included
MOST_FRAMING_BYTES = 131_072  # without a byte of body: trailers, chunk extensions, and the head
MOST_HELD_BYTES = 65_536  # of a body, for a reader that does not come
LEAST_READ_BYTES = 4_096  # with less room than this left, reading pauses instead

# They speak of one connection, so they pass neither way (RFC 9110 section 7.6.1); neither does
# what a Connection header names.
HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)

Phase = Literal["request", "head", "first_event", "next_event", "reply"]


@dataclass(frozen=True, slots=True)
class Times:
    """How long each phase of an exchange may last, in seconds; the time in a queue is in none.

    Looked at every ``sweep_s``, so a phase lasts up to that much longer.
    """

    connect_s: float = 2.0  # resolving the name included
    tls_s: float = 5.0
    taken_s: float = 30.0  # without the backend taking another byte of the request
    head_s: float = 10.0  # of a stream: vLLM sends it before it schedules the request
    event_s: float = 30.0  # from one piece of a stream to the next, comments included
    reply_s: float = 600.0  # a whole reply that is no stream; what the official SDKs wait
    idle_s: float = 4.0  # vLLM's server closes idle connections at 5
    sweep_s: float = 0.25


class UpstreamError(Exception):
    """A backend could not be asked, or did not answer as it must.

    ``received`` says whether any byte of the reply had come.
    """

    def __init__(self, message: str, *, received: bool = False) -> None:
        super().__init__(message)
        self.received = received


class NotConnected(UpstreamError):
    """No connection: name unknown, refused, too slow, bad certificate. Nothing was sent."""


class BrokenBeforeHead(UpstreamError):
    """The connection broke before the head was whole. ``received``: part of a head had come."""


class TimedOut(UpstreamError):
    """A phase took too long. ``received`` is False for "request"; True for both events."""

    def __init__(self, phase: Phase, *, received: bool) -> None:
        super().__init__(f"The backend was too slow: {phase.replace('_', ' ')}.", received=received)
        self.phase = phase


class BrokenOff(UpstreamError):
    """The connection broke inside the body. A head, at least, had come."""


class Malformed(UpstreamError):
    """Not HTTP as this client speaks it, in the head or in the body. Bytes had come."""


class Source(Protocol):
    """What a reply asks of the connection that feeds it."""

    loop: asyncio.AbstractEventLoop
    reply: "Response | None"  # the one it feeds
    reading_paused: bool

    @property
    def unsent_bytes(self) -> int: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def abort(self) -> None: ...


class Response:
    """A reply while it arrives. Its head has been read when a caller gets hold of it.

    It is also what httptools calls back. What goes wrong is kept and raised by ``next`` once
    everything that came before it has been handed out.
    """

    def __init__(
        self,
        connection: Source,
        times: Times,
        method: str,
        *,
        streaming: bool,
        first_byte_s: float,
    ) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.complete = False
        self.keep_alive = False
        self._connection = connection
        self._loop = connection.loop
        self._times = times
        self._method = method
        self._streaming = streaming
        self._first_byte_s = first_byte_s
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._error: UpstreamError | None = None
        self._passes: Callable[[bytes], bool] | None = None  # while a reader waits that has one
        self._pieces: list[bytes] = []
        self._held_bytes = 0
        self._framing_bytes = 0  # read since the last piece of body; the whole head before one
        self._received = False
        self._interim = False
        self._framed = False  # a length or chunks say where the body ends, not the connection
        now = self._loop.time()
        self._phase: Phase = "request"
        self._deadline = now + times.taken_s
        self._reply_by = now + times.reply_s
        self._left_bytes = 0

    async def next(self, passes: Callable[[bytes], bool] | None = None) -> bytes:
        """All of the body that has arrived and was not handed out; ``b""`` is the end.

        What arrives while this waits is offered to ``passes``, in a plain call and so without a
        switch of tasks. Whatever that took is gone; this returns the first piece it did not take.

        Raises:
            TimedOut, BrokenOff, Malformed: after everything that came before it.
        """
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self.complete:
                return b""
            self._passes = passes
            try:
                await self._something_new()
            finally:
                self._passes = None
        pieces = self._pieces
        self._pieces = []
        self._held_bytes = 0
        if self._connection.reading_paused and self._connection.reply is self:
            self._connection.resume_reading()
            self._deadline = max(self._deadline, self._loop.time() + self._times.event_s)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def head(self) -> None:
        """Wait until ``status`` and ``headers`` are there."""
        while not self.status:
            if self._error is not None:
                raise self._error
            await self._something_new()

    async def _something_new(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _passed(self) -> bool:
        """Whether what has just arrived went on without the reader."""
        if self._passes is None or self._waiter is None or self._waiter.done():
            return False
        pieces = self._pieces
        if not self._passes(pieces[0] if len(pieces) == 1 else b"".join(pieces)):
            return False
        self._pieces = []
        self._held_bytes = 0
        return not self.complete and self._error is None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def room_bytes(self) -> int:
        """How much may be read at once without holding more than ``MOST_HELD_BYTES``."""
        return max(MOST_HELD_BYTES - self._held_bytes, LEAST_READ_BYTES)

    def sent(self) -> None:
        """The kernel has the whole request: from now on the backend is waited for."""
        if self._phase == "request":
            self._phase = "head" if self._streaming else "reply"
            if self._streaming:
                self._deadline = self._loop.time() + self._times.head_s
            else:
                self._deadline = self._reply_by

    def check(self, now: float) -> None:
        """Give up if the phase has lasted too long. Called by the sweep."""
        if self._phase == "request":
            left_bytes = self._connection.unsent_bytes
            if left_bytes == 0:
                self.sent()
            elif left_bytes != self._left_bytes:
                self._left_bytes = left_bytes
                self._deadline = now + self._times.taken_s
        # While reading pauses it is the reader who is slow, and the backend may not even write.
        if now >= self._deadline and not self.complete and not self._connection.reading_paused:
            self.fail(TimedOut(self._phase, received=self._received))

    def feed(self, data: memoryview) -> None:
        """Parse what came. What is wrong with it is kept for ``next``."""
        self._received = True
        held_bytes = self._held_bytes
        try:
            if self.status:
                self._parser.feed_data(data)
            else:
                self._feed_head(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, Malformed) as error:
            self._refuse(error)
        if self._held_bytes > held_bytes:
            self._framing_bytes = 0
            if self._phase == "next_event":
                self._deadline = self._loop.time() + self._times.event_s
            if self._passed():
                return
            if self._held_bytes > MOST_HELD_BYTES - LEAST_READ_BYTES:
                self._connection.pause_reading()
        else:
            self._framing_bytes += len(data)
            if self._framing_bytes > MOST_FRAMING_BYTES:
                self.fail(Malformed("Trailers or chunk extensions without end.", received=True))
        self._wake()

    def _feed_head(self, data: memoryview) -> None:
        room = MOST_HEAD_BYTES - self._framing_bytes
        self._parser.feed_data(data[:room])
        if len(data) > room:
            if not self.status:
                raise Malformed(f"The head is longer than {MOST_HEAD_BYTES} bytes.")
            self._parser.feed_data(data[room:])

    def _refuse(self, error: Exception) -> None:
        if self.complete:  # bytes after the end: no fault of this reply, but nothing may follow it
            self.keep_alive = False
            return
        cause = error.__context__ or error  # of a callback's error, what the callback raised
        self.fail(Malformed(f"The backend does not speak HTTP/1.1: {cause}", received=True))

    def leave(self) -> None:
        """Nobody reads on, and nothing will be fed."""
        self.fail(BrokenOff("The exchange was left before its end.", received=self._received))
        del self._parser  # it and this hold each other, which only the collector would undo

    def fail(self, error: UpstreamError) -> None:
        """End here: the connection is of no use any more."""
        if self.complete or self._error is not None:
            return
        self._error = error
        self._deadline = float("inf")
        self._connection.abort()
        self._wake()

    def lost(self, cause: Exception | None, *, clean_end: bool) -> None:
        """The connection is gone: the end of a body without any other end, else a failure."""
        if self.status and not self._framed and clean_end and cause is None:
            self.complete = True
            self._wake()
            return
        where = "closed the connection" if cause is None else f"broke the connection ({cause})"
        if self.status:
            self.fail(BrokenOff(f"The backend {where} inside its reply.", received=True))
        else:
            message = f"The backend {where} before it answered."
            self.fail(BrokenBeforeHead(message, received=self._received))

    # What httptools calls.

    def on_message_begin(self) -> None:
        if self.complete:
            raise Malformed("There are bytes after the end of the reply.")
        self.headers = {}

    def on_header(self, raw_name: bytes, raw_value: bytes) -> None:
        if self.status:  # a trailer
            return
        name = raw_name.decode("latin-1").lower()
        value = raw_value.decode("latin-1").strip(" \t")
        self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        version = self._parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise Malformed(f"The version is {version}.")
        if status == 101 or not 100 <= status <= 599:
            raise Malformed(f"The status is {status}.")
        if status < 200:
            self._interim = True
            return
        headers = self.headers
        # The parser refuses a length beside chunks. Any other coding it lets through, and
        # reads such a body to another end than the next reader of it would.
        coding = headers.get("transfer-encoding")
        if coding is not None and (coding.lower() != "chunked" or version == "1.0"):
            raise Malformed(f"The body is coded: {coding} in HTTP/{version}.")
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise Malformed("The body is compressed, though nobody asked for that.")
        self._framed = coding is not None or "content-length" in headers
        if not HOP_BY_HOP.isdisjoint(headers):
            named = headers.get("connection", "").lower().replace(" ", "").split(",")
            for name in HOP_BY_HOP.union(named).intersection(headers):
                del headers[name]
        self.status = status
        if self._method == "HEAD":
            self.complete = True  # the parser would wait for a body; so it is not kept alive either
        elif self._streaming:
            self._phase = "first_event"
            self._deadline = self._loop.time() + self._first_byte_s
        else:
            self._phase = "reply"
            self._deadline = self._reply_by

    def on_body(self, piece: bytes) -> None:
        if self.complete:
            return
        self._pieces.append(piece)
        self._held_bytes += len(piece)
        if self._phase == "first_event" and not _is_comment(piece):
            self._phase = "next_event"

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        elif not self.complete:
            self.complete = True
            self.keep_alive = self._parser.should_keep_alive()


def _is_comment(piece: bytes) -> bool:
    """Whether these server-sent events are only comments, as vLLM sends to keep a stream open."""
    return piece.startswith(b":") and all(
        line.startswith(b":") for line in piece.splitlines() if line
    )
