"""What the server class refuses by itself, and what it takes, by a real uvicorn on a port."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from gateway import protocol
from tests.support.clock import until

KIB = 1024


asked_for: set[str] = set()
left: list[str] = []  # whose caller was gone before the whole body had come
gate: list[bool] = []  # not empty: /half goes on


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the length of the body; to ``/half`` with the first half of something until
    ``gate`` is open; to ``/early`` before its body has come."""
    asked_for.add(scope["path"])
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        return
    if scope["path"] == "/half":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        await until(lambda: gate)
        await send({"type": "http.response.body", "body": b"whole"})
        return
    if scope["path"] == "/early":
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b"early"})
        return
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            left.append(scope["path"])
            return
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(length).encode()})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Listens the way `uvicorn.Server` does, without its 0.2 s to start and stop."""
    asked_for.clear()
    left.clear()
    gate.clear()
    config = uvicorn.Config(
        app, http="gateway.protocol:Protocol", ws="websockets-sansio", log_config=None
    )
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    unhandled: list[object] = []
    loop.set_exception_handler(lambda _, context: unhandled.append(context))
    server = await loop.create_server(
        lambda: config.http_protocol_class(config=config, server_state=state, app_state={}),
        host="127.0.0.1",
        port=0,
    )
    yield server.sockets[0].getsockname()[1]
    server.close()
    for connection in list(state.connections):
        connection.transport.abort()
    await until(lambda: not state.connections)
    gate.append(True)
    await until(lambda: not state.tasks)
    assert unhandled == []


async def talk(port: int, *pieces: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send ``pieces`` one after another, then read one answer: status, headers, body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    try:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.002)
        return await answer(reader)
    finally:
        writer.close()


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).decode()
    start, *lines = head.strip().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    body = b""
    if "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    elif headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size + 2)
        await reader.readline()
    return int(start.split()[1]), headers, body.removesuffix(b"\r\n")


async def send_for_ever(writer: asyncio.StreamWriter, data: bytes) -> None:
    while True:
        writer.write(data)
        await writer.drain()
        await asyncio.sleep(0.002)


def request(*, path: str = "/", header_bytes: int = 0, lines: int = 1, body: bytes = b"") -> bytes:
    """A request whose header lines, all of them together, have ``header_bytes`` bytes."""
    head = f"content-length: {len(body)}\r\n"
    for number in range(lines):
        spare = header_bytes - len(head) if number == lines - 1 else header_bytes // lines
        if (name := f"x-{number}: \r\n") and spare >= len(name):
            head += f"x-{number}: {'a' * (spare - len(name))}\r\n"
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


async def test_uvicorn_takes_the_class_by_its_name_and_serves_with_it():
    config = uvicorn.Config(
        app, port=0, http="gateway.protocol:Protocol", ws="none", lifespan="off", log_config=None
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        assert config.http_protocol_class is protocol.Protocol
        assert (await talk(port, request(body=b"hello")))[0] == 200
        assert (await talk(port, request(header_bytes=33 * KIB)))[0] == 431
    finally:
        server.should_exit = True
        await task


@pytest.mark.parametrize("lines", [1, 40])
async def test_headers_at_the_limit_pass(port, lines):
    status, _, body = await talk(port, request(header_bytes=32 * KIB, lines=lines, body=b"hello"))

    assert (status, body) == (200, b"5")


@pytest.mark.parametrize("lines", [1, 40])
async def test_one_byte_of_headers_more_is_refused(port, lines):
    status, headers, body = await talk(port, request(header_bytes=32 * KIB + 1, lines=lines))

    error = json.loads(body)["error"]
    assert status == 431
    assert headers["connection"] == "close"
    assert headers["content-type"] == "application/json"
    assert error["code"] == "headers_too_large"
    assert error["type"] == "invalid_request_error"
    assert "32 KiB" in error["message"]


async def test_a_request_line_at_the_limit_passes(port):
    path = "/" + "a" * (8 * KIB - len("POST / HTTP/1.1\r\n"))

    assert (await talk(port, request(path=path)))[0] == 200
    assert (await talk(port, request(path=path + "a")))[0] == 431


@pytest.mark.parametrize(
    "endless",
    [b"GET / HTTP/1.1\r\nx: ", b"GET / HTTP/1.1\r\n", b"GET /", b"GET / HTTP/1.1\r\na: b\r\n"],
    ids=["value", "name", "path", "several lines"],
)
async def test_an_endless_head_is_refused_before_its_end(port, endless):
    status, headers, _ = await talk(port, endless, *[b"a" * 10_000] * 5)

    assert status == 431
    assert headers["connection"] == "close"


async def test_the_answer_survives_a_client_that_goes_on_sending(port):
    status, _, body = await talk(port, b"GET / HTTP/1.1\r\nx: " + b"a" * 5_000_000)

    assert status == 431
    assert json.loads(body)["error"]["code"] == "headers_too_large"


async def test_a_refused_connection_ends(port, monkeypatch):
    monkeypatch.setattr(protocol, "LINGER_S", 0.01)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request(header_bytes=33 * KIB))

    assert (await answer(reader))[0] == 431
    assert await asyncio.wait_for(reader.read(), 1) == b""
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(send_for_ever(writer, b"more"), 1)
    writer.close()


async def test_the_count_begins_again_with_each_request(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    for _ in range(3):
        writer.write(request(header_bytes=30 * KIB, body=b"x" * 100_000))
        status, _, body = await answer(reader)
        assert (status, body) == (200, b"100000")
    writer.close()


async def test_heads_that_come_in_pieces_are_counted_one_by_one(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    whole = request(header_bytes=30 * KIB)
    for _ in range(3):
        writer.write(whole[:20_000])
        await asyncio.sleep(0.005)
        writer.write(whole[20_000:])
        assert (await answer(reader))[0] == 200
    writer.close()


async def test_a_head_that_is_much_too_large_is_answered_once(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request(header_bytes=60 * KIB, lines=40))

    assert (await answer(reader))[0] == 431
    assert await asyncio.wait_for(reader.read(), 1) == b""
    writer.close()


async def test_a_large_body_is_not_counted_as_headers(port):
    status, _, body = await talk(port, request(header_bytes=20 * KIB, body=b"x" * 1_000_000))

    assert (status, body) == (200, b"1000000")


async def test_pipelined_requests_are_all_answered(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request(header_bytes=20 * KIB, body=b"x" * 30_000) * 3)

    answers = [await answer(reader) for _ in range(3)]

    assert [(status, body) for status, _, body in answers] == [(200, b"30000")] * 3
    writer.close()


@pytest.mark.parametrize("endless", [b"5\r\nhello\r\n0\r\nx: ", b"5;x="], ids=["trailer", "chunk"])
async def test_a_body_framed_without_end_ends_the_connection(port, endless, monkeypatch):
    monkeypatch.setattr(protocol, "LINGER_S", 0.01)
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" + endless)

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(send_for_ever(writer, b"a" * 20_000), 1)
    writer.close()


GARBAGE = b"GARBAGE\r\n\r\n"


@pytest.mark.parametrize(
    ("behind", "status"),
    [(request(header_bytes=33 * KIB), 431), (GARBAGE, 400)],
    ids=["oversized", "garbage"],
)
async def test_what_cannot_be_read_is_refused_behind_the_answers_before_it(port, behind, status):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request(path="/half"))
    begun = await reader.readuntil(b"half")
    writer.write(request(body=b"hello") + behind + request(path="/never"))
    await until(lambda: sent_all(writer))
    gate.append(True)
    rest = await reader.readuntil(b"0\r\n\r\n")

    assert begun.startswith(b"HTTP/1.1 200")
    assert b"whole" in rest
    assert (await answer(reader))[::2] == (200, b"5")
    assert (await answer(reader))[0] == status
    assert await asyncio.wait_for(reader.read(), 1) == b""
    assert "/never" not in asked_for
    writer.close()


def sent_all(writer: asyncio.StreamWriter) -> bool:
    return writer.transport.get_write_buffer_size() == 0


BROKEN_CHUNKS = b"POST %b HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n"


async def test_a_body_that_breaks_is_refused_and_its_application_told(port):
    status, _, body = await talk(port, BROKEN_CHUNKS % b"/broken")

    assert (status, json.loads(body)["error"]["code"]) == (400, "invalid_http")
    assert left == ["/broken"]


async def test_a_pipelined_body_that_breaks_is_never_asked_for(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request(path="/half") + request(body=b"hello") + BROKEN_CHUNKS % b"/broken")
    await reader.readuntil(b"half")
    gate.append(True)
    await reader.readuntil(b"0\r\n\r\n")

    assert [(await answer(reader))[0] for _ in range(2)] == [200, 400]
    assert "/broken" not in asked_for
    writer.close()


async def test_a_body_that_breaks_behind_its_answer_ends_the_connection(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = b"POST /early HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
    writer.write(head)
    assert (await answer(reader))[::2] == (404, b"early")
    writer.write(b"zz\r\n")

    assert (await answer(reader))[0] == 400
    assert await asyncio.wait_for(reader.read(), 1) == b""
    writer.close()


@pytest.mark.parametrize(
    "lengths",
    [("-5",), ("+5",), ("5, 5",), ("5", "5"), ("5", "6"), ("\xb2",), ("9" * 30,), ("5", None)],
    ids=str,
)
async def test_a_length_that_can_be_read_in_two_ways_is_refused(port, lengths):
    lines = [f"content-length: {one}" if one else "transfer-encoding: chunked" for one in lengths]
    head = "\r\n".join(["POST / HTTP/1.1", "host: x", *lines, "", ""])
    status, headers, body = await talk(port, head.encode("latin-1") + b"5\r\nhello\r\n0\r\n\r\n")

    assert (status, headers["connection"]) == (400, "close")
    assert json.loads(body)["error"]["code"] == "invalid_http"
    assert asked_for == set()


HALF_A_HEAD = b"POST / HTTP/1.1\r\nhost: x\r\n"


@pytest.mark.parametrize(
    "before", [b"", request(body=b"hello")], ids=["first request", "second request"]
)
async def test_a_head_that_does_not_come_to_its_end_is_refused(port, before, monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_S", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    if before:
        writer.write(before)
        await answer(reader)
    writer.write(HALF_A_HEAD)
    await asyncio.sleep(0.02)
    writer.write(b"x: more\r\n")  # which gives it no more time
    status, headers, body = await answer(reader)

    assert (status, headers["connection"]) == (408, "close")
    assert json.loads(body)["error"]["code"] == "request_timeout"
    assert await asyncio.wait_for(reader.read(), 1) == b""
    writer.close()


@pytest.mark.parametrize("asks_first", [True, False])
@pytest.mark.parametrize("sent", [b"", b"\r\n"], ids=["nothing", "line breaks"])
async def test_a_connection_that_brings_no_request_is_closed(port, sent, asks_first, monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_S", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    if asks_first:
        writer.write(request(path="/early", body=b"hello")[:-1])
        await answer(reader)
        sent = b"o" + sent  # the rest of a body whose answer is out
    writer.write(sent)

    assert await asyncio.wait_for(reader.read(), 2) == b""
    writer.close()


async def test_what_runs_for_long_is_not_taken_for_a_late_head(port, monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_S", 0.02)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request(path="/half"))
    await reader.readuntil(b"half")
    await asyncio.sleep(0.1)
    gate.append(True)

    assert b"whole" in await reader.readuntil(b"0\r\n\r\n")
    writer.close()


OFFER = "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"


@pytest.mark.parametrize("pieces", [1, 2, 300])
async def test_who_offers_http_2_is_answered_with_its_body_read(port, pieces):
    """Java's own client makes the offer with its first request to an http address."""
    body = b"x" * 100_000
    whole = f"POST / HTTP/1.1\r\nhost: x\r\n{OFFER}content-length: {len(body)}\r\n\r\n".encode()
    whole += body + request(body=b"hello")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for start in range(0, len(whole), -(-len(whole) // pieces)):
        writer.write(whole[start : start + -(-len(whole) // pieces)])
        await asyncio.sleep(0)

    assert (await answer(reader))[::2] == (200, b"100000")
    assert (await answer(reader))[::2] == (200, b"5")
    writer.close()


async def test_a_tunnel_is_refused(port):
    assert (await talk(port, b"CONNECT localhost:80 HTTP/1.1\r\nhost: x\r\n\r\n"))[0] == 400


@pytest.mark.parametrize(("header_bytes", "status"), [(4 * KIB, 101), (33 * KIB, 431)])
async def test_a_websocket_opens_unless_its_headers_are_too_large(port, header_bytes, status):
    padding = "a" * header_bytes
    handshake = (
        "GET /ws HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"x: {padding}\r\n\r\n"
    )

    assert (await talk(port, handshake.encode()))[0] == status


@pytest.mark.parametrize("garbage", [b"hello world\r\n\r\n", b"hello " * 10_000])
async def test_what_is_no_http_still_gets_400_and_that_alone(port, garbage):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(garbage)

    status, headers, body = await answer(reader)
    assert (status, headers["content-type"]) == (400, "application/json")
    assert json.loads(body)["error"]["code"] == "invalid_http"
    assert await asyncio.wait_for(reader.read(), 1) == b""
    writer.close()


async def test_what_a_refused_client_sends_is_thrown_away(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /never HTTP/1.1\r\nx: " + b"a" * 50_000)
    assert (await answer(reader))[0] == 431

    writer.write(b"\r\n\r\n" + request(path="/never"))

    assert await asyncio.wait_for(reader.read(), 1) == b""
    await asyncio.sleep(0.01)
    assert "/never" not in asked_for
    writer.close()
