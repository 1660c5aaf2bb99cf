"""Who runs first: seen in the order in which the engine itself starts requests, never in seconds."""

import asyncio
import json

import httpx

from gateway.core.policy import default_policy, dump
from tests.vllm.calling import Race, chat

LONG = 400  # tokens: about a second, so that the gateway's looks at the engine fall within
LOW = [f"low {i}" for i in range(7)]
URGENT = {"x-task-type": "chat"}  # realtime (10) by the default policy


async def engine_queue(gateway, server, round: int = 0) -> list[str]:
    """Seven requests of the standard tier and, when five of them wait in the engine, an urgent
    one: the order of their first tokens."""
    async with gateway.caller() as client:
        race = Race(client)
        for name in LOW:
            race.enter(name, chat(server.name, LONG, seed=round))
        await race.until(lambda: server.counts[1] >= 4)
        race.enter("urgent", chat(server.name, LONG), **URGENT)
        await race.over()
    return race.started


async def test_an_urgent_request_overtakes_what_waits_in_the_engine(gateway, servers):
    order = await engine_queue(gateway, servers["tiny"])

    assert len(order) == 8
    assert order.index("urgent") <= 4  # two ran, two more may have begun meanwhile
    # /server_info says so; its first answer takes seconds, and the gateway asks again after 30.
    await asyncio.to_thread(
        gateway.until, lambda: gateway.backend("tiny")["scheduling_policy"] == "priority"
    )


async def test_tiers_start_in_their_order(gateway, servers):
    """All of them sent to the engine, the least urgent first, while both its slots are taken."""
    async with gateway.caller() as client:
        race = Race(client)
        for name in ("running 1", "running 2"):
            race.enter(name, chat(tokens=3500))
        await race.has_started("running 1", "running 2")
        for there, priority in enumerate((-10, -5, 0, 8), 1):
            race.enter(f"tier {priority}", chat(tokens=40, priority=priority))
            await race.until(lambda: servers["tiny"].counts[1] >= there)  # noqa: B023
        await race.leave("running 1")  # one slot: they start one after another
        await race.until(lambda: len(race.ended) == 4)
        await race.leave("running 2")

    assert race.started[2:] == ["tier 8", "tier 0", "tier -5", "tier -10"]


async def test_an_urgent_request_passes_a_backlog(gateway):
    async with gateway.caller() as client:
        race = Race(client)
        for i in range(60):
            race.enter(f"backlog {i}", chat(tokens=60), **{"x-task-type": "batch_inference"})
        await race.has_started("backlog 0")
        await race.until(lambda: gateway.frame()["pools"][0]["waiting"] > 20)
        before = len(race.started)
        race.enter("urgent", chat(tokens=8), **URGENT)
        await race.has_started("urgent")
        passed_it = race.started.index("urgent") - before
        await race.over()

    assert passed_it <= 8  # what stood in the engine; FCFS would have let some fifty by
    assert len(race.ended) == 61


async def starved(client: httpx.AsyncClient, low: dict, high: dict, **headers: str) -> int:
    """How many urgent requests, of 16 callers that never pause, start before a low one does; they
    stop after 80.  So many callers that some wait even while this process is not given its turn."""
    race = Race(client)
    for i in range(16):
        race.enter(f"high {i}", high, **headers)
    await race.until(lambda: race.started)
    race.enter("low", low)
    sent = 16
    while "low" not in race.started and sent < 80:
        await race.until(lambda: sent - len(race.ended) < 16 or "low" in race.started)  # noqa: B023
        race.enter(f"high {sent}", high, **headers)
        sent += 1
    overtaken_by = race.started.index("low") if "low" in race.started else sent
    await race.over()
    return overtaken_by


async def test_rescue_starts_what_vllms_own_priority_starves(gateway, laneway, servers):
    async with httpx.AsyncClient(base_url=servers["tiny"].url, timeout=120) as client:
        low, high = chat(tokens=8, priority=10), chat(tokens=60, priority=-10)
        plain = await starved(client, low, high)

    policy = dump(default_policy())
    for tier in policy["tiers"]:
        if tier["name"] == "background":
            tier["target_wait_s"] = 0.5
    publish(laneway, policy)
    gateway.until(lambda: target_wait_s(gateway, "background") == 0.5)
    async with gateway.caller() as client:
        low, high = chat(tokens=8, priority=-10), chat(tokens=60)
        rescued = await starved(client, low, high, **URGENT)
    publish(laneway, dump(default_policy()))

    assert rescued < plain  # 80 of 80 where the caller keeps the engine's queue filled


def publish(laneway, document: dict) -> None:
    laneway.manage(
        "shell",
        "-c",
        "import json; from gateway.core.policy import load; from gateway.models import *; "
        f"PolicyVersion.objects.publish(load(json.loads({json.dumps(document)!r})), 'test')",
    )


def target_wait_s(gateway, tier: str) -> float:
    tiers = gateway.frame()["pools"][0]["tiers"]
    return next(one["target_wait_s"] for one in tiers if one["name"] == tier)


async def test_a_server_that_ignores_priority_is_found_out(gateway, servers):
    """It accepts the number and answers 200; only the order of its starts gives it away."""
    assert gateway.backend("tiny-fcfs")["scheduling_policy"] == "unknown"

    orders = []
    for round in range(8):
        orders.append(await engine_queue(gateway, servers["tiny-fcfs"], round))
        if gateway.backend("tiny-fcfs")["scheduling_policy"] == "fcfs":
            break

    assert all(order.index("urgent") >= 6 for order in orders)  # the last two start together
    assert gateway.backend("tiny-fcfs")["scheduling_policy"] == "fcfs"
    told = gateway.chat(model="tiny-fcfs").headers["x-laneway-reason"]
    assert "engine_fcfs" in told.split(", ")
