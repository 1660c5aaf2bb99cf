"""The server's end of a client connection: uvicorn's own, with a limit on headers and a short way
to the token path.

Uvicorn with httptools takes a header block of any length, and no application can stop it: an
endless line calls nothing before its end. So bytes are counted here, where they come in. Given to
uvicorn as ``--http gateway.protocol:Protocol``.
"""

from collections.abc import Callable
from typing import Any, NoReturn, cast

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from gateway import errors
from gateway.exchange import DIRECT

MOST_LINE_BYTES = 8 * 1024  # of the request line
MOST_HEADER_BYTES = 32 * 1024  # of the header lines after it
# A refused client is read from for so long: closing on unread bytes sends a reset, which would
# take the answer away from it.
LINGER_S = 2.0

TOO_LARGE = errors.headers_too_large(MOST_LINE_BYTES, MOST_HEADER_BYTES)


class Direct:
    """One request's ``exchange.Direct``: what the server knows of the caller's connection."""

    __slots__ = ("_cycle", "_hung_up")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._hung_up: Callable[[], None] | None = None

    def listen(self, hung_up: Callable[[], None]) -> None:
        self._hung_up = hung_up
        # A large body may have paused the reading, and a closed connection shows by reading alone.
        self._cycle.flow.resume_reading()

    def stop_listening(self) -> None:
        self._hung_up = None

    @property
    def gone(self) -> bool:
        return self._cycle.disconnected

    @property
    def takes_more(self) -> bool:
        cycle = self._cycle
        return not (
            cycle.flow.write_paused
            or cycle.disconnected
            or cycle.response_complete
            or not cycle.chunked_encoding
            or cycle.transport.is_closing()
        )

    def write(self, chunk: bytes) -> None:
        self._cycle.transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))

    def lost(self) -> None:
        if self._hung_up is not None:
            self._hung_up()

    @property
    def over(self) -> bool:
        return self._cycle.response_complete


class Protocol(HttpToolsProtocol):
    """Answers 431 to a head that is too large and closes, and puts a ``Direct`` into each scope.
    All else is its parent's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._header_bytes = 0  # of the header lines that are complete, trailers too
        self._loose_bytes = 0  # read since the last thing they led to
        self._progress = 0  # counts such things: the end of a head, a piece of body, its end
        self._too_large = False
        self._refused = False
        self._directs: list[Direct] = []  # of the request that is answered, and pipelined ones

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for direct in self._directs:
            direct.lost()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        progress = self._progress
        super().data_received(data)
        if self._progress != progress:
            self._loose_bytes = 0
            return
        # An unfinished line is kept in the parser and seen by no callback. So are the trailers
        # and the extensions of chunks, without an end.
        self._loose_bytes += len(data)
        if self._loose_bytes > MOST_LINE_BYTES + MOST_HEADER_BYTES:
            self._refuse()

    def on_message_begin(self) -> None:
        self._header_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        line_bytes = len(self.parser.get_method()) + len(self.url) + len("  HTTP/1.1\r\n")
        if line_bytes > MOST_LINE_BYTES:
            self._stop()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value) + len(": \r\n")
        if self._header_bytes > MOST_HEADER_BYTES:
            self._stop()
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._progress += 1
        super().on_headers_complete()
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is not None and cycle.scope is self.scope:  # not so for an upgrade
            direct = Direct(cycle)
            cast("dict[str, object]", self.scope)[DIRECT] = direct
            self._directs = [earlier for earlier in self._directs if not earlier.over]
            self._directs.append(direct)

    def on_body(self, body: bytes) -> None:
        self._progress += 1
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._progress += 1
        super().on_message_complete()

    def _stop(self) -> NoReturn:
        self._too_large = True
        raise ValueError("too large")  # the parser stops, and the parent calls the next method

    def send_400_response(self, msg: str) -> None:
        if self._too_large:
            self._refuse()
        else:
            super().send_400_response(msg)

    def _refuse(self) -> None:
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._unset_keepalive_if_required()
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None before the first request
        if cycle is not None and not cycle.response_complete:
            self.transport.close()  # an answer here would land inside the one that is being sent
            return
        body = TOO_LARGE.body("openai", "")
        headers = [(name.encode(), value.encode()) for name, value in TOO_LARGE.headers().items()]
        lines = [*self.server_state.default_headers, *headers]
        lines.append((b"content-length", str(len(body)).encode()))
        head = b"".join(b"%s: %s\r\n" % line for line in lines)
        self.transport.write(STATUS_LINE[TOO_LARGE.status] + head + b"\r\n" + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.loop.call_later(LINGER_S, self.transport.close)
        else:
            self.transport.close()
