"""Asking about a request, following it while it waits, and calling it off."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from gateway import errors, inquiry
from gateway.core import estimate
from gateway.core.policy import KeyRules, default_policy
from gateway.core.presets import preset
from gateway.queue import Turn
from tests.support.clock import until


async def asked(gateway, path, key="acme", method="GET"):
    async with gateway.ask(path, key=key, method=method) as call:
        return await call.done()


async def test_a_waiting_request_knows_its_place_and_what_is_ahead(gateway):
    async with gateway.chat("chat"), gateway.chat("chat"):
        await until(lambda: len(gateway.vllm.generations) == 2)
        async with gateway.chat("summarize"), gateway.chat("summarize") as second:
            await until(lambda: gateway.waiting == 2)
            listed = (await asked(gateway, "/v1/requests")).json()["data"]
            waiting = [one for one in listed if one["state"] == "waiting"]
            one = (await asked(gateway, f"/v1/requests/{waiting[0]['id']}")).json()
            second.hang_up()

    assert [one["state"] for one in listed].count("running") == 2
    assert (one["position"], one["ahead"]["requests"]) == (2, 1)
    assert (one["tier"], one["effective_priority"], one["reason"]) == (
        "standard",
        0,
        "task:summarize",
    )


async def test_a_request_that_is_over_is_remembered_with_its_outcome(gateway):
    gateway.vllm.automatic = True
    async with gateway.chat(stream=False) as call:
        await call.done()

    seen = (await asked(gateway, f"/v1/requests/{call.headers['x-request-id']}")).json()

    assert (seen["state"], seen["model"], seen["position"]) == ("completed", "qwen", None)


async def test_a_boost_by_a_person_is_told_as_one(gateway):
    async with gateway.chat("chat"), gateway.chat("chat"):
        await until(lambda: len(gateway.vllm.generations) == 2)
        async with gateway.chat("batch_inference", stream=False) as boosted:
            await until(lambda: gateway.waiting == 1)
            gateway.pool.queue.boost([next(reversed(gateway.proxy.register.journeys))], -3)
            gateway.vllm.automatic = True
            gateway.vllm.generations[0].finish()
            gateway.vllm.generations[1].finish()
            await boosted.done()

    assert boosted.headers["x-laneway-priority"] == "-8"
    assert boosted.headers["x-laneway-reason"] == "task:batch_inference, boost:-3"


async def test_another_tenants_request_does_not_exist(gateway):
    async with gateway.chat("chat"):
        await until(lambda: gateway.vllm.generations)
        own = (await asked(gateway, "/v1/requests")).json()["data"][0]["id"]
        foreign = await asked(gateway, f"/v1/requests/{own}", key="birch")
        unknown = await asked(gateway, "/v1/requests/req_nonsense", key="birch")
        listed = (await asked(gateway, "/v1/requests", key="birch")).json()

    assert (foreign.status, unknown.status) == (404, 404)
    assert foreign.json()["error"]["code"] == unknown.json()["error"]["code"] == "request_not_found"
    assert listed["data"] == []


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("waiting", [True, False])
async def test_cancelling_answers_the_open_call_and_gives_the_slot_back(gateway, stream, waiting):
    async with gateway.chat("chat"), gateway.chat("chat"):
        await until(lambda: len(gateway.vllm.generations) == 2)
        async with gateway.chat("chat", stream=stream) as doomed:
            await until(lambda: gateway.waiting == 1)
            if not waiting:
                gateway.vllm.generations[0].finish()
                await until(lambda: len(gateway.vllm.generations) == 3)
            newest = (await asked(gateway, "/v1/requests")).json()["data"][0]["id"]
            gone = await asked(gateway, f"/v1/requests/{newest}", method="DELETE")
            again = await asked(gateway, f"/v1/requests/{newest}", method="DELETE")
            await doomed.done()

    await until(lambda: gateway.vllm.open == 0)
    assert gone.json()["state"] == again.json()["state"] == "cancelled"
    assert (doomed.status, doomed.json()["error"]["code"]) == (409, "cancelled")
    assert doomed.headers["x-should-retry"] == "false"
    assert (gateway.in_flight, gateway.waiting) == (0, 0)


async def test_a_tenant_may_not_read_why_since_that_names_others(gateway):
    call = await asked(gateway, "/api/v1/requests/req_x/explain")

    assert (call.status, call.json()["error"]["code"]) == (403, "endpoint_not_allowed")


async def test_an_admin_reads_why_a_request_waits(gateway, monkeypatch):
    explained, walk = [], inquiry.explain

    def counted(scheduler, id, now_ms):
        explained.append(id)
        return walk(scheduler, id, now_ms)

    async with gateway.chat("chat"), gateway.chat("chat"):
        await until(lambda: len(gateway.vllm.generations) == 2)
        async with gateway.chat("batch_inference") as low:
            await until(lambda: gateway.waiting == 1)
            newest = (await asked(gateway, "/v1/requests")).json()["data"][0]["id"]
            path = f"/api/v1/requests/{newest}/explain"
            monkeypatch.setattr(inquiry, "explain", counted)
            why = (await asked(gateway, path, key="admin")).json()
            low.hang_up()

    assert why["request"]["reason"] == "task:batch_inference"
    assert why["explanation"]["binds"] == "limit"
    assert why["explanation"]["tenant"] == "acme"
    assert why["explanation"]["bound_cost"] > 0
    assert why["request"]["position"] == why["explanation"]["position"] == 1
    assert explained == [newest]  # a walk along the line: once is enough


@pytest.mark.parametrize(
    ("key_rules", "status"),
    [({}, 403), ({"admin": KeyRules(scope="write")}, 200)],
    ids=["reads", "changes"],
)
async def test_an_admin_key_that_reads_calls_nothing_off(gateway, status):
    async with gateway.chat("chat") as call:
        await until(lambda: gateway.vllm.generations)
        id = (await asked(gateway, "/v1/requests", key="admin")).json()["data"][0]["id"]
        answer = await asked(gateway, f"/v1/requests/{id}", key="admin", method="DELETE")
        if status == 403:
            gateway.vllm.generations[0].finish()
        await call.done()

    assert answer.status == status
    assert (call.status == 200) is (status == 403)


async def test_a_stream_that_asked_is_told_its_place_while_it_waits(gateway):
    async with gateway.chat("chat"), gateway.chat("chat"):
        await until(lambda: len(gateway.vllm.generations) == 2)
        headers = {"x-laneway-progress": "1", "x-task-type": "chat"}
        body = {"model": "qwen", "messages": [], "stream": True}
        async with gateway.ask("/v1/chat/completions", body, headers=headers) as call:
            await until(lambda: b"queued" in call.content)
            gateway.vllm.generations[0].finish()
            await until(lambda: len(gateway.vllm.generations) == 3)
            gateway.vllm.generations[2].finish()
            await call.done()

    assert call.events[0].startswith(": queued position=1")
    assert any(event.startswith(": dispatched tier=realtime priority=10") for event in call.events)
    assert call.events[-1] == "data: [DONE]"


async def test_a_request_cut_as_its_turn_comes_is_cut(gateway, monkeypatch):
    taken = Turn.taken

    async def then_cut(turn):
        await asyncio.sleep(0)  # so that the telling has begun
        await taken(turn)
        (journey,) = gateway.proxy.register.journeys.values()
        asyncio.get_running_loop().call_soon(journey.cut, errors.cancelled())

    monkeypatch.setattr(Turn, "taken", then_cut)
    headers = {"x-laneway-progress": "1"}
    body = {"model": "qwen", "messages": [], "stream": True}
    async with gateway.ask("/v1/chat/completions", body, headers=headers) as call:
        await call.done()

    assert (call.status, call.json()["error"]["code"]) == (409, "cancelled")
    assert (gateway.vllm.generations, gateway.in_flight) == ([], 0)


async def test_a_stream_that_was_told_its_place_is_refused_by_an_event(gateway):
    async with gateway.chat("chat"), gateway.chat("chat"):
        await until(lambda: len(gateway.vllm.generations) == 2)
        headers = {"x-laneway-progress": "1", "x-task-type": "chat"}
        body = {"model": "qwen", "messages": [], "stream": True}
        async with gateway.ask("/v1/chat/completions", body, headers=headers) as call:
            await until(lambda: b"queued" in call.content)
            waiting = [j for j in gateway.proxy.register.journeys.values() if j.dispatch is None]
            gateway.pool.queue.evict([waiting[0].id], "to make room")
            await call.done()

    assert "to make room" in call.events[-2]
    assert (call.events[-1], call.status) == ("data: [DONE]", 200)


async def test_a_deadline_that_passes_in_the_line_is_told_as_such(gateway):
    async with gateway.chat("chat"), gateway.chat("chat"):
        await until(lambda: len(gateway.vllm.generations) == 2)
        headers = {"x-laneway-deadline-ms": "50"}
        body = {"model": "qwen", "messages": []}
        async with gateway.ask("/v1/chat/completions", body, headers=headers) as call:
            await call.done()

    assert (call.status, call.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert call.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("policy", [preset("guaranteed")])
async def test_a_deadline_is_judged_by_the_callers_own_place_in_a_long_line(gateway):
    body = {"model": "qwen", "messages": [], "stream": True}
    headers = {"x-laneway-deadline-ms": "5000"}
    forecast = gateway.pool.queue.forecast
    async with AsyncExitStack() as flood:
        for _ in range(40):
            await flood.enter_async_context(gateway.chat())
        await until(lambda: gateway.waiting + gateway.in_flight == 40)
        line = gateway.waiting
        forecast._drained = estimate.Rate()
        forecast._drained.add(1_000, gateway.pool.queue.now_ms())
        for _ in range(estimate.TRUSTED_FROM):
            forecast._calibration.learn("standard", 10, 10)
        async with gateway.ask("/v1/chat/completions", body, headers=headers) as flooder:
            await flooder.done()
        async with gateway.ask("/v1/chat/completions", body, headers=headers, key="birch") as small:
            await until(lambda: gateway.waiting == line + 1)
            small.hang_up()
            await small.done()

    assert (flooder.status, flooder.json()["error"]["code"]) == (429, "deadline_unreachable")


async def test_a_deadline_counts_from_the_arrival(gateway):
    arrived_at = asyncio.get_running_loop().time() - 3

    latest_ms = gateway.pool.latest_start_ms(default_policy().tiers[0], "acme", 5.0, arrived_at)

    assert latest_ms == round((arrived_at + 5) * 1000)


@pytest.mark.parametrize("said", ["0", "-1", "soon", "3600001", "99999999999999999999"])
async def test_a_deadline_that_makes_no_sense_is_refused(gateway, said):
    headers = {"x-laneway-deadline-ms": said}
    async with gateway.ask(
        "/v1/chat/completions", {"model": "qwen", "messages": []}, headers=headers
    ) as call:
        await call.done()

    assert (call.status, call.json()["error"]["code"]) == (400, "invalid_header")
    assert (gateway.in_flight, gateway.waiting) == (0, 0)


async def test_an_id_in_use_by_the_same_tenant_is_not_given_twice(gateway):
    body = {"model": "qwen", "messages": []}
    headers = {"x-request-id": "order-4711", "x-task-type": "chat"}
    async with gateway.ask("/v1/chat/completions", body, headers=headers) as first:
        await until(lambda: gateway.vllm.generations)
        async with gateway.ask("/v1/chat/completions", body, headers=headers) as second:
            await until(lambda: len(gateway.vllm.generations) == 2)
            for one in gateway.vllm.generations:
                one.finish()
            await asyncio.gather(first.done(), second.done())

    assert first.headers["x-request-id"] == "order-4711"
    assert second.headers["x-request-id"].startswith("req_")


async def test_an_admin_key_sees_the_requests_of_all_tenants(gateway):
    gateway.vllm.automatic = True
    for tenant in ("acme", "birch"):
        async with gateway.chat(stream=False, key=tenant) as call:
            await call.done()

    seen = (await asked(gateway, "/v1/requests?state=completed", key="admin")).json()["data"]

    assert len(seen) == 2
