"""A server that is killed and started again, with other settings.  The last of these tests: the
server's limits are found anew afterwards."""

import asyncio

import httpx
import pytest

from tests.vllm.calling import Race, chat
from tests.vllm.servers import DEV_MODE

DEAD = "tiny-fcfs"


@pytest.fixture
def dead(servers):
    return servers[DEAD]


async def test_a_killed_server_is_told_in_the_stream_and_serves_again(gateway, dead):
    async with gateway.caller() as client:
        asked = {**chat(DEAD, 3500), "stream": True}
        async with client.stream("POST", "/v1/chat/completions", json=asked) as answer:
            lines = answer.aiter_lines()
            await anext(lines)

            dead.kill()

            rest = [line async for line in lines if line.startswith("data: ")]
        assert '"code":"upstream_disconnected"' in rest[-2]
        assert rest[-1] == "data: [DONE]"

        await asyncio.to_thread(gateway.until, lambda: gateway.backend(DEAD)["state"] == "down")
        dead.settings = DEV_MODE
        dead.start()
        waiting = asyncio.create_task(client.post("/v1/chat/completions", json=chat(DEAD)))
        await asyncio.to_thread(dead.wait)
        await asyncio.to_thread(gateway.until, lambda: gateway.backend(DEAD)["state"] == "up")
        held = await waiting
        answer = await client.post("/v1/chat/completions", json=chat(DEAD))

    # Held while the server started; told the truth if that took more than a minute.
    assert held.status_code == 200 or held.json()["error"]["code"] == "no_backend"
    assert answer.status_code == 200


def test_it_says_itself_that_it_keeps_order_of_arrival(gateway, dead):
    """Its starts are forgotten; the restart opened /server_info."""
    gateway.until(lambda: gateway.backend(DEAD)["scheduling_policy"] == "fcfs")

    assert httpx.get(f"{dead.url}/server_info?config_format=json", timeout=120).is_success


async def test_the_other_servers_noticed_nothing(gateway, servers):
    async with gateway.caller() as client:
        race = Race(client)
        for i in range(10):
            race.enter(f"{i}", chat(tokens=4))
        await race.over()

    assert len(race.ended) == 10
