"""The server's end of a client connection: uvicorn's own, with limits on heads and a short way to
the token path.

Uvicorn with httptools takes a header block of any length, for as long as it takes to come, and no
application can stop it: an endless line calls nothing before its end. So bytes are counted here,
where they come in. Given to uvicorn as ``--http gateway.protocol:Protocol``.
"""

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn, cast

import httptools
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from gateway import errors
from gateway.exchange import DIRECT

MOST_LINE_BYTES = 8 * 1024  # of the request line
MOST_HEADER_BYTES = 32 * 1024  # of the header lines after it
HEAD_S = 30.0  # for a whole head to come; uvicorn itself waits for ever
# A refused client is read from for so long: closing on unread bytes sends a reset, which would
# take the answer away from it.
LINGER_S = 2.0


class Direct:
    """One request's ``exchange.Direct``: what the server knows of the caller's connection."""

    __slots__ = ("_hung_up", "cycle")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self.cycle = cycle
        self._hung_up: Callable[[], None] | None = None

    def listen(self, hung_up: Callable[[], None]) -> None:
        self._hung_up = hung_up
        # A large body may have paused the reading, and a closed connection shows by reading alone.
        self.cycle.flow.resume_reading()

    def stop_listening(self) -> None:
        self._hung_up = None

    @property
    def gone(self) -> bool:
        return self.cycle.disconnected

    @property
    def takes_more(self) -> bool:
        cycle = self.cycle
        return not (
            cycle.flow.write_paused
            or cycle.disconnected
            or cycle.response_complete
            or not cycle.chunked_encoding
            or cycle.transport.is_closing()
        )

    def write(self, chunk: bytes) -> None:
        self.cycle.transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))

    def lost(self) -> None:
        if self._hung_up is not None:
            self._hung_up()

    @property
    def over(self) -> bool:
        return self.cycle.response_complete


class Protocol(HttpToolsProtocol):
    """Refuses heads that are too large, too slow or no HTTP, in OpenAI's shape and once what was
    asked before is answered; and puts a ``Direct`` into each scope.  All else is its parent's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._header_bytes = 0  # of the header lines that are complete, trailers too
        self._loose_bytes = 0  # read since the last thing they led to
        self._progress = 0  # counts such things: the end of a head, a piece of body, its end
        self._in_head = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._too_large = False
        self._refusal: errors.GatewayError | None = None  # from then on all is thrown away
        self._directs: list[Direct] = []  # of the request that is answered, and pipelined ones

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._head_came()
        for direct in self._directs:
            direct.lost()

    def data_received(self, data: bytes) -> None:
        if self._refusal is not None:
            return
        progress = self._progress
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
            else:
                self._decline(data[offer.args[0] :])
            return
        except httptools.HttpParserError:
            self._refuse(_too_large() if self._too_large else errors.invalid_http())
            return
        if self._head_timer is None and not self._answering:
            self._await_head()
        if self._progress != progress:
            self._loose_bytes = 0
            return
        # An unfinished line is kept in the parser and seen by no callback. So are the trailers
        # and the extensions of chunks, without an end.
        self._loose_bytes += len(data)
        if self._loose_bytes > MOST_LINE_BYTES + MOST_HEADER_BYTES:
            self._refuse(_too_large())

    # What the parser calls

    def on_message_begin(self) -> None:
        self._header_bytes = 0
        self._in_head = True
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
        self._in_head = False
        self._head_came()
        if self._is_declined:
            return
        super().on_headers_complete()
        cycle = self._newest
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
        if not self._is_declined:
            super().on_message_complete()

    def _stop(self) -> NoReturn:
        self._too_large = True
        raise ValueError("too large")  # the parser stops

    # The offer of another protocol, HTTP/2 as a rule

    @property
    def _is_declined(self) -> bool:
        return self.parser.should_upgrade() and not self._should_upgrade()

    def _decline(self, rest: bytes) -> None:
        """Answer in HTTP/1.1 whoever would rather go on in HTTP/2, as Java's own client does with
        each first request.  The parser has left the body unread, so all is read again without the
        offer."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == b"CONNECT":  # no offer: a tunnel is asked for
            self._refuse(errors.invalid_http())
            return
        lines = [b"%b %b HTTP/%b" % (method, self.url, version)]
        lines += [b"%b: %b" % line for line in self.headers if line[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as the parent's
        self.data_received(b"\r\n".join((*lines, b"", rest)))

    # The time a head has

    @property
    def _newest(self) -> RequestResponseCycle | None:
        return cast("RequestResponseCycle | None", self.cycle)  # None before the first request

    @property
    def _answering(self) -> bool:
        return self._newest is not None and not self._newest.response_complete

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_S, self._head_is_late)

    def _head_came(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._in_head:
            self._refuse(errors.request_timeout(HEAD_S))
        else:  # nothing came at all, or the rest of a body that is answered already
            self.transport.close()

    # Refusals

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._refusal is not None and not self._answering:
            self._tell(self._refusal)

    def _refuse(self, error: errors.GatewayError) -> None:
        """Read nothing more.  ``error`` answers what cannot be read, so it comes behind the
        answers to all that was asked before."""
        self._refusal = error
        self._head_came()
        cycle = self._newest
        if cycle is not None and cycle.more_body and not cycle.response_complete:
            if self.pipeline:  # its turn has not come, and will not
                self.pipeline.popleft()
                self._directs.pop()
                self.cycle = self._directs[-1].cycle
                return
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:  # the refusal would land inside that answer
                self.transport.close()
                return
        elif self._answering:
            return
        self._tell(error)

    def _tell(self, error: errors.GatewayError) -> None:
        if self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        body = error.body("openai", "")
        headers = [(name.encode(), value.encode()) for name, value in error.headers().items()]
        lines = [*self.server_state.default_headers, *headers]
        lines.append((b"content-length", str(len(body)).encode()))
        head = b"".join(b"%s: %s\r\n" % line for line in lines)
        self.transport.write(STATUS_LINE[error.status] + head + b"\r\n" + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.loop.call_later(LINGER_S, self.transport.close)
        else:
            self.transport.close()


def _too_large() -> errors.GatewayError:
    return errors.headers_too_large(MOST_LINE_BYTES, MOST_HEADER_BYTES)
