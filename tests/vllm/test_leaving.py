"""Callers that hang up: vLLM's own gauges say that it stopped working for them."""

import asyncio
import contextlib

import httpx
import pytest

from tests.vllm.calling import Race, chat

FOR_LONG = 3500  # tokens: many seconds, far longer than leaving may take


@pytest.fixture
def vllm(servers):
    return servers["tiny"]


async def settle(gateway, vllm, counts: tuple[int, int]) -> None:
    await asyncio.to_thread(gateway.until, lambda: vllm.counts == counts, 0.05)


async def test_a_stream_that_is_left_ends_in_the_engine(gateway, vllm):
    async with gateway.caller() as client:
        race = Race(client)
        race.enter("one", chat(tokens=FOR_LONG))
        await race.has_started("one")
        await settle(gateway, vllm, (1, 0))

        await race.leave("one")

        await settle(gateway, vllm, (0, 0))


async def test_a_plain_request_that_is_left_ends_in_the_engine(gateway, vllm):
    async with gateway.caller() as client:
        asking = asyncio.create_task(
            client.post("/v1/chat/completions", json=chat(tokens=FOR_LONG))
        )
        await settle(gateway, vllm, (1, 0))

        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking

        await settle(gateway, vllm, (0, 0))


async def test_what_waits_in_the_engine_and_is_left_leaves_its_queue(gateway, vllm):
    async with gateway.caller() as client:
        race = Race(client)
        for name in ("one", "two", "three"):
            race.enter(name, chat(tokens=FOR_LONG))
        await settle(gateway, vllm, (2, 1))
        waiting = ({"one", "two", "three"} - set(race.started)).pop()

        await race.leave(waiting)
        await settle(gateway, vllm, (2, 0))
        await race.leave(*({"one", "two", "three"} - {waiting}))

        await settle(gateway, vllm, (0, 0))


async def test_what_waits_in_the_gateway_and_is_left_never_reaches_the_engine(gateway, vllm):
    async with gateway.caller() as client:
        race = Race(client)
        running = [f"low {i}" for i in range(8)]
        for name in running:
            race.enter(name, chat(tokens=FOR_LONG))
        await race.until(lambda: gateway.frame()["pools"][0]["waiting"] == 1)  # one slot is kept
        arrived = vllm.metric("prompt_tokens_total")
        race.enter("late", chat(tokens=FOR_LONG))
        await race.until(lambda: gateway.frame()["pools"][0]["waiting"] == 2)

        await race.leave("late")

        await asyncio.to_thread(gateway.until, lambda: gateway.frame()["pools"][0]["waiting"] == 1)
        assert sum(vllm.counts) == 7
        assert vllm.metric("prompt_tokens_total") == arrived
        await race.leave(*running)
        await settle(gateway, vllm, (0, 0))


async def test_a_request_deleted_by_its_id_ends_in_the_engine(gateway, vllm):
    async with gateway.caller() as client:
        asked = {"json": chat(tokens=FOR_LONG), "headers": {"x-request-id": "to-be-deleted"}}
        asking = asyncio.create_task(client.post("/v1/chat/completions", **asked))
        await settle(gateway, vllm, (1, 0))
        listed = (await client.get("/v1/requests")).json()["data"]

        deleted = await client.delete(f"/v1/requests/{listed[0]['id']}")
        answer = await asking

        assert deleted.is_success
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "cancelled")
        await settle(gateway, vllm, (0, 0))


async def test_vllm_counts_nobody_who_left(gateway, vllm):
    """Its success counter misses them, so Laneway's own figures must not be built on it."""
    before = vllm.metric("request_success_total")
    async with gateway.caller() as client:
        race = Race(client)
        race.enter("one", chat(tokens=FOR_LONG))
        await race.has_started("one")
        await race.leave("one")
        await settle(gateway, vllm, (0, 0))

    assert vllm.metric("request_success_total") == before


@pytest.mark.parametrize("idle_s", [4.6, 5.0, 5.4])
async def test_a_connection_gone_stale_costs_no_request(gateway, idle_s):
    """vLLM closes idle connections after 5 s; a request may meet one in the act of closing."""
    async with gateway.caller() as client:
        for _ in range(2):
            first = await asyncio.gather(*(_chat(client) for _ in range(4)))
            await asyncio.sleep(idle_s)
            second = await asyncio.gather(*(_chat(client) for _ in range(4)))

            assert {answer.status_code for answer in (*first, *second)} == {200}


async def _chat(client: httpx.AsyncClient) -> httpx.Response:
    return await client.post("/v1/chat/completions", json=chat(tokens=1))
