"""The short way between our server class and the token path, by real connections.

Every other test of the proxy speaks plain ASGI, as Daphne does: both ways end alike.
"""

import asyncio
import gc

import pytest

from gateway import protocol
from gateway.exchange import HangupWatch
from gateway.journey import Journey
from tests.support.clock import until
from tests.support.front import ask, read_until


async def test_tokens_leave_as_they_come_and_the_end_is_told(gateway, front):
    ask(gateway, front)
    await until(lambda: gateway.vllm.generations)
    answer = gateway.vllm.generations[0]
    told = b""
    for word in (b"one ", b"two ", b"three "):
        answer.token(word.decode())
        told += await read_until(front, word)
    answer.finish(completion_tokens=7)
    told += await read_until(front, b"0\r\n\r\n")

    assert told.count(b"\r\ndata: ") == told.count(b"\n\n\r\n") >= 4
    assert b'"usage"' not in told.replace(b'"usage":null', b"")
    assert told.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    await until(lambda: gateway.in_flight == 0)
    assert gateway.proxy.recorder.latest().completion_tokens == 7


async def test_a_token_needs_no_turn_of_the_request_s_task(gateway, front, monkeypatch):
    ask(gateway, front)
    await until(lambda: gateway.vllm.generations)
    answer = gateway.vllm.generations[0]
    answer.token("one ")
    await read_until(front, b"one ")
    journey = next(iter(gateway.proxy.register.journeys.values()))
    monkeypatch.setattr(journey.reply, "_send", None)  # the way by messages
    answer.token("two ")
    told = await read_until(front, b"two ")
    monkeypatch.undo()
    answer.finish()

    assert b"two " in told
    assert (await read_until(front, b"0\r\n\r\n")).count(b"[DONE]") == 1


async def test_a_request_leaves_no_garbage_for_the_collector(gateway, front):
    async def served() -> None:
        before = len(gateway.vllm.generations)
        ask(gateway, front)
        await until(lambda: len(gateway.vllm.generations) > before)
        gateway.vllm.generations[-1].finish()
        await read_until(front, b"0\r\n\r\n")

    await served()
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            await served()
        await until(lambda: not gateway.proxy.register.journeys)
        alive = [type(thing) for thing in gc.get_objects()]
    finally:
        gc.enable()

    assert alive.count(Journey) <= 2
    assert alive.count(HangupWatch) <= 2
    assert alive.count(protocol.Direct) <= 2


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("when", ["queued", "dispatched", "streaming"])
async def test_hanging_up_gives_the_slot_back(gateway, front, stream, reset, when):
    async with gateway.chat("chat"), gateway.chat("chat"):
        await until(lambda: len(gateway.vllm.generations) == 2)
        ask(gateway, front, stream=stream)
        await until(lambda: gateway.waiting == 1)
        if when != "queued":
            gateway.vllm.generations[0].finish()
            await until(lambda: len(gateway.vllm.generations) == 3)
        if when == "streaming" and stream:
            gateway.vllm.generations[2].token("seen ")
            await read_until(front, b"seen ")
        transport = front.writer.transport
        transport.abort() if reset else transport.close()
        await until(lambda: len(gateway.proxy.register.journeys) == (2 if when == "queued" else 1))

    await until(lambda: gateway.vllm.open == 0)
    assert (gateway.in_flight, gateway.waiting) == (0, 0)
    assert gateway.proxy.register.journeys == {}
    assert gateway.pool.queue.turns == {}


async def test_hanging_up_is_heard_after_a_body_that_paused_the_reading(gateway, front):
    ask(gateway, front, messages=[{"role": "user", "content": "x" * 300_000}])
    await until(lambda: gateway.vllm.generations)
    front.writer.transport.abort()

    await until(lambda: gateway.vllm.open == 0)
    assert (gateway.in_flight, gateway.proxy.register.journeys) == (0, {})


async def test_hanging_up_ends_the_answered_and_the_pipelined_request(gateway, front):
    ask(gateway, front)
    await until(lambda: gateway.vllm.generations)
    ask(gateway, front)
    await until(lambda: front.server.pipeline)
    front.writer.transport.abort()
    for _ in range(3):  # nothing is read while a request stands behind: writing finds it out
        gateway.vllm.generations[0].token()
        await asyncio.sleep(0.01)

    await until(lambda: gateway.vllm.open == 0)
    assert (gateway.in_flight, gateway.proxy.register.journeys) == (0, {})


async def test_a_reader_that_takes_nothing_holds_the_model_server_back(gateway, front):
    ask(gateway, front)
    await until(lambda: gateway.vllm.generations)
    answer = gateway.vllm.generations[0]
    answer.token("one ")
    await read_until(front, b"one ")
    front.writer.transport.pause_reading()
    journey = next(iter(gateway.proxy.register.journeys.values()))
    for _ in range(4000):
        answer.token("x" * 8000)
        await asyncio.sleep(0)
        if journey.reply.blocked_at is not None:
            break
    blocked = journey.reply.blocked_at
    held_bytes = front.server.transport.get_write_buffer_size()
    front.writer.transport.abort()

    assert blocked is not None
    assert held_bytes < 256 * 1024
    await until(lambda: gateway.vllm.open == 0)
    assert gateway.in_flight == 0
