"""Clients that misbehave, by real sockets, on both servers: what they get, and that nothing of them
stays.  What our own server class refuses byte by byte is ``tests/gateway/test_protocol.py``'s.
"""

import asyncio
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest

from tests.support.clock import until
from tests.support.started import Started, outside, started

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def laneway(request, new_home) -> Iterator[Started]:
    with started(outside(new_home()), "--server", request.param) as up:
        up.server = request.param
        yield up


@pytest.fixture(autouse=True)
async def nothing_stays(laneway):
    """After each of them no slot is taken, nobody waits, and the next caller is served."""
    yield
    await until(lambda: taken(laneway) == 0, timeout_s=15)
    assert [one[0] for one in await talk(laneway, ask(laneway))] == [200]


def taken(laneway: Started) -> float:
    text = httpx.get(f"{laneway.address}/metrics").text
    found = re.findall(r"^laneway_num_requests_(?:running|waiting){.*} (\S+)$", text, re.M)
    return sum(map(float, found))


def body_of(laneway: Started, *, stream: bool = False, tokens: int = 2) -> bytes:
    document = {"model": laneway.model, "messages": [{"role": "user", "content": "Hi"}]}
    more = {"stream": stream, "max_tokens": tokens, "ignore_eos": True}
    return json.dumps(document | more).encode()


def ask(
    laneway: Started,
    body: bytes | None = None,
    *lines: bytes,
    start: bytes = b"POST /v1/chat/completions HTTP/1.1",
    length: bool = True,
) -> bytes:
    body = body_of(laneway) if body is None else body
    head = [start, b"host: localhost", b"authorization: Bearer " + (laneway.key or "").encode()]
    head += [b"content-type: application/json", *lines]
    head += [b"content-length: %d" % len(body)] if length else []
    return b"\r\n".join((*head, b"", body))


Answer = tuple[int, dict[str, str], bytes]


async def connect(laneway: Started) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = laneway.address.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


async def talk(laneway: Started, sent: bytes, answers: int = 1) -> list[Answer]:
    """Send it all, and read so many answers."""
    reader, writer = await connect(laneway)
    try:
        writer.write(sent)
        async with asyncio.timeout(20):
            return [await answer(reader) for _ in range(answers)]
    finally:
        writer.close()


async def answer(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (ln.partition(": ") for ln in head[1:])}
    status = int(head[0].split()[1])
    if 100 <= status < 200:
        return status, headers, b""
    if "content-length" in headers:
        return status, headers, await reader.readexactly(int(headers["content-length"]))
    if headers.get("transfer-encoding") != "chunked":
        return status, headers, await reader.read()
    body = b""
    while size := int(await reader.readline(), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return status, headers, body


def is_ours(laneway: Started, told: Answer, code: str) -> None:
    """An error in OpenAI's shape.  What Twisted cannot read it refuses bare, before Daphne sees it."""
    status, headers, body = told
    if laneway.server == "daphne" and code == "invalid_http":
        assert (status, body) == (400, b"")
        return
    assert headers["content-type"] == "application/json"
    assert json.loads(body)["error"]["code"] == code


def chunked(laneway: Started, body: bytes) -> bytes:
    return ask(laneway, body, b"transfer-encoding: chunked", length=False)


UNREADABLE = {
    "a negative length": lambda up: ask(up, None, b"content-length: -5", length=False),
    "a signed length": lambda up: ask(up, None, b"content-length: +5", length=False),
    "two lengths": lambda up: ask(up, None, b"content-length: 5"),
    "a length beside chunks": lambda up: ask(up, None, b"transfer-encoding: chunked"),
    "another coding": lambda up: ask(up, None, b"transfer-encoding: gzip, chunked", length=False),
    "chunks of no size": lambda up: chunked(up, b"zz\r\nhello\r\n0\r\n\r\n"),
    "a chunk longer than it says": lambda up: chunked(up, b"5\r\nhello, world\r\n0\r\n\r\n"),
    "NUL in the path": lambda up: ask(up, start=b"POST /v1/chat\0completions HTTP/1.1"),
    "NUL in the query": lambda up: ask(up, start=b"GET /v1/requests?state=\0 HTTP/1.1"),
    "NUL in a header": lambda up: ask(up, None, b"x-task-type: a\0b"),
    "UTF-8 in the path": lambda up: ask(up, start="GET /v1/models/\u00fc HTTP/1.1".encode()),
    "no UTF-8 in the query": lambda up: ask(up, start=b"GET /v1/requests?state=\xff HTTP/1.1"),
    "a space before the colon": lambda up: ask(up, None, b"x-a : b"),
    "a version that is none": lambda up: ask(up, start=b"POST /v1/chat/completions HTTP/7.7"),
    "HTTP/2": lambda up: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("sent", UNREADABLE.values(), ids=UNREADABLE)
async def test_what_can_be_read_in_two_ways_or_none_is_refused(laneway, sent):
    (told,) = await talk(laneway, sent(laneway))

    is_ours(laneway, told, "invalid_http")


READABLE = {
    "chunks": (200, "", lambda up: chunked(up, b"%x\r\n%b\r\n0\r\n\r\n" % sized(body_of(up)))),
    "450 headers": (200, "", lambda up: ask(up, None, *[b"x-%d: a" % n for n in range(450)])),
    "HTTP/1.0": (200, "", lambda up: ask(up, start=b"POST /v1/chat/completions HTTP/1.0")),
    "an offer of HTTP/2": (
        200,
        "",
        lambda up: ask(up, None, b"connection: Upgrade, HTTP2-Settings", b"upgrade: h2c"),
    ),
    "a length too short": (400, "invalid_json", lambda up: ask(up, body_of(up)[:-9]) + b"x" * 9),
    "no length": (400, "invalid_json", lambda up: ask(up, b"", length=False)),
    "bytes as a task": (400, "invalid_header", lambda up: ask(up, None, b"x-task-type: \xff\xfe")),
    "bytes in the path": (
        404,
        "request_not_found",
        lambda up: ask(up, b"", start=b"GET /v1/requests/%00%ff%0d%0ax-evil:1 HTTP/1.1"),
    ),
    "a path that climbs": (
        404,
        "unknown_url",
        lambda up: ask(up, start=b"POST /v1/../v1/x HTTP/1.1"),
    ),
    "another method": (
        405,
        "method_not_allowed",
        lambda up: ask(up, start=b"PUT /v1/completions HTTP/1.1"),
    ),
}


def sized(body: bytes) -> tuple[int, bytes]:
    return len(body), body


@pytest.mark.parametrize(("status", "code", "sent"), READABLE.values(), ids=READABLE)
async def test_what_is_odd_is_served_or_refused_with_the_reason(laneway, status, code, sent):
    ((told, headers, body),) = await talk(laneway, sent(laneway))

    assert told == status
    assert "x-evil" not in headers
    assert headers["x-request-id"]
    document = json.loads(body)
    assert document["error"]["code"] == code if code else document["choices"]


async def test_an_absolute_target_is_a_target_but_for_daphne(laneway):
    start = b"POST http://localhost/v1/chat/completions HTTP/1.1"
    ((status, _, _),) = await talk(laneway, ask(laneway, start=start))

    assert status == {"uvicorn": 200, "daphne": 404}[laneway.server]


async def test_pipelined_requests_are_answered_in_their_order_and_garbage_last(laneway):
    stream = ask(laneway, body_of(laneway, stream=True, tokens=5))
    sent = stream + ask(laneway) + b"GARBAGE\r\n\r\n"
    told = await talk(laneway, sent, answers=3)

    assert [status for status, _, _ in told] == [200, 200, 400]
    assert told[0][2].endswith(b"data: [DONE]\n\n")
    assert b'"choices"' in told[1][2]
    is_ours(laneway, told[2], "invalid_http")


async def test_who_waits_for_100_is_told_to_go_on(laneway):
    body = body_of(laneway)
    whole = ask(laneway, body, b"expect: 100-continue")
    reader, writer = await connect(laneway)
    writer.write(whole[: -len(body)])
    first = await answer(reader)
    writer.write(body)
    second = await answer(reader)
    writer.close()

    assert (first[0], second[0]) == (100, 200)


async def test_a_stream_for_http_1_0_ends_with_its_connection(laneway):
    start = b"POST /v1/chat/completions HTTP/1.0"
    sent = ask(laneway, body_of(laneway, stream=True), start=start)
    ((status, _, body),) = await talk(laneway, sent)

    assert status == 200
    assert body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_half_closed_connection_is_a_hang_up(laneway, stream):
    """A client that is gone looks no different, and nobody would take what is generated for it."""
    reader, writer = await connect(laneway)
    writer.write(ask(laneway, body_of(laneway, stream=stream, tokens=5_000)))
    if stream:
        await reader.readuntil(b"data: ")
    else:
        await until(lambda: taken(laneway) == 1)
    writer.write_eof()

    await until(lambda: taken(laneway) == 0)
    assert b"[DONE]" not in await reader.read()
    writer.close()


async def test_a_body_that_stops_half_way_takes_no_slot(laneway):
    reader, writer = await connect(laneway)
    writer.write(ask(laneway)[:-10])
    await asyncio.sleep(0.1)
    assert taken(laneway) == 0
    writer.write_eof()

    assert await reader.read() == b""
    writer.close()


async def test_a_reader_that_takes_nothing_leaves_nothing(laneway):
    _, writer = await connect(laneway)
    writer.transport.pause_reading()
    writer.write(ask(laneway, body_of(laneway, stream=True, tokens=5_000)))
    await until(lambda: taken(laneway) == 1)
    writer.transport.abort()

    await until(lambda: taken(laneway) == 0)


# The last: they spoil the database


def rows(laneway: Started) -> int:
    with closing(sqlite3.connect(laneway.home / "laneway.sqlite3")) as store:
        return store.execute("SELECT count(*) FROM gateway_usagerecord").fetchone()[0]


def told_of_database(laneway: Started) -> dict[str, float]:
    return httpx.get(f"{laneway.address}/readyz").raise_for_status().json()["database"]


async def test_a_locked_database_stops_no_request_and_loses_no_record(laneway):
    await until(lambda: told_of_database(laneway)["records_waiting"] == 0)
    before = rows(laneway)
    with closing(sqlite3.connect(laneway.home / "laneway.sqlite3", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        for _ in range(5):
            assert (await talk(laneway, ask(laneway)))[0][0] == 200
        assert told_of_database(laneway)["records_waiting"] >= 5
        assert rows(laneway) == before
        writer.execute("ROLLBACK")

    await until(lambda: rows(laneway) == before + 5, timeout_s=15)


async def test_a_database_that_is_deleted_stops_no_request_and_is_told_of(laneway):
    for file in laneway.home.glob("laneway.sqlite3*"):
        file.unlink()
    log = laneway.home / "logs/server.log"
    await until(lambda: "last known keys and policy stay in force" in log.read_text(), timeout_s=15)

    assert (await talk(laneway, ask(laneway)))[0][0] == 200
    assert told_of_database(laneway)["read_s_ago"] > 0
    await until(lambda: "records wait for the database" in log.read_text(), timeout_s=15)
