"""HTTP as the token path sees it: bodies that do not come, readers that do not read."""

import asyncio

from gateway.exchange import BODY_SILENCE_S
from gateway.proxy import BLOCKED_READER_S
from tests.support.caller import Call
from tests.support.clock import until


async def test_a_body_that_stops_coming_is_answered_408(gateway):
    call = Call(gateway.proxy, "/v1/chat/completions", b"{", key=gateway.keys["acme"])
    call._incoming.get_nowait()
    call._incoming.put_nowait({"type": "http.request", "body": b"{", "more_body": True})
    async with call:
        await until(lambda: call._incoming.empty())
        now = asyncio.get_running_loop().time()
        gateway.proxy.cut_the_stuck(now + BODY_SILENCE_S - 1)
        still_open = not call.ended
        gateway.proxy.cut_the_stuck(now + BODY_SILENCE_S + 1)
        await call.done()

    assert still_open
    assert (call.status, call.json()["error"]["code"]) == (408, "request_timeout")
    assert call.headers["connection"] == "close"


async def test_a_caller_that_leaves_while_sending_its_body_is_no_error(gateway):
    call = Call(gateway.proxy, "/v1/chat/completions", b"{", key=gateway.keys["acme"])
    call._incoming.get_nowait()
    call._incoming.put_nowait({"type": "http.request", "body": b"{", "more_body": True})
    async with call:
        await until(lambda: call._incoming.empty())

    assert call.status == 0
    assert gateway.proxy.register.journeys == {}


async def test_a_body_over_the_limit_is_refused_by_its_announced_length_alone(gateway):
    headers = {"content-length": str(17 * 1024 * 1024)}
    async with gateway.ask("/v1/chat/completions", b"{}", headers=headers) as call:
        await call.done()

    assert (call.status, call.json()["error"]["code"]) == (413, "request_too_large")


async def test_a_body_over_the_limit_is_refused_while_it_comes(gateway):
    async with gateway.ask("/v1/chat/completions", b"x" * (17 * 1024 * 1024)) as call:
        await call.done()

    assert call.status == 413


async def test_a_compressed_body_is_refused(gateway):
    headers = {"content-encoding": "gzip"}
    async with gateway.ask("/v1/chat/completions", b"{}", headers=headers) as call:
        await call.done()

    assert (call.status, call.json()["error"]["code"]) == (415, "unsupported_media_type")


async def test_a_reader_that_takes_nothing_is_cut_and_its_slot_returns(gateway):
    async with gateway.chat("chat") as call:
        blocked = asyncio.Event()

        async def never(message):
            blocked.set()
            await asyncio.Event().wait()

        await until(lambda: gateway.vllm.generations)
        journey = next(iter(gateway.proxy.register.journeys.values()))
        journey.reply._send = never
        gateway.vllm.generations[0].token()
        await blocked.wait()
        journey.reply.blocked_at = asyncio.get_running_loop().time()
        gateway.proxy.cut_the_stuck(journey.reply.blocked_at + BLOCKED_READER_S + 1)
        await call.done()

    await until(lambda: gateway.vllm.open == 0)
    assert gateway.in_flight == 0
