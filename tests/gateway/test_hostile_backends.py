"""Model servers that misbehave, seen through the proxy: what the caller gets, that the slot comes
back, and that the next request on the pool works.  How their bytes are read is ``test_upstream``'s.
"""

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from gateway.models import BackendRow
from gateway.upstream import Times
from tests.support.clock import until
from tests.support.front import ask, front_of, read_answer
from tests.support.hostile_server import HostileServer, Peer, Script

HELLO = b'{"choices": [{"message": {"content": "hello"}}], "usage": {"prompt_tokens": 3}}'
OK = b"HTTP/1.1 200 OK\r\n"
TYPE = b"content-type: application/json\r\n"
EVENTS = OK + b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def whole(body: bytes, status: bytes = OK, headers: bytes = TYPE) -> bytes:
    return status + headers + b"content-length: %d\r\n\r\n" % len(body) + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def token(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"


STREAM = EVENTS + chunk(token("hello")) + chunk(b"data: [DONE]\n\n") + END


async def behave(peer: Peer) -> None:
    stream = b'"stream": true' in await peer.request()
    await peer.send(STREAM if stream else whole(HELLO))


async def serve(peer: Peer) -> None:
    """One request, as a model server of one model would."""
    head = await peer.head()
    if head.startswith(b"POST"):
        await behave(peer)
        return
    await peer.request()
    listing = b'{"data": [{"id": "qwen"}]}' if b" /v1/models " in head else b""
    await peer.send(whole(listing))


def server_of(misbehaviours: list[Script]) -> Script:
    """A model server that misbehaves once for each of them."""

    async def script(peer: Peer) -> None:
        while True:
            head = await peer.head()
            asked = head.startswith(b"POST") and misbehaviours
            await (misbehaviours.pop() if asked else serve)(peer)

    return script


def says(data: bytes, *, then: str = "close") -> Script:
    """Answer one request with ``data``, then ``close``, ``reset``, or say nothing more and ``stay``."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(data)
        if then == "reset":
            await asyncio.sleep(0.01)  # a reset takes away what has not been read
            peer.reset()
        if then == "stay":
            await peer.left()
        peer.close()
        raise ConnectionResetError

    return script


@contextlib.asynccontextmanager
async def served_by(gateway: Any, misbehave: Script, times: int = 2) -> AsyncIterator[None]:
    """The pool's one server is another, until the block ends; then nothing of it may be left.

    ``times``: a request that came to nothing is sent once more, so two of them meet the same.
    """
    misbehaviours = [misbehave] * times
    async with HostileServer(server_of(misbehaviours)) as server:
        fleet, state = gateway.proxy.fleet, gateway.proxy.directory.state
        row = BackendRow("gpu-2", "default", str(server.origin), "priority", 2, True)
        fleet.configure([row], state.policy, state.policy_version)
        await until(lambda: "qwen" in gateway.pool.models() and gateway.pool.backends["gpu-2"].up)
        yield
        misbehaviours.clear()
        assert (gateway.in_flight, gateway.waiting) == (0, 0)
        assert (gateway.proxy.register.journeys, gateway.pool.queue.turns) == ({}, {})
        await until(lambda: gateway.pool.backends["gpu-2"].up)
        async with gateway.chat(stream=False) as call:
            await call.done()
        assert (call.status, call.content) == (200, HELLO)


SERVED = {
    "100 first": b"HTTP/1.1 100 Continue\r\n\r\n" + whole(HELLO),
    "103 first": b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\ncontent-length: 4\r\n\r\n"
    + whole(HELLO),
    "until it closes": OK + TYPE + b"\r\n" + HELLO,
    "surplus behind the length": whole(HELLO) + b"surplus",
    "another answer behind it": whole(HELLO) * 2,
    "a hop-by-hop header": whole(HELLO, headers=TYPE + b"connection: x-a\r\nx-a: 1\r\n"),
}


@pytest.mark.parametrize("said", SERVED.values(), ids=SERVED)
async def test_what_is_odd_but_whole_is_served(gateway, said):
    async with served_by(gateway, says(said)):
        async with gateway.chat(stream=False) as call:
            await call.done()
        assert (call.status, call.content) == (200, HELLO)
        assert "x-a" not in call.headers


PLAIN = {
    "endless 100": b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000,
    "101": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    "a redirect": whole(b"", b"HTTP/1.1 302 Found\r\nlocation: http://elsewhere/\r\n"),
    "not modified": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "a status beyond all": whole(HELLO, b"HTTP/1.1 999 X\r\n"),
    "no status": whole(HELLO, b"HTTP/1.1 OK\r\n"),
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "nothing": b"",
    "half a head": OK + b"content-ty",
    "half a body": whole(HELLO)[:-9],
    "no final chunk": OK + TYPE + b"transfer-encoding: chunked\r\n\r\n" + chunk(HELLO),
    "a chunk of no size": OK + TYPE + b"transfer-encoding: chunked\r\n\r\nzz\r\n" + HELLO,
    "two lengths": OK + b"content-length: 3\r\ncontent-length: 5\r\n\r\nhello",
    "a length that is none": OK + b"content-length: -5\r\n\r\nhello",
    "a head of 200 kB": OK + b"x: " + b"a" * 200_000 + b"\r\ncontent-length: 0\r\n\r\n",
    "a type with a control character": whole(HELLO, headers=b"content-type: a\x01b\r\n"),
    "gzip": whole(gzip.compress(HELLO), headers=TYPE + b"content-encoding: gzip\r\n"),
    "an error as gzip": whole(
        gzip.compress(HELLO), b"HTTP/1.1 400 X\r\n", TYPE + b"content-encoding: gzip\r\n"
    ),
    "an error nested without end": whole(b"[" * 60_000, b"HTTP/1.1 500 X\r\n"),
}


@pytest.mark.parametrize("said", PLAIN.values(), ids=PLAIN)
async def test_an_answer_that_cannot_be_used_is_a_clean_502(gateway, said):
    await is_a_clean_502(gateway, says(said))


@pytest.mark.parametrize("name", ["nothing", "half a head", "half a body", "no final chunk"])
async def test_an_answer_that_a_reset_cuts_short_is_one_too(gateway, name):
    await is_a_clean_502(gateway, says(PLAIN[name], then="reset"))


async def is_a_clean_502(gateway: Any, misbehave: Script) -> None:
    async with served_by(gateway, misbehave):
        async with gateway.chat(stream=False) as call:
            await call.done()
        error = call.json()["error"]
        assert (call.status, error["code"], error["type"]) == (
            502,
            "upstream_error",
            "server_error",
        )
        assert call.headers["retry-after"] == "1"
        assert call.headers["content-type"] == "application/json"


@pytest.mark.parametrize("stream", [True, False])
async def test_one_failure_before_the_first_byte_is_noticed_by_nobody(gateway, stream):
    async with served_by(gateway, says(b"", then="reset"), times=1):
        async with gateway.chat(stream=stream) as call:
            await call.done()
        assert (call.status, b"hello" in call.content) == (200, True)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_server_that_falls_silent_is_a_504(gateway, stream):
    gateway.proxy.upstream.times = Times(head_s=0.05, reply_s=0.05, sweep_s=0.01)
    async with served_by(gateway, says(b"", then="stay"), times=1):
        async with gateway.chat(stream=stream) as call:
            await call.done()
        assert (call.status, call.json()["error"]["code"]) == (504, "upstream_timeout")
        assert call.headers["x-should-retry"] == "false"


async def test_an_answer_before_the_request_was_read_is_passed_on(gateway):
    refusal = {"error": {"message": "The body is too large.", "code": 400}}

    async def hasty(peer: Peer) -> None:
        await peer.head()
        await peer.send(whole(json.dumps(refusal).encode(), b"HTTP/1.1 400 Bad Request\r\n"))
        await peer.left()
        raise ConnectionResetError

    async with served_by(gateway, hasty, times=1):
        async with gateway.chat(stream=False, padding="x" * 9_000_000) as call:
            await call.done()
        assert call.status == 400
        assert call.json()["error"]["message"] == "The body is too large."


async def test_a_connection_that_closes_as_it_is_used_again_is_noticed_by_nobody(gateway):
    async def once(peer: Peer) -> None:
        await behave(peer)
        await peer.request()
        peer.close()
        raise ConnectionResetError

    async with served_by(gateway, once, times=1):
        for _ in range(2):
            async with gateway.chat(stream=False) as call:
                await call.done()
            assert (call.status, call.content) == (200, HELLO)


# What a server says of itself


async def endless(peer: Peer) -> None:
    await peer.send(OK + b"transfer-encoding: chunked\r\n\r\n")
    while True:
        await peer.send(chunk(b"vllm: " * 1_000))


async def nested(peer: Peer) -> None:
    await peer.send(whole(b'{"data":' + b"[" * 100_000))


async def slow(peer: Peer) -> None:
    await peer.send(OK + b"transfer-encoding: chunked\r\n\r\n")
    while True:
        await peer.send(chunk(b"v"))
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("path", [b"/health", b"/v1/models", b"/metrics", b"/server_info"])
@pytest.mark.parametrize("say", [endless, nested, slow], ids=lambda say: say.__name__)
async def test_a_server_that_speaks_of_itself_without_end_is_asked_again(
    gateway, monkeypatch, path, say
):
    monkeypatch.setattr("gateway.backends.MOST_ANSWER_S", 0.1)
    asked = []

    async def script(peer: Peer) -> None:
        while True:
            head = await peer.head()
            asked.append(head.split()[1].startswith(path))
            if asked[-1] and sum(asked) < 3:
                await peer.request()
                await say(peer)
            else:
                await serve(peer)

    async with HostileServer(script) as server:
        fleet, state = gateway.proxy.fleet, gateway.proxy.directory.state
        row = BackendRow("gpu-2", "default", str(server.origin), "priority", 2, True)
        fleet.configure([row], state.policy, state.policy_version)
        backend = gateway.pool.backends["gpu-2"]

        await until(lambda: _woken(backend) and sum(asked) >= 3 and backend.up, timeout_s=15)
        async with gateway.chat(stream=False) as call:
            await call.done()
        assert (call.status, call.content) == (200, HELLO)


def _woken(backend: Any) -> bool:
    backend.wake.set()
    backend.discovered_at = float("-inf")
    return True


# Streams, by plain ASGI and by the short way

Talk = Callable[[], Awaitable[tuple[int, bytes]]]


@pytest.fixture(params=["asgi", "direct"])
async def talk(request: pytest.FixtureRequest, gateway: Any) -> AsyncIterator[Talk]:
    """Ask for a stream; its status and its whole body."""

    async def asgi() -> tuple[int, bytes]:
        async with gateway.chat() as call:
            await call.done()
        return call.status, call.content

    if request.param == "asgi":
        yield asgi
        return
    async with front_of(gateway) as front:

        async def direct() -> tuple[int, bytes]:
            ask(gateway, front)
            answer = await read_answer(front)
            await until(lambda: not gateway.proxy.register.journeys)
            return answer

        yield direct


def crlf(text: bytes) -> bytes:
    return text.replace(b"\n", b"\r\n")


USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 7}}\n\n'
DONE = b"data: [DONE]\n\n"
ODD = b": a comment\n\nevent: message\nid: 1\nretry: 5\n" + token("one ") + b":\n\n"
MULTI = b'data: {"choices":\ndata: [{"delta": {"content": "two "}}]}\n\n'


@pytest.mark.parametrize("lines", [bytes, crlf], ids=["LF", "CRLF"])
@pytest.mark.parametrize("cut", [1, 100_000])
@pytest.mark.parametrize("end", [END, b""], ids=["ended", "broken off behind its terminator"])
async def test_events_of_every_shape_pass_as_they_came(gateway, talk, lines, cut, end):
    text = lines(ODD + MULTI + USAGE + DONE)
    said = EVENTS + b"".join(chunk(text[n : n + cut]) for n in range(0, len(text), cut)) + end
    async with served_by(gateway, says(said), times=1):
        status, told = await talk()

        assert (status, told) == (200, lines(ODD + MULTI + DONE))
        row = gateway.proxy.recorder.latest()
        assert (row.outcome, row.prompt_tokens, row.completion_tokens) == ("completed", 5, 7)


ONE = chunk(token("one "))
BROKEN = {
    "no terminator": ONE + END,
    "no final chunk": ONE,
    "half an event": ONE + chunk(token("two ")[:20]),
    "half a chunk": ONE + chunk(token("two "))[:20],
    "a chunk of no size": ONE + b"zz\r\n",
    "a half event at the end": ONE + chunk(b"data: [DO") + END,
    "an error": ONE + chunk(b'data: {"error": {"message": "out of memory"}}\n\n') + END,
    "a named error": ONE
    + chunk(b'event: error\ndata: {"type": "error", "error": {"message": "out of memory"}}\n\n')
    + END,
    "an error with a token before it": chunk(
        token("one ") + b'data: {"object": "error", "error": {"message": "out of memory"}}\n\n'
    )
    + END,
    "an error without its blank line": ONE
    + chunk(b'data: {"error": {"message": "out of memory"}}')
    + END,
    "an error before its terminator": ONE
    + chunk(b'data: {"error": {"message": "out of memory"}}\n\n' + DONE)
    + END,
}


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize("said", BROKEN.values(), ids=BROKEN)
async def test_a_stream_that_breaks_ends_with_an_error_behind_whole_events(
    gateway, talk, said, then
):
    async with served_by(gateway, says(EVENTS + said, then=then), times=1):
        status, told = await talk()

        first, error, done, rest = told.split(b"\n\n")
        assert (status, first + b"\n\n", done, rest) == (200, token("one "), b"data: [DONE]", b"")
        code = json.loads(error.removeprefix(b"data: "))["error"]["code"]
        assert code == ("upstream_error" if b"memory" in said else "upstream_disconnected")
        assert gateway.proxy.recorder.latest().outcome == "failed"


async def test_a_stream_that_falls_silent_says_so(gateway, talk):
    gateway.proxy.upstream.times = Times(event_s=0.05, sweep_s=0.01)
    async with served_by(gateway, says(EVENTS + ONE, then="stay"), times=1):
        status, told = await talk()

        assert (status, told.count(b"[DONE]")) == (200, 1)
        assert b"upstream_stalled" in told


EARLY = {
    "no event": (b"", END),
    "half an event": (token("one ")[:9], b""),
    "gzip": (gzip.compress(token("one ") + DONE), END),
}


@pytest.mark.parametrize(("text", "end"), EARLY.values(), ids=EARLY)
async def test_a_stream_without_a_whole_event_is_a_clean_502(gateway, talk, text, end):
    coding = b"content-encoding: gzip\r\n" if text.startswith(b"\x1f\x8b") else b""
    head = EVENTS.replace(b"\r\n\r\n", b"\r\n" + coding + b"\r\n")
    async with served_by(gateway, says(head + (chunk(text) if text else b"") + end)):
        status, told = await talk()

        assert (status, json.loads(told)["error"]["code"]) == (502, "upstream_error")
