"""The client of the backends, against servers that misbehave in every way a test can say."""

import asyncio
import contextlib
import datetime
import errno
import gc
import ipaddress
import logging
import random
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.upstream import (
    BrokenBeforeHead,
    BrokenOff,
    Malformed,
    NotConnected,
    Origin,
    Response,
    TimedOut,
    Times,
    Upstream,
    UpstreamError,
)
from tests.support.clock import on_virtual_time, until
from tests.support.hostile_server import HostileServer, Peer, Script, says

OK = b"HTTP/1.1 200 OK\r\n"
HELLO = OK + b"content-length: 5\r\n\r\nhello"
STREAM = OK + b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
MIB = 1024 * 1024


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@contextlib.asynccontextmanager
async def running(times: Times | None = None, **settings: object) -> AsyncIterator[Upstream]:
    upstream = Upstream(times, **settings)  # type: ignore[arg-type]
    await upstream.start()
    try:
        yield upstream
    finally:
        await upstream.close()


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with running() as upstream:
        yield upstream


def asking(
    upstream: Upstream,
    origin: Origin,
    body: bytes = b"{}",
    *,
    method: str = "POST",
    path: str = "/v1/completions",
    headers: list[tuple[str, str]] | None = None,
    streaming: bool = False,
    first_byte_s: float = 120.0,
) -> contextlib.AbstractAsyncContextManager[Response]:
    return upstream.exchange(
        origin, method, path, headers or [], body, streaming=streaming, first_byte_s=first_byte_s
    )


async def rest_of(response: Response) -> bytes:
    pieces = []
    while piece := await response.next():
        pieces.append(piece)
    return b"".join(pieces)


async def fetch(upstream: Upstream, origin: Origin, body: bytes = b"{}", **how: object) -> bytes:
    """The whole body of the reply."""
    async with asking(upstream, origin, body, **how) as response:  # type: ignore[arg-type]
        return await rest_of(response)


async def turns(count: int = 5) -> None:
    """Let the loop go round, so that what was sent is read."""
    for _ in range(count):
        await asyncio.sleep(0)


async def silence(peer: Peer) -> None:
    await peer.request()
    await peer.left()


def says_then(data: bytes, then: Script | None = None) -> Script:
    """Answer one request with ``data``, go on as told, close."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(data)
        if then is not None:
            await then(peer)

    return script


# Replies as they should be.


async def test_a_reply_has_its_status_its_headers_and_its_body(upstream):
    reply = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nX-A: 1\r\nX-A:  2 \r\n"
    async with HostileServer(says(reply + b"Content-Length: 5\r\n\r\nhello")) as server:
        async with asking(upstream, server.origin) as response:
            assert response.status == 404
            assert response.headers == {
                "content-type": "text/plain",
                "x-a": "1, 2",
                "content-length": "5",
            }
            assert await response.next() == b"hello"
            assert await response.next() == b""
            assert await response.next() == b""


async def test_a_request_leaves_as_it_was_given_with_its_length_and_host(upstream):
    headers = [("content-type", "application/json"), ("x-request-id", "r 1")]
    async with HostileServer(says(HELLO)) as server:
        origin = server.origin._replace(prefix="/models")

        await fetch(upstream, origin, b'{"a":1}', path="/v1/x?y=1", headers=headers)

        assert (
            bytes(server.peers[0].received)
            == (
                f"POST /models/v1/x?y=1 HTTP/1.1\r\nhost: 127.0.0.1:{origin.port}\r\n"
                "content-type: application/json\r\nx-request-id: r 1\r\ncontent-length: 7\r\n\r\n"
                '{"a":1}'
            ).encode()
        )


@pytest.mark.parametrize(
    ("reply", "method", "body"),
    [
        (HELLO, "POST", b"hello"),
        (STREAM + chunk(b"hel") + chunk(b"lo") + b"0\r\n\r\n", "POST", b"hello"),
        (STREAM + b"5;a=b\r\nhello\r\n0\r\nx-trailer: 1\r\n\r\n", "POST", b"hello"),
        (OK + b"\r\nhello", "POST", b"hello"),
        (OK + b"connection: close\r\n\r\nhello", "POST", b"hello"),
        (b"HTTP/1.0 200 OK\r\n\r\nhello", "POST", b"hello"),
        (b"HTTP/1.1 200\r\ncontent-length: 5\r\n\r\nhello", "POST", b"hello"),
        (OK + b"content-length: 0\r\n\r\n", "POST", b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "POST", b""),
        (b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", "POST", b""),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", "GET", b""),
        (OK + b"content-length: 5\r\n\r\n", "HEAD", b""),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + HELLO, "POST", b"hello"),
        (b"HTTP/1.1 103 Early\r\nlink: a\r\n\r\nHTTP/1.1 102 P\r\n\r\n" + HELLO, "POST", b"hello"),
    ],
)
async def test_every_way_to_end_a_body_is_known(upstream, reply, method, body):
    async with HostileServer(says_then(reply)) as server:
        async with asking(upstream, server.origin, method=method) as response:
            assert response.status in (200, 204, 304)
            assert await rest_of(response) == body
            assert "link" not in response.headers


async def test_headers_about_the_connection_do_not_pass_back(upstream):
    hop = b"connection: keep-alive, X-Mine\r\nkeep-alive: timeout=5\r\nx-mine: 1\r\nupgrade: h2\r\n"
    async with HostileServer(
        says(OK + hop + b"x-a: 1\r\ncontent-length: 5\r\n\r\nhello")
    ) as server:
        async with asking(upstream, server.origin) as response:
            assert response.headers == {"x-a": "1", "content-length": "5"}


async def test_a_reply_cut_anywhere_reads_the_same(upstream):
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    reply = interim + STREAM + chunk(b"hello") + chunk(b"there") + b"0\r\nx-t: 1\r\n\r\n"

    async def script(peer: Peer) -> None:
        for at in range(1, len(reply)):
            await peer.request()
            await peer.send(reply[:at])
            await turns(3)
            await peer.send(reply[at:])

    async with HostileServer(script) as server:
        for _ in range(1, len(reply)):
            async with asking(upstream, server.origin, streaming=True) as response:
                assert response.headers == {"content-type": "text/event-stream"}
                assert await rest_of(response) == b"hellothere"

        assert len(server.peers) == 1


async def test_a_reply_that_comes_byte_by_byte_reads_the_same(upstream):
    reply = STREAM + chunk(b"hello") + b"0\r\n\r\n"
    async with HostileServer(says(*[reply[at : at + 1] for at in range(len(reply))])) as server:
        assert await fetch(upstream, server.origin) == b"hello"
        assert await fetch(upstream, server.origin) == b"hello"

        assert len(server.peers) == 1


async def test_what_has_arrived_is_handed_out_joined(upstream):
    async with HostileServer(
        says_then(STREAM + chunk(b"one ") + chunk(b"two ") + chunk(b"three"), Peer.left)
    ) as server:
        async with asking(upstream, server.origin, streaming=True) as response:
            assert await response.next() == b"one two three"


async def test_a_reader_who_stops_waiting_loses_nothing(upstream):
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM)
        await asyncio.sleep(0.02)
        await peer.send(chunk(b"hello") + b"0\r\n\r\n")

    async with HostileServer(script) as server:
        async with asking(upstream, server.origin, streaming=True) as response:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(response.next(), 0.005)

            assert await rest_of(response) == b"hello"


# The pool.


async def test_one_connection_serves_one_request_after_another(upstream):
    async with HostileServer(says(HELLO)) as server:
        for _ in range(3):
            assert await fetch(upstream, server.origin) == b"hello"

        assert len(server.peers) == 1
        assert upstream.open_connections(server.origin) == 1
        assert upstream.idle_connections(server.origin) == 1


async def test_nobody_waits_for_a_connection_of_another(upstream):
    async with HostileServer(says(HELLO)) as server:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(5):
                await stack.enter_async_context(asking(upstream, server.origin))

            assert upstream.open_connections(server.origin) == 5
            assert upstream.idle_connections(server.origin) == 0
        assert upstream.idle_connections(server.origin) == 5


async def test_the_connection_used_last_is_used_next(upstream):
    async with HostileServer(says(HELLO)) as server:
        async with asking(upstream, server.origin), asking(upstream, server.origin):
            pass  # the second is left first, so the first went back last

        for _ in range(3):
            await fetch(upstream, server.origin)

        assert [peer.received.count(b"POST") for peer in server.peers] == [4, 1]


async def test_a_reply_that_has_arrived_need_not_be_read_for_the_connection_to_live(upstream):
    async with HostileServer(says(HELLO)) as server:
        async with asking(upstream, server.origin):
            await turns()
        await fetch(upstream, server.origin)

        assert len(server.peers) == 1


@pytest.mark.parametrize(
    ("reply", "method"),
    [
        (OK + b"connection: close\r\ncontent-length: 5\r\n\r\nhello", "POST"),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello", "POST"),
        (HELLO + HELLO, "POST"),
        (HELLO + b"x", "POST"),
        (STREAM + chunk(b"hello") + b"0\r\n\r\n" + OK, "POST"),
        (b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello", "POST"),
        (OK + b"content-length: 5\r\n\r\n", "HEAD"),
    ],
)
async def test_a_connection_is_closed_if_the_next_reply_on_it_could_be_another_s(
    upstream, reply, method
):
    async with HostileServer(says_then(reply, Peer.left)) as server:
        body = await fetch(upstream, server.origin, method=method)

        assert body in (b"hello", b"")
        assert upstream.idle_connections(server.origin) == 0
        await until(lambda: server.peers[0].gone)
        assert upstream.open_connections(server.origin) == 0


async def test_bytes_after_the_end_spoil_the_connection_while_the_block_still_runs(upstream):
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(HELLO)
        await turns()
        await peer.send(HELLO)
        await peer.left()

    async with HostileServer(script) as server:
        async with asking(upstream, server.origin) as response:
            assert await rest_of(response) == b"hello"
            await turns(10)

        assert upstream.idle_connections(server.origin) == 0


async def test_bytes_nobody_asked_for_close_an_idle_connection(upstream):
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(HELLO)
        if peer.number == 0:
            await asyncio.sleep(0.01)
            await peer.send(OK + b"content-length: 4\r\n\r\nevil")
            await peer.left()

    async with HostileServer(script) as server:
        await fetch(upstream, server.origin)
        assert upstream.idle_connections(server.origin) == 1

        await until(lambda: server.peers[0].gone, timeout_s=1)  # and not by its age

        assert upstream.open_connections(server.origin) == 0
        assert await fetch(upstream, server.origin) == b"hello"


async def test_a_connection_the_server_closed_while_idle_is_not_used(upstream):
    async with HostileServer(says_then(HELLO)) as server:
        for _ in range(3):
            assert await fetch(upstream, server.origin) == b"hello"
            await until(lambda: upstream.open_connections(server.origin) == 0)
            assert upstream.idle_connections(server.origin) == 0

        assert len(server.peers) == 3


@on_virtual_time
async def test_idle_connections_close_after_four_seconds():
    async with running() as upstream, HostileServer(says(HELLO)) as server:
        await fetch(upstream, server.origin)

        await asyncio.sleep(3.9)
        assert upstream.idle_connections(server.origin) == 1
        await asyncio.sleep(0.4)
        assert upstream.idle_connections(server.origin) == 0
        assert upstream.open_connections(server.origin) == 0

        await fetch(upstream, server.origin)
        assert len(server.peers) == 2


@on_virtual_time
async def test_a_connection_in_use_stays_when_idle_ones_go():
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(HELLO if peer.number else STREAM)
        await asyncio.sleep(8)
        await peer.send(chunk(b"late") + b"0\r\n\r\n")
        await peer.left()

    async with running() as upstream, HostileServer(script) as server:
        async with asking(upstream, server.origin, streaming=True) as response:
            await fetch(upstream, server.origin)
            assert upstream.idle_connections(server.origin) == 1
            assert await rest_of(response) == b"late"
            assert upstream.open_connections(server.origin) == 1


async def test_a_dropped_backend_keeps_only_what_is_in_use(upstream):
    async with HostileServer(says(HELLO)) as server:
        async with asking(upstream, server.origin) as response:
            await fetch(upstream, server.origin)

            upstream.drop(server.origin)

            assert upstream.open_connections(server.origin) == 0
            assert await rest_of(response) == b"hello"
            await until(lambda: server.peers[1].gone, timeout_s=1)
            assert not server.peers[0].gone
        await until(lambda: server.peers[0].gone, timeout_s=1)
        assert await fetch(upstream, server.origin) == b"hello"  # it may come back
        assert len(server.peers) == 3


@on_virtual_time
async def test_an_exchange_with_a_backend_dropped_before_it_began_is_watched_all_the_same():
    async with running() as upstream, HostileServer(silence) as server:
        exchange = asking(upstream, server.origin, streaming=True)
        upstream.drop(server.origin)
        other = asyncio.create_task(fetch(upstream, server.origin))  # so that the sweep runs
        await asyncio.sleep(1)

        with pytest.raises(TimedOut):
            async with exchange:
                pass

        other.cancel()
        await asyncio.wait([other])


@on_virtual_time
async def test_a_connection_that_idled_too_long_is_not_used_though_no_sweep_came():
    async with running(Times(sweep_s=60)) as upstream, HostileServer(says(HELLO)) as server:
        await fetch(upstream, server.origin)
        await asyncio.sleep(5)

        await fetch(upstream, server.origin)

        assert len(server.peers) == 2


async def test_closing_ends_what_runs_and_refuses_what_comes():
    async with HostileServer(says_then(STREAM, Peer.left)) as server:
        upstream = Upstream()
        await upstream.start()
        async with asking(upstream, server.origin, streaming=True) as response:
            reading = asyncio.ensure_future(response.next())
            await turns()

            await upstream.close()

            with pytest.raises(BrokenOff):
                await reading
        with pytest.raises(NotConnected):
            await fetch(upstream, server.origin)


async def test_more_connections_than_expected_are_logged_once(caplog):
    caplog.set_level(logging.WARNING)
    async with running(connections_expected=2) as upstream, HostileServer(says(HELLO)) as server:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(5):
                await stack.enter_async_context(asking(upstream, server.origin))

        assert [record.getMessage() for record in caplog.records] == [
            f"More than 2 connections to {server.origin}."
        ]


# A connection that went stale.


@pytest.mark.parametrize("how", [Peer.close, Peer.reset])
async def test_a_request_that_met_a_closing_connection_is_sent_again_on_a_fresh_one(upstream, how):
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(HELLO)
        await peer.request()
        if peer.number == 0:
            how(peer)
        else:
            await peer.send(HELLO)

    async with HostileServer(script) as server:
        await fetch(upstream, server.origin)

        assert await fetch(upstream, server.origin, b"again") == b"hello"

        assert [peer.received.count(b"again") for peer in server.peers] == [1, 1]


async def test_it_is_sent_again_only_once(upstream):
    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number == 0:
            await peer.send(HELLO)
            await peer.request()

    async with HostileServer(script) as server:
        await fetch(upstream, server.origin)

        with pytest.raises(BrokenBeforeHead) as raised:
            await fetch(upstream, server.origin)

        assert not raised.value.received
        assert len(server.peers) == 2


async def test_it_is_not_sent_again_once_a_byte_came(upstream):
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(HELLO)
        await peer.request()
        await peer.send(b"H")

    async with HostileServer(script) as server:
        await fetch(upstream, server.origin)

        with pytest.raises(BrokenBeforeHead) as raised:
            await fetch(upstream, server.origin)

        assert raised.value.received
        assert len(server.peers) == 1


@pytest.mark.parametrize("how", [Peer.close, Peer.reset])
async def test_a_fresh_connection_that_breaks_is_not_tried_again(upstream, how):
    async def script(peer: Peer) -> None:
        await peer.request()
        how(peer)

    async with HostileServer(script) as server:
        with pytest.raises(BrokenBeforeHead) as raised:
            await fetch(upstream, server.origin)

        assert not raised.value.received
        assert len(server.peers) == 1
        assert upstream.open_connections(server.origin) == 0


# Replies that break off.


@pytest.mark.parametrize(
    "reply",
    [
        OK + b"content-length: 50\r\n\r\nhello",
        STREAM + chunk(b"hello"),
        STREAM + b"50\r\nhello",
        STREAM + chunk(b"hello") + b"0\r\n",
        STREAM + chunk(b"hello") + b"0\r\nx-trailer: 1\r\n",
    ],
)
@pytest.mark.parametrize("how", [Peer.close, Peer.reset])
async def test_a_body_cut_short_is_an_error_after_what_came(upstream, reply, how):
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(reply)
        await asyncio.sleep(0.01)  # a reset throws away what has not been read
        how(peer)

    async with HostileServer(script) as server:
        async with asking(upstream, server.origin) as response:
            assert await response.next() == b"hello"
            with pytest.raises(BrokenOff) as raised:
                await response.next()
            with pytest.raises(BrokenOff):
                await response.next()

        assert raised.value.received
        assert upstream.open_connections(server.origin) == 0


async def test_a_body_without_a_length_does_not_end_in_a_reset(upstream):
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK + b"\r\nhello")
        await asyncio.sleep(0.01)
        peer.reset()

    async with HostileServer(script) as server:
        async with asking(upstream, server.origin) as response:
            with pytest.raises(BrokenOff):
                await rest_of(response)


@pytest.mark.parametrize("reply", [b"H", b"HTTP/1.1 200 OK\r\n", OK + b"content-length: 5\r\n"])
async def test_a_head_cut_short_says_that_something_came(upstream, reply):
    async with HostileServer(says_then(reply)) as server:
        with pytest.raises(BrokenBeforeHead) as raised:
            await fetch(upstream, server.origin)

        assert raised.value.received


# What is not HTTP.


@pytest.mark.parametrize(
    "head",
    [
        b"hello world\r\n\r\n",
        b"HTTP/2.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/0.9 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 099 Odd\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 600 Odd\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\ncontent-length: 5\n\nhello",
        b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nxyz",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        OK + b"content-length: -1\r\n\r\nhello",
        OK + b"content-length: 0x5\r\n\r\nhello",
        OK + b"content-length: 99999999999999999999\r\n\r\nhello",
        OK + b": nameless\r\n\r\n",
        OK + b"x: a\0b\r\n\r\n",
        OK + b"x: a\rb\r\n\r\n",
    ],
)
async def test_a_head_that_is_not_http_is_malformed(upstream, head):
    async with HostileServer(says_then(head, Peer.left)) as server:
        with pytest.raises(Malformed) as raised:
            await fetch(upstream, server.origin)

        assert raised.value.received
        await until(lambda: server.peers[0].gone)
        assert upstream.open_connections(server.origin) == 0


@pytest.mark.parametrize(
    "headers",
    [
        b"content-length: 5\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        b"content-length: 5\r\ncontent-length: 5\r\n",
        b"content-length: 5\r\ncontent-length: 6\r\n",
        b"content-length: 5, 5\r\n",
        b"x-a: one\r\n two\r\ncontent-length: 5\r\n",
        b"x-a: one\r\n\ttwo\r\ncontent-length: 5\r\n",
        b"transfer-encoding:\r\n chunked\r\n",
        b"transfer-encoding: gzip, chunked\r\n",
        b"transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding: chunked, gzip\r\n",
        b"transfer-encoding: identity\r\n",
        b"transfer-encoding: xchunked\r\n",
        b"content-length : 5\r\n",
        b" content-length: 5\r\n",
    ],
)
async def test_a_reply_that_two_readers_could_end_differently_is_malformed(upstream, headers):
    async with HostileServer(says_then(OK + headers + b"\r\n0\r\n\r\n", Peer.left)) as server:
        with pytest.raises(Malformed):
            await fetch(upstream, server.origin)


async def test_chunks_in_http_1_0_are_malformed(upstream):
    reply = b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    async with HostileServer(says_then(reply, Peer.left)) as server:
        with pytest.raises(Malformed):
            await fetch(upstream, server.origin)


@pytest.mark.parametrize(
    "bad",
    [
        b"g\r\nhello\r\n",
        b"-5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b" 5\r\nhello\r\n",
        b"5 \r\nhello\r\n",
        b"\r\nhello\r\n",
        b"5\nhello\r\n",
        b"5\r\nhello!\r\n",
        b"5\r\nhello\n",
        b"5\r\nhello0\r\n\r\n",
        b"11111111111111111\r\nhello\r\n",
        b"0\r\ncontent-length: 5\r\n\r\n",
        b"0\r\nbad trailer\r\n\r\n",
    ],
)
async def test_bad_chunks_are_malformed_after_what_came_before_them(upstream, bad):
    async with HostileServer(says_then(STREAM + chunk(b"good "), Peer.left)) as server:
        async with asking(upstream, server.origin, streaming=True) as response:
            assert await response.next() == b"good "
            await server.peers[0].send(bad)
            with pytest.raises(Malformed):
                await rest_of(response)

            await until(lambda: server.peers[0].gone)
        assert upstream.open_connections(server.origin) == 0


@pytest.mark.parametrize(
    ("start", "again"),
    [
        (OK, b"x-a: " + b"b" * 200 + b"\r\n"),
        (OK + b"x-a: ", b"b" * 1000),
        (OK, b"x" * 1000),
        (b"HTTP/1.1 200 ", b"O" * 1000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"", b"\r\n"),
        (STREAM + b"5;", b"x" * 1000),
        (STREAM + b"0\r\nx-t: ", b"b" * 1000),
        (STREAM + b"0\r\n", b"x-t: " + b"b" * 200 + b"\r\n"),
    ],
    ids=["headers", "value", "name", "reason", "1xx", "blank", "extension", "trailer", "trailers"],
)
async def test_what_has_no_end_is_given_up(upstream, start, again):
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(start)
        with contextlib.suppress(ConnectionError):
            while sent < 2 * MIB:
                await peer.send(again * 20)
                sent += len(again) * 20
                await asyncio.sleep(0)

    async with HostileServer(script) as server:
        with pytest.raises(Malformed):
            await fetch(upstream, server.origin, streaming=True)

    assert sent < MIB  # that much lies in the kernel's buffers


async def test_a_head_of_64_kib_is_read(upstream):
    head = OK + b"content-length: 5\r\nx-a: "
    head += b"b" * (64 * 1024 - len(head) - 4) + b"\r\n\r\n"
    async with HostileServer(says(head + b"hello")) as server:
        assert await fetch(upstream, server.origin) == b"hello"
    async with HostileServer(says(head.replace(b"bb", b"bbb", 1) + b"hello")) as server:
        with pytest.raises(Malformed):
            await fetch(upstream, server.origin)


# What must never leave.


@pytest.mark.parametrize(
    "header",
    [
        ("x-a", "one\r\ncontent-length: 0"),
        ("x-a", "one\nx-b: two"),
        ("x-a", "one\rtwo"),
        ("x-a", "one\0"),
        ("x-a", "snow \N{SNOWMAN}"),
        ("x-a\r\nx-b", "one"),
        ("x a", "one"),
        ("x-a:", "one"),
        ("", "one"),
    ],
)
async def test_a_header_that_would_break_the_request_never_leaves(upstream, header):
    async with HostileServer(silence) as server:
        with pytest.raises(ValueError, match=r"header|latin-1"):
            asking(upstream, server.origin, headers=[("x-ok", "1"), header])

        assert upstream.open_connections(server.origin) == 0


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/a b"),
        ("POST", "/a\r\nx: y"),
        ("POST", "relative"),
        ("POST", "/\N{SNOWMAN}"),
        ("PO ST", "/"),
        ("POST\r\n", "/"),
        ("", "/"),
    ],
)
async def test_a_request_line_that_would_break_never_leaves(upstream, method, path):
    origin = Origin("http", "127.0.0.1", 1)

    with pytest.raises(ValueError, match="request line"):
        asking(upstream, origin, method=method, path=path)


async def test_headers_about_the_connection_do_not_pass_on(upstream):
    stay = [
        ("Connection", "close, X-Mine"),
        ("X-Mine", "1"),
        ("Keep-Alive", "1"),
        ("TE", "trailers"),
        ("Trailer", "x"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "h2c"),
        ("Proxy-Authorization", "x"),
        ("Expect", "100-continue"),
        ("Accept-Encoding", "gzip"),
        ("Content-Length", "999"),
        ("Host", "elsewhere"),
    ]
    async with HostileServer(says(HELLO)) as server:
        await fetch(upstream, server.origin, headers=[*stay, ("x-a", "1")])

        lines = bytes(server.peers[0].received).split(b"\r\n")[1:-2]
        assert lines == [
            b"host: " + server.origin.authority.encode(),
            b"x-a: 1",
            b"content-length: 2",
        ]


# Time.


@contextlib.asynccontextmanager
async def unreachable(address: tuple[str, int] = ("127.0.0.1", 0)) -> AsyncIterator[Origin]:
    """An address that never answers, not even with a refusal: nobody accepts, the queue is full."""
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.create_server(address, backlog=0))
        for _ in range(3):
            filler = sockets.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(listener.getsockname())
        yield Origin("http", *listener.getsockname())


@on_virtual_time
async def test_a_connection_that_does_not_come_is_given_up_after_two_seconds():
    loop = asyncio.get_running_loop()
    async with running() as upstream, unreachable() as origin:
        with pytest.raises(NotConnected, match="2 s"):
            await fetch(upstream, origin)

        assert loop.time() == pytest.approx(2)
        assert upstream.open_connections(origin) == 0


@on_virtual_time
async def test_a_request_nobody_takes_is_given_up_after_thirty_seconds():
    loop = asyncio.get_running_loop()

    async def script(peer: Peer) -> None:
        await asyncio.sleep(3600)

    async with running() as upstream, HostileServer(script) as server:
        with pytest.raises(TimedOut) as raised:
            await fetch(upstream, server.origin, b"x" * 16 * MIB)

        assert raised.value.phase == "request"
        assert not raised.value.received
        assert 30 <= loop.time() <= 30.5
        await turns()
        assert upstream.open_connections(server.origin) == 0


@on_virtual_time
async def test_a_head_ends_the_wait_for_the_request_to_be_taken():
    async def script(peer: Peer) -> None:
        await peer.read_some(1)
        await peer.send(OK + b"content-length: 5\r\n\r\nhel")
        await asyncio.sleep(3600)

    async with running() as upstream, HostileServer(script) as server:
        with pytest.raises(TimedOut) as raised:
            await fetch(upstream, server.origin, b"x" * 16 * MIB)

        assert raised.value.phase == "reply"


async def test_a_request_that_is_taken_slowly_is_not_given_up():
    progress = Times(taken_s=0.7, sweep_s=0.01)
    requests = []

    async def script(peer: Peer) -> None:  # on real time, as the kernel's buffers fill by it
        for _ in range(10):
            await asyncio.sleep(0.1)
            await peer.read_some(MIB)
        requests.append(await peer.request())
        await peer.send(HELLO)

    async with running(progress) as upstream, HostileServer(script) as server:
        assert await fetch(upstream, server.origin, b"x" * 16 * MIB) == b"hello"

        assert len(requests[0]) > 16 * MIB


@pytest.mark.parametrize(
    ("streaming", "phase", "after_s"), [(True, "head", 10), (False, "reply", 600)]
)
@on_virtual_time
async def test_a_head_that_does_not_come_is_given_up(streaming, phase, after_s):
    loop = asyncio.get_running_loop()
    async with running() as upstream, HostileServer(silence) as server:
        with pytest.raises(TimedOut) as raised:
            await fetch(upstream, server.origin, streaming=streaming)

        assert raised.value.phase == phase
        assert not raised.value.received
        assert after_s <= loop.time() <= after_s + 0.5
        await until(lambda: server.peers[0].gone)


@on_virtual_time
async def test_an_interim_head_is_no_head():
    script = says_then(b"HTTP/1.1 100 Continue\r\n\r\n", Peer.left)
    async with running() as upstream, HostileServer(script) as server:
        with pytest.raises(TimedOut) as raised:
            await fetch(upstream, server.origin, streaming=True)

        assert raised.value.phase == "head"
        assert raised.value.received


def every(interval_s: float, data: bytes, times: int = 1000) -> Script:
    async def repeat(peer: Peer) -> None:
        with contextlib.suppress(ConnectionError):
            for _ in range(times):
                await asyncio.sleep(interval_s)
                await peer.send(data)
            await peer.left()

    return repeat


@on_virtual_time
async def test_comments_do_not_put_off_the_first_event():
    loop = asyncio.get_running_loop()
    script = says_then(STREAM, every(5, chunk(b": keep-alive\n\n")))
    async with running() as upstream, HostileServer(script) as server:
        with pytest.raises(TimedOut) as raised:
            await fetch(upstream, server.origin, streaming=True, first_byte_s=60)

        assert raised.value.phase == "first_event"
        assert 60 <= loop.time() <= 60.5


@on_virtual_time
async def test_comments_put_off_the_next_event():
    loop = asyncio.get_running_loop()
    script = says_then(STREAM + chunk(b"data: 1\n\n"), every(25, chunk(b": keep-alive\n\n"), 10))
    async with running() as upstream, HostileServer(script) as server:
        with pytest.raises(TimedOut) as raised:
            await fetch(upstream, server.origin, streaming=True)

        assert raised.value.phase == "next_event"
        assert raised.value.received
        assert 280 <= loop.time() <= 280.5


@on_virtual_time
async def test_an_event_behind_a_comment_in_one_piece_is_an_event():
    script = says_then(STREAM, every(100, chunk(b": hi\n\ndata: 1\n\n"), 1))
    async with running() as upstream, HostileServer(script) as server:
        with pytest.raises(TimedOut) as raised:
            await fetch(upstream, server.origin, streaming=True)

        assert raised.value.phase == "next_event"


@on_virtual_time
async def test_what_came_before_a_silence_is_handed_out_first():
    script = says_then(STREAM + chunk(b"data: 1\n\n"), Peer.left)
    async with running() as upstream, HostileServer(script) as server:
        async with asking(upstream, server.origin, streaming=True) as response:
            await asyncio.sleep(60)

            assert await response.next() == b"data: 1\n\n"
            with pytest.raises(TimedOut):
                await response.next()


@on_virtual_time
async def test_a_stream_may_be_slow_for_hours_as_long_as_something_comes():
    loop = asyncio.get_running_loop()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM)
        for _ in range(50):
            await asyncio.sleep(29)
            await peer.send(chunk(b"x"))
        await peer.send(b"0\r\n\r\n")

    async with running() as upstream, HostileServer(script) as server:
        assert await fetch(upstream, server.origin, streaming=True) == b"x" * 50

        assert loop.time() >= 50 * 29


@on_virtual_time
async def test_a_plain_reply_has_ten_minutes_however_it_trickles():
    loop = asyncio.get_running_loop()
    script = says_then(OK + b"content-length: 5000\r\n\r\n", every(1, b"x"))
    async with running() as upstream, HostileServer(script) as server:
        with pytest.raises(TimedOut) as raised:
            await fetch(upstream, server.origin)

        assert raised.value.phase == "reply"
        assert 600 <= loop.time() <= 600.5


@on_virtual_time
async def test_a_reader_who_stops_is_not_mistaken_for_a_silent_backend():
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM)
        for _ in range(100):
            await peer.send(chunk(b"x" * 65536))
        await peer.send(b"0\r\n\r\n")

    async with running() as upstream, HostileServer(script) as server:
        async with asking(upstream, server.origin, streaming=True) as response:
            await asyncio.sleep(1000)

            assert await rest_of(response) == b"x" * 6_553_600


@on_virtual_time
async def test_a_backend_has_its_time_again_once_the_reader_goes_on():
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM + chunk(b"x" * 62 * 1024))  # enough to pause, and nothing more
        await asyncio.sleep(1020)
        await peer.send(chunk(b"end") + b"0\r\n\r\n")

    async with running() as upstream, HostileServer(script) as server:
        async with asking(upstream, server.origin, streaming=True) as response:
            await asyncio.sleep(1000)

            assert await response.next() == b"x" * 62 * 1024
            assert await rest_of(response) == b"end"


# Leaving early.


async def test_leaving_in_mid_stream_closes_the_connection_at_once(upstream):
    async with HostileServer(says_then(STREAM + chunk(b"hello"), Peer.left)) as server:
        async with asking(upstream, server.origin, streaming=True) as response:
            await response.next()

        await turns()
        assert upstream.open_connections(server.origin) == 0
        await until(lambda: server.peers[0].gone)
        with pytest.raises(BrokenOff):
            await response.next()


@pytest.mark.parametrize("phase", ["request", "head", "first event", "next event"])
async def test_a_cancellation_closes_the_connection_at_once(upstream, phase):
    reply = {"first event": STREAM, "next event": STREAM + chunk(b"data: 1\n\n")}.get(phase, b"")
    reading = asyncio.Event()

    async def script(peer: Peer) -> None:
        if phase != "request":
            await peer.request()
        await peer.send(reply)
        reading.set()
        if phase != "request":
            await peer.left()

    async def hold(peer: Peer) -> None:
        await script(peer)
        if phase == "request":
            await asyncio.sleep(0.02)
            await peer.left()

    async with HostileServer(hold, receive_buffer_bytes=8192) as server:
        body = b"x" * (8 * MIB if phase == "request" else 2)
        task = asyncio.create_task(fetch(upstream, server.origin, body, streaming=True))
        await reading.wait()
        await turns()

        task.cancel()
        await asyncio.wait([task])

        assert task.cancelled()
        await turns()
        assert upstream.open_connections(server.origin) == 0
        await until(lambda: server.peers[0].gone)


async def test_a_cancellation_while_connecting_leaves_nothing(upstream):
    async with unreachable() as origin:
        task = asyncio.create_task(fetch(upstream, origin))
        await until(lambda: upstream.open_connections(origin) == 1)

        task.cancel()
        await asyncio.wait([task])

        assert task.cancelled()
        assert upstream.open_connections(origin) == 0


async def test_thousands_of_cancellations_leave_a_pool_that_works(upstream):
    """httpcore's pool does not survive this (its issue 1093): afterwards no request succeeds."""
    pauses = random.Random(1)

    async def script(peer: Peer) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await peer.request()
                await peer.send(STREAM)
                for _ in range(3):
                    await asyncio.sleep(0)
                    await peer.send(chunk(b"x"))
                await peer.send(b"0\r\n\r\n")

    async def hang_up(server: HostileServer) -> int:
        cancelled = 0
        for _ in range(350):
            task = asyncio.create_task(fetch(upstream, server.origin, streaming=True))
            await turns(pauses.randrange(10))
            task.cancel()
            await asyncio.wait([task])
            cancelled += task.cancelled()
        return cancelled

    async with HostileServer(script) as server:
        cancelled = await asyncio.gather(*[hang_up(server) for _ in range(10)])
        await turns()

        assert sum(cancelled) > 3000
        assert upstream.open_connections(server.origin) <= 10
        bodies = await asyncio.gather(*[fetch(upstream, server.origin) for _ in range(10)])
        assert bodies == [b"xxx"] * 10
        assert upstream.open_connections(server.origin) == upstream.idle_connections(server.origin)


async def test_an_exchange_leaves_no_garbage_for_the_collector(upstream):
    async with HostileServer(says(HELLO)) as server:
        for _ in range(5):
            await fetch(upstream, server.origin)
        gc.collect()
        gc.disable()
        try:
            for _ in range(50):
                await fetch(upstream, server.origin)
            alive = sum(type(thing) is Response for thing in gc.get_objects())
        finally:
            gc.enable()

        assert alive <= 2


# Back-pressure.


async def test_a_reader_who_stops_holds_64_kib_and_the_backend_is_held_back(upstream):
    sent = 0
    stuck = asyncio.Event()

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(STREAM)
        data = chunk(b"x" * 10_000)
        taken = len(data)
        while taken == len(data):
            taken = peer.send_some(data)
            sent += 10_000
            await turns(3)
        stuck.set()
        await peer.send(data[taken:] + b"0\r\n\r\n")

    async with HostileServer(script) as server:
        async with asking(upstream, server.origin, streaming=True) as response:
            await asyncio.wait_for(stuck.wait(), 5)
            await asyncio.sleep(0.05)

            first = await response.next()

            assert 32 * 1024 < len(first) <= 64 * 1024
            assert len(first) + len(await rest_of(response)) == sent
            assert sent > 500_000


async def test_a_large_request_is_not_copied_into_the_transport(upstream):
    body = bytes(range(256)) * 64 * 1024  # 16 MiB
    requests = []

    async def script(peer: Peer) -> None:
        await asyncio.sleep(0.05)
        requests.append(await peer.request())
        await peer.send(HELLO)
        await peer.left()

    async with HostileServer(script) as server:
        task = asyncio.create_task(fetch(upstream, server.origin, body))
        await asyncio.sleep(0.03)
        (connection,) = upstream._connections()

        assert connection._transport is not None
        assert connection._transport.get_write_buffer_size() <= 192 * 1024
        assert await task == b"hello"
        assert requests[0].endswith(b"\r\n\r\n" + body)
        assert upstream.idle_connections(server.origin) == 1


async def test_an_answer_before_the_request_was_taken_is_heard(upstream):
    async def script(peer: Peer) -> None:
        await peer.read_some(1)
        await peer.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\nhello")
        await asyncio.sleep(0.05)
        await peer.left()

    async with HostileServer(script, receive_buffer_bytes=8192) as server:
        async with asking(upstream, server.origin, b"x" * 16 * MIB) as response:
            assert response.status == 413
            assert await rest_of(response) == b"hello"

        assert upstream.idle_connections(server.origin) == 0


# Names, addresses, TLS.


@pytest.mark.parametrize(
    ("url", "origin", "authority"),
    [
        ("http://gpu-1:8000", Origin("http", "gpu-1", 8000), "gpu-1:8000"),
        ("http://gpu_1/", Origin("http", "gpu_1", 80), "gpu_1"),
        ("https://GPU.example/a/b/", Origin("https", "gpu.example", 443, "/a/b"), "gpu.example"),
        ("http://[::1]:8000/x", Origin("http", "::1", 8000, "/x"), "[::1]:8000"),
        (" http://10.0.0.1:80 ", Origin("http", "10.0.0.1", 80), "10.0.0.1"),
    ],
)
def test_a_url_is_read_as_an_origin(url, origin, authority):
    assert Origin.parse(url) == origin
    assert origin.authority == authority
    assert Origin.parse(str(origin)) == origin


@pytest.mark.parametrize(
    "url",
    [
        "gpu-1:8000",
        "ftp://gpu-1",
        "http://",
        "http://user:secret@gpu-1",
        "http://gpu-1/?a=b",
        "http://gpu-1/#a",
        "http://gpu-1:many",
        "http://gpu-1:99999",
        "http://gpu 1/",
        "http://gpu-1/a b",
        "",
    ],
)
def test_a_url_that_is_no_backend_is_refused(url):
    with pytest.raises(ValueError, match=r".+"):
        Origin.parse(url)


async def test_a_refused_connection_says_where(upstream):
    async with HostileServer(silence) as server:
        server.stop_listening()

        with pytest.raises(NotConnected, match=f"127.0.0.1:{server.origin.port}") as raised:
            await fetch(upstream, server.origin)

        assert not raised.value.received
        assert upstream.open_connections(server.origin) == 0


class Resolver:
    """Stands in for the network's name service."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
        self.addresses = addresses
        self.asked = 0
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self.answer)

    def answer(self, host, port, family=0, type=0, proto=0, flags=0):
        if not host.endswith(".test"):
            return self._real(host, port, family, type, proto, flags)
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "not a number")
        self.asked += 1
        if not self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(*kind, (address, port)) for address in self.addresses]


async def test_a_name_is_looked_up_once_for_all(upstream, monkeypatch):
    resolver = Resolver(monkeypatch, "127.0.0.1")
    async with HostileServer(says(HELLO)) as server:
        origin = server.origin._replace(host="gpu-1.test")

        bodies = await asyncio.gather(*[fetch(upstream, origin) for _ in range(5)])

        assert bodies == [b"hello"] * 5
        assert resolver.asked == 1
        assert b"host: gpu-1.test:" in server.peers[0].received


async def test_a_name_is_looked_up_again_after_a_failed_connect(upstream, monkeypatch):
    resolver = Resolver(monkeypatch, "127.0.0.1")
    async with HostileServer(says(HELLO)) as server:
        origin = server.origin._replace(host="gpu-1.test")
        resolver.addresses = ("127.0.0.2",)  # where nobody listens
        with pytest.raises(NotConnected):
            await fetch(upstream, origin)
        resolver.addresses = ("127.0.0.1",)

        assert await fetch(upstream, origin) == b"hello"

        assert resolver.asked == 2


async def test_the_next_address_is_tried(upstream, monkeypatch):
    Resolver(monkeypatch, "127.0.0.2", "127.0.0.1")
    async with HostileServer(says(HELLO)) as server:
        assert await fetch(upstream, server.origin._replace(host="gpu-1.test")) == b"hello"


async def test_an_address_that_never_answers_leaves_time_for_the_next(monkeypatch):
    Resolver(monkeypatch, "127.0.0.2", "127.0.0.1")
    async with running(Times(connect_s=1)) as upstream, HostileServer(says(HELLO)) as server:
        async with unreachable(("127.0.0.2", server.origin.port)):
            assert await fetch(upstream, server.origin._replace(host="gpu-1.test")) == b"hello"


async def test_running_out_of_sockets_is_not_connected(upstream, monkeypatch):
    def none_left(*_: object) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    async with HostileServer(says(HELLO)) as server:
        monkeypatch.setattr(socket, "socket", none_left)

        with pytest.raises(NotConnected, match="Too many open files"):
            await fetch(upstream, server.origin)
        monkeypatch.undo()


async def test_a_name_nobody_knows_is_not_connected(upstream, monkeypatch):
    Resolver(monkeypatch)
    with pytest.raises(NotConnected, match="not known"):
        await fetch(upstream, Origin("http", "gpu-1.test", 8000))


async def test_cancelling_one_who_waits_for_a_name_leaves_the_others(upstream, monkeypatch):
    resolver = Resolver(monkeypatch, "127.0.0.1")
    async with HostileServer(says(HELLO)) as server:
        origin = server.origin._replace(host="gpu-1.test")
        tasks = [asyncio.create_task(fetch(upstream, origin)) for _ in range(2)]
        await asyncio.sleep(0)
        tasks[0].cancel()

        assert await tasks[1] == b"hello"
        assert tasks[0].cancelled()
        assert resolver.asked == 1


async def test_small_writes_are_not_held_back_by_the_kernel(upstream):
    async with HostileServer(says(HELLO)) as server:
        async with asking(upstream, server.origin):
            (connection,) = upstream._connections()
            assert connection._transport is not None
            sock = connection._transport.get_extra_info("socket")

            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for 127.0.0.1 that vouches for itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "laneway test")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    pem = serialization.Encoding.PEM
    path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + signed.public_bytes(pem)
    )
    return path


@contextlib.asynccontextmanager
async def tls_server(certificate: Path, reply: bytes = HELLO) -> AsyncIterator[Origin]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n{}")
                writer.write(reply)
                await writer.drain()
        writer.close()

    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    tls.set_alpn_protocols(["h2", "http/1.1"])
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield Origin("https", "127.0.0.1", server.sockets[0].getsockname()[1])


async def test_https_is_spoken_to_a_server_whose_authority_is_trusted(certificate):
    async with running(ca_file=str(certificate)) as upstream, tls_server(certificate) as origin:
        assert await fetch(upstream, origin) == b"hello"
        assert await fetch(upstream, origin) == b"hello"

        (connection,) = upstream._connections()
        assert connection._transport is not None
        tls = connection._transport.get_extra_info("ssl_object")
        assert tls.selected_alpn_protocol() == "http/1.1"


async def test_a_certificate_nobody_vouches_for_is_refused(upstream, certificate):
    async with tls_server(certificate) as origin:
        with pytest.raises(NotConnected, match="certificate"):
            await fetch(upstream, origin)

        assert upstream.open_connections(origin) == 0


async def test_a_certificate_for_another_name_is_refused(certificate):
    async with running(ca_file=str(certificate)) as upstream, tls_server(certificate) as origin:
        with pytest.raises(NotConnected, match="certificate"):
            await fetch(upstream, origin._replace(host="localhost"))


async def test_a_large_reply_over_tls_arrives_whole_though_its_reader_pauses(certificate):
    pieces = [bytes([number]) * 50_000 for number in range(60)]
    reply = STREAM + b"".join(map(chunk, pieces)) + b"0\r\n\r\n"
    async with running(ca_file=str(certificate)) as upstream:
        async with tls_server(certificate, reply) as origin:
            async with asking(upstream, origin, streaming=True) as response:
                await asyncio.sleep(0.05)
                first = await response.next()

                assert len(first) <= 64 * 1024
                assert first + await rest_of(response) == b"".join(pieces)
            assert upstream.idle_connections(origin) == 1


async def test_a_handshake_that_breaks_is_not_connected(upstream):
    async with HostileServer(lambda peer: peer.send(b"no TLS here\r\n")) as server:
        with pytest.raises(NotConnected):
            await fetch(upstream, server.origin._replace(scheme="https"))

        assert upstream.open_connections(server.origin._replace(scheme="https")) == 0


async def test_leaving_a_tls_stream_closes_the_connection(certificate):
    reply = STREAM + chunk(b"hello")
    async with running(ca_file=str(certificate)) as upstream:
        async with tls_server(certificate, reply) as origin:
            async with asking(upstream, origin, streaming=True) as response:
                assert await response.next() == b"hello"

            await turns()
            assert upstream.open_connections(origin) == 0


@on_virtual_time
async def test_a_handshake_that_does_not_come_is_given_up_after_five_seconds():
    loop = asyncio.get_running_loop()
    async with running() as upstream, HostileServer(Peer.left) as server:
        with pytest.raises(NotConnected, match="5 s"):
            await fetch(upstream, server.origin._replace(scheme="https"))

        assert loop.time() == pytest.approx(5, abs=0.01)
        await until(lambda: server.peers[0].gone)


async def test_a_cancellation_in_the_handshake_closes_the_connection(upstream):
    async with HostileServer(Peer.left) as server:
        origin = server.origin._replace(scheme="https")
        task = asyncio.create_task(fetch(upstream, origin))
        await until(lambda: server.peers)

        task.cancel()
        await asyncio.wait([task])

        await until(lambda: server.peers[0].gone)
        assert upstream.open_connections(origin) == 0


def test_every_failure_is_an_upstream_error():
    for failure in (NotConnected, BrokenBeforeHead, TimedOut, BrokenOff, Malformed):
        assert issubclass(failure, UpstreamError)
