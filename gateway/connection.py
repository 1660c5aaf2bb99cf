"""One connection to a backend, for one exchange at a time: bytes out, bytes in.

Which connection serves which request, dialling and keeping idle ones is `gateway.upstream`. What
the bytes of a reply mean is `gateway.response`. Nothing that ends an exchange awaits, so no
cancellation can land in the clean-up.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import cast

from gateway.response import HOP_BY_HOP, Response, Times

PIECE_BYTES = 65_536  # of a large request body, handed to the transport at a time

# Written here or by nobody: a body goes out with its length, and replies come as they are.
NEVER_PASSED = HOP_BY_HOP | {"accept-encoding", "content-length", "expect", "host"}

_METHOD = re.compile(r"[A-Z]+")
_TARGET = re.compile(r"/[\x21-\x7e]*")
_LINES = re.compile(r"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [^\r\n\0]*\r\n)*")


def request_head(
    authority: str, method: str, target: str, headers: Sequence[tuple[str, str]], body_bytes: int
) -> bytes:
    """The request line and headers, with what belongs to the connection left out.

    Raises:
        ValueError: a part would end its line early, or is not text that HTTP can carry.
    """
    if not _METHOD.fullmatch(method) or not _TARGET.fullmatch(target):
        raise ValueError(f"{method!r} {target!r} is no request line.")
    lines, named = [], NEVER_PASSED
    for name, value in headers:
        if name.lower() == "connection":
            named |= {token.strip().lower() for token in value.split(",")}
    for name, value in headers:
        if name.lower() not in named:
            lines.append(f"{name}: {value}\r\n")
    text = "".join(lines)
    # One match for all: a value with a line break would match too, but as one line too many.
    if text.count("\r\n") != len(lines) or not _LINES.fullmatch(text):
        raise ValueError("A header has a name or a value that would break the request.")
    start = f"{method} {target} HTTP/1.1\r\nhost: {authority}\r\n"
    return f"{start}{text}content-length: {body_bytes}\r\n\r\n".encode("latin-1")


class Connection(asyncio.BufferedProtocol):
    """A transport to a backend and the exchange on it, if there is one.

    ``shelf`` is where bytes are read to; all connections of a loop can share one, as it is empty
    again when ``buffer_updated`` returns. asyncio would otherwise allocate 256 KiB a read.
    """

    def __init__(
        self,
        shelf: memoryview,
        on_lost: Callable[["Connection"], None],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.reply: Response | None = None
        self.idle_since = 0.0
        self.reading_paused = False
        self._transport: asyncio.Transport | None = None
        self._shelf = shelf
        self._on_lost = on_lost
        self._unsent = memoryview(b"")
        self._writing_paused = False
        self._ended = False

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def unsent_bytes(self) -> int:
        """How much of the request the kernel has not taken."""
        if self._transport is None:
            return 0
        return len(self._unsent) + self._transport.get_write_buffer_size()

    def begin(
        self,
        times: Times,
        method: str,
        head: bytes,
        body: bytes,
        *,
        streaming: bool,
        first_byte_s: float,
    ) -> Response:
        """Send a request. A connection that is already gone shows as a failed reply."""
        reply = Response(self, times, method, streaming=streaming, first_byte_s=first_byte_s)
        if self._transport is None or self._transport.is_closing():
            reply.lost(None, clean_end=False)
            return reply
        self.reply = reply
        if len(body) <= PIECE_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._unsent = memoryview(body)
            self._send_more()
        if self.unsent_bytes == 0:
            reply.sent()
        return reply

    def _send_more(self) -> None:
        while self._unsent and self.usable and not self._writing_paused:
            piece = self._unsent[:PIECE_BYTES]
            self._unsent = self._unsent[PIECE_BYTES:]
            cast(asyncio.Transport, self._transport).write(piece)

    def finish(self) -> bool:
        """Let go of the exchange. True: another can follow; False: the connection is aborted.

        Nobody reads a reply to its end to save a connection: vLLM stops generating only when
        the connection closes.
        """
        reply, self.reply = self.reply, None
        if reply is None:
            return False
        reusable = reply.keep_alive and self.usable and self.unsent_bytes == 0
        reply.leave()
        if not reusable:
            self.abort()
        elif self.reading_paused:
            self.resume_reading()
        return reusable

    def abort(self) -> None:
        self._unsent = memoryview(b"")
        if self._transport is not None:
            self._transport.abort()

    def pause_reading(self) -> None:
        if self._transport is not None and self.usable and not self.reading_paused:
            self.reading_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        self.reading_paused = False
        if self._transport is not None and self.usable:
            self._transport.resume_reading()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._shelf if self.reply is None else self._shelf[: self.reply.room_bytes]

    def buffer_updated(self, nbytes: int) -> None:
        if self.reply is None:
            self.abort()  # nobody asked for anything: whatever this is, it answers no request
        elif self.reply.complete:
            self.reply.keep_alive = False
        else:
            self.reply.feed(self._shelf[:nbytes])

    def eof_received(self) -> None:
        self._ended = True

    def connection_lost(self, exc: Exception | None) -> None:
        self._unsent = memoryview(b"")
        if self.reply is not None:
            self.reply.lost(exc, clean_end=self._ended)
        self._on_lost(self)

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._send_more()
