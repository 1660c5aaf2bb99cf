"""The whole way of a request: it works, it is refused, the client hangs up."""

import asyncio
import json

import msgspec
import pytest

from gateway.core import capacity, caps
from gateway.core.policy import KeyRules, Limits, TenantRules, default_policy
from tests.support.clock import until

CHAT = {"model": "qwen", "messages": [{"role": "user", "content": "hi"}]}


# It works


async def test_a_plain_answer_passes_with_its_length_and_what_was_decided(gateway):
    async with gateway.chat("code_generation", stream=False) as call:
        await until(lambda: gateway.vllm.generations)
        gateway.vllm.generations[0].finish()
        await call.done()

    assert call.status == 200
    assert call.json()["choices"][0]["message"]["content"] == "hello"
    assert call.headers["content-length"] == str(len(call.content))
    assert call.headers["x-laneway-tier"] == "critical"
    assert call.headers["x-laneway-priority"] == "8"
    assert call.headers["x-laneway-reason"] == "task:code_generation"
    assert call.headers["x-laneway-policy-version"] == "1"
    assert call.headers["x-request-id"].startswith("req_")


async def test_the_model_server_gets_the_priority_in_its_own_polarity_twice(gateway):
    async with gateway.chat("batch_inference", stream=False) as call:
        await until(lambda: gateway.vllm.generations)
        sent = gateway.vllm.generations[0]
        sent.finish()
        await call.done()

    assert sent.body["priority"] == 5
    assert sent.headers["x-vllm-priority"] == "5"
    assert "authorization" not in sent.headers


async def test_a_stream_passes_as_it_comes_and_the_usage_chunk_nobody_asked_for_stays(gateway):
    async with gateway.chat() as call:
        await until(lambda: gateway.vllm.generations)
        answer = gateway.vllm.generations[0]
        answer.token("one ")
        await until(lambda: b"one " in call.content)
        seen_before_the_end = call.ended
        answer.finish()
        await call.done()

    assert not seen_before_the_end
    assert call.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert call.events[-1] == "data: [DONE]"
    assert not any('"choices": []' in event for event in call.events)
    assert call.ended


async def test_usage_settles_the_slot_although_the_caller_did_not_ask_for_it(gateway):
    async with gateway.chat() as call:
        await until(lambda: gateway.vllm.generations)
        gateway.vllm.generations[0].finish(prompt_tokens=100, completion_tokens=40)
        await call.done()

    row = gateway.proxy.recorder.latest()
    assert (row.prompt_tokens, row.completion_tokens) == (100, 40)
    assert row.outcome == "completed"
    assert gateway.vllm.generations[0].body["stream_options"] == {"include_usage": True}


async def test_the_more_urgent_request_goes_first_when_a_slot_falls_free(gateway):
    async with gateway.chat("batch_inference") as first, gateway.chat("chat") as urgent:
        await until(lambda: len(gateway.vllm.generations) == 2)
        async with gateway.chat("batch_inference") as low, gateway.chat("chat") as high:
            await until(lambda: gateway.waiting == 2)
            gateway.vllm.generations[0].finish()
            gateway.vllm.generations[1].finish()
            await until(lambda: len(gateway.vllm.generations) >= 3)
            order = [one.body["priority"] for one in gateway.vllm.generations[2:]]
            for one in gateway.vllm.generations:
                one.finish() if not one.over.is_set() else None
            await until(lambda: len(gateway.vllm.generations) == 4)
            gateway.vllm.generations[3].finish()
            await asyncio.gather(first.done(), urgent.done(), low.done(), high.done())

    assert order[0] == -10


async def test_a_request_for_two_choices_takes_two_slots(gateway):
    async with gateway.chat("chat", n=2) as both, gateway.chat("chat") as late:
        await until(lambda: gateway.vllm.generations and gateway.waiting == 1)
        assert [one.body.get("n") for one in gateway.vllm.generations] == [2]
        gateway.vllm.generations[0].finish()
        await both.done()
        await until(lambda: len(gateway.vllm.generations) == 2)
        gateway.vllm.generations[1].finish()
        await late.done()

    assert (both.status, late.status, gateway.in_flight) == (200, 200, 0)


async def test_models_are_those_the_key_may_use(gateway):
    async with gateway.ask("/v1/models", method="GET") as call:
        await call.done()
    async with gateway.ask("/v1/models", method="GET", key="cedar") as other:
        await other.done()

    assert [card["id"] for card in call.json()["data"]] == ["qwen"]
    assert other.json()["data"] == []


async def test_an_id_the_caller_gave_comes_back_and_does_not_reach_the_model_server(gateway):
    async with gateway.ask(
        "/v1/chat/completions", CHAT, headers={"x-request-id": "order-4711"}
    ) as call:
        await until(lambda: gateway.vllm.generations)
        gateway.vllm.generations[0].finish()
        await call.done()

    assert call.headers["x-request-id"] == "order-4711"
    assert gateway.vllm.generations[0].headers["x-request-id"].startswith("req_")


# It is refused


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/chat/completions", b"{", 400, "invalid_json"),
        ("/v1/chat/completions", b"[]", 400, "invalid_json"),
        ("/v1/chat/completions", {"messages": []}, 400, "missing_required_parameter"),
        ("/v1/chat/completions", {"model": "nope"}, 404, "model_not_found"),
        ("/v1/chat/completions", CHAT | {"priority": "high"}, 400, "invalid_priority"),
        ("/v1/nonsense", CHAT, 404, "unknown_url"),
        ("/v1/load_lora_adapter", CHAT, 404, "unknown_url"),
    ],
)
async def test_a_request_that_cannot_be_served_never_reaches_a_backend(
    gateway, path, body, status, code
):
    async with gateway.ask(path, body) as call:
        await call.done()

    assert (call.status, call.json()["error"]["code"]) == (status, code)
    assert gateway.vllm.generations == []


@pytest.mark.parametrize("key", ["", "lw_live_nonsense"])
async def test_a_stranger_is_refused_before_the_body_is_read(gateway, key):
    gateway.keys["stranger"] = key
    async with gateway.ask("/v1/chat/completions", b"{", key="stranger") as call:
        await call.done()

    assert (call.status, call.json()["error"]["code"]) == (401, "invalid_api_key")
    assert call.headers["www-authenticate"].startswith("Bearer")


async def test_get_on_a_generation_says_what_is_allowed(gateway):
    async with gateway.ask("/v1/chat/completions", method="GET") as call:
        await call.done()

    assert (call.status, call.headers["allow"]) == (405, "POST")


async def test_a_key_cannot_reach_past_its_ceiling(gateway):
    async with gateway.chat("chat", key="birch", stream=False, priority=10) as call:
        await until(lambda: gateway.vllm.generations)
        gateway.vllm.generations[0].finish()
        await call.done()

    assert call.headers["x-laneway-tier"] == "standard"
    assert call.headers["x-laneway-reason"] == "priority, ceiling:standard"


async def test_the_clients_own_priority_header_is_not_passed_on(gateway):
    async with gateway.ask(
        "/v1/chat/completions",
        b' {"prio\\u0072ity": 3, "model": "qwen", "messages": [], "priority": -9}',
        headers={"x-vllm-priority": "-999", "x-data-parallel-rank": "1"},
    ) as call:
        await until(lambda: gateway.vllm.generations)
        sent = gateway.vllm.generations[0]
        sent.finish()
        await call.done()

    assert sent.headers["x-vllm-priority"] == str(sent.body["priority"]) == "10"
    assert "x-data-parallel-rank" not in sent.headers
    assert sent.raw.count(b"rity") == 1


async def test_a_backend_that_fails_twice_before_its_first_byte_is_a_clean_502(gateway):
    async with gateway.chat(stream=True) as call:
        await until(lambda: gateway.vllm.generations)
        gateway.vllm.generations[0].break_off()
        await until(lambda: len(gateway.vllm.generations) == 2)
        gateway.vllm.generations[1].break_off()
        await call.done()

    assert (call.status, call.json()["error"]["code"]) == (502, "upstream_error")
    assert call.headers["retry-after"] == "1"


async def test_a_pool_that_has_spent_its_retries_sends_nothing_again(gateway):
    while gateway.pool.may_retry():
        pass

    async with gateway.chat(stream=True) as call:
        await until(lambda: gateway.vllm.generations)
        gateway.vllm.generations[0].break_off()
        await call.done()

    assert (call.status, call.json()["error"]["code"]) == (502, "upstream_error")
    assert len(gateway.vllm.generations) == 1


async def test_what_vllm_refuses_is_told_in_openais_words(gateway):
    error = {"message": "too long", "type": "Bad Request", "param": "body.messages", "code": 400}
    async with gateway.chat(stream=False) as call:
        await until(lambda: gateway.vllm.generations)
        gateway.vllm.generations[0].reply(400, {"error": error})
        await call.done()

    assert call.status == 400
    assert call.json()["error"] == {
        "message": "too long",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "bad_request",
    }


async def test_an_error_event_before_the_first_token_becomes_a_true_status(gateway):
    async with gateway.chat() as call:
        await until(lambda: gateway.vllm.generations)
        answer = gateway.vllm.generations[0]
        answer.write(b'data: {"error": {"message": "no such tool", "code": 400}}\n\n')
        answer.write(b"data: [DONE]\n\n")
        answer.writer.write(b"0\r\n\r\n")
        answer.over.set()
        await call.done()

    assert (call.status, call.json()["error"]["message"]) == (400, "no such tool")


async def test_a_backend_that_dies_in_mid_stream_is_told_as_the_last_event(gateway):
    async with gateway.chat() as call:
        await until(lambda: gateway.vllm.generations)
        gateway.vllm.generations[0].token()
        await until(lambda: call.content)
        gateway.vllm.generations[0].break_off()
        await call.done()

    assert call.status == 200
    error = json.loads(call.events[-2].removeprefix("data: "))["error"]
    assert error["code"] == "upstream_disconnected"
    assert call.events[-1] == "data: [DONE]"
    assert len(gateway.vllm.generations) == 1


async def test_a_keep_alive_comment_is_not_taken_for_the_first_token(gateway):
    async with gateway.chat() as call:
        await until(lambda: gateway.vllm.generations)
        answer = gateway.vllm.generations[0]
        answer.write(b": keep-alive\n\n")
        await until(lambda: call.content)
        journey = next(iter(gateway.proxy.register.journeys.values()))
        before = journey.first_byte_at
        answer.token()
        await until(lambda: journey.first_byte_at)
        answer.finish()
        await call.done()

    assert before is None
    assert call.events[0] == ": keep-alive"


async def test_an_error_in_mid_stream_is_told_with_a_code_that_clients_know(gateway):
    async with gateway.chat() as call:
        await until(lambda: gateway.vllm.generations)
        answer = gateway.vllm.generations[0]
        answer.token("one ")
        answer.write(b'data: {"error": {"message": "EngineCore died", "code": 500}}\n\n')
        answer.write(b"data: [DONE]\n\n")
        await call.done()

    error = json.loads(call.events[-2].removeprefix("data: "))["error"]
    assert (error["code"], error["type"]) == ("upstream_error", "server_error")
    assert "one " in call.events[0]
    assert [event for event in call.events if "error" in event] == [call.events[-2]]


async def test_a_backend_that_was_full_gets_the_request_again_later(gateway):
    async with gateway.chat(stream=False) as call:
        await until(lambda: gateway.vllm.generations)
        error = {"message": "The engine is currently busy", "type": "x", "code": 503}
        gateway.vllm.generations[0].reply(503, {"error": error})
        await until(lambda: len(gateway.vllm.generations) == 2)
        gateway.vllm.generations[1].finish()
        await call.done()

    assert call.status == 200


# The client hangs up


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("when", ["queued", "dispatched", "streaming"])
async def test_hanging_up_gives_the_slot_back(gateway, stream, when):
    async with gateway.chat("chat"), gateway.chat("chat"):
        await until(lambda: len(gateway.vllm.generations) == 2)
        async with gateway.chat("chat", stream=stream) as leaving:
            await until(lambda: gateway.waiting == 1)
            if when != "queued":
                gateway.vllm.generations[0].finish()
                await until(lambda: len(gateway.vllm.generations) == 3)
            if when == "streaming" and stream:
                gateway.vllm.generations[2].token()
                await until(lambda: leaving.content)

    await until(lambda: gateway.vllm.open == 0)
    assert (gateway.in_flight, gateway.waiting) == (0, 0)
    assert gateway.proxy.register.journeys == {}
    assert gateway.pool.queue.turns == {}


async def test_a_caller_that_left_is_recorded_as_such(gateway):
    async with gateway.chat("chat") as call:
        await until(lambda: gateway.vllm.generations)
        call.hang_up()
        await call.done()

    row = gateway.proxy.recorder.latest()
    assert (row.outcome, row.status) == ("hung_up", 499)


async def test_a_gateway_that_stops_refuses_what_arrives_and_finishes_what_runs(gateway):
    async with gateway.chat(stream=False) as running:
        await until(lambda: gateway.vllm.generations)
        stopping = asyncio.create_task(gateway.proxy.drain(5))
        await asyncio.sleep(0)
        async with gateway.chat() as late:
            await late.done()
        gateway.vllm.generations[0].finish()
        await running.done()
        await stopping

    assert (late.status, late.json()["error"]["code"]) == (503, "shutting_down")
    assert running.status == 200


async def test_draining_has_an_end_and_says_so_in_the_stream(gateway):
    async with gateway.chat() as endless:
        await until(lambda: gateway.vllm.generations)
        gateway.vllm.generations[0].token()
        await until(lambda: endless.content)
        await gateway.proxy.drain(0.05)
        await endless.done()

    assert "shutting_down" in endless.events[-2]
    assert endless.events[-1] == "data: [DONE]"


# Quotas


LIMITS = TenantRules(
    limits=Limits(tokens_per_min=60_000, requests_per_min=60),
    tier_limits={"realtime": Limits(requests_per_min=6, on_excess="demote")},
)
LIMITED = msgspec.structs.replace(default_policy(), tenants={"acme": LIMITS})
with_limits = pytest.mark.parametrize("policy", [LIMITED])


@with_limits
async def test_a_spent_lane_demotes_and_the_caller_is_told(gateway):
    gateway.vllm.automatic = True
    async with gateway.chat("chat", stream=False) as first:
        await first.done()
    async with gateway.chat("chat", stream=False) as second:
        await second.done()

    assert first.headers["x-laneway-tier"] == "realtime"
    assert second.headers["x-laneway-tier"] == "critical"
    assert second.headers["x-laneway-reason"] == "task:chat, quota:critical"


@with_limits
async def test_limits_are_told_and_a_spent_tenant_gets_429_with_the_wait(gateway):
    gateway.vllm.automatic = True
    calls = []
    for _ in range(11):
        async with gateway.chat(stream=False, max_tokens=1) as call:
            calls.append(await call.done())

    assert calls[0].headers["x-ratelimit-limit-requests"] == "60"
    assert calls[0].headers["x-ratelimit-remaining-requests"] == "9"
    assert [call.status for call in calls] == [200] * 10 + [429]
    refused = calls[-1].json()["error"]
    assert (refused["code"], refused["type"]) == ("rate_limit_exceeded", "requests")
    assert calls[-1].headers["retry-after"] == "1"
    assert len(gateway.vllm.generations) == 10


@with_limits
async def test_a_caller_that_left_while_waiting_gets_its_tokens_back(gateway):
    async with gateway.chat("chat"), gateway.chat("chat"):
        await until(lambda: len(gateway.vllm.generations) == 2)
        before = dict(gateway.proxy.quotas._tats)
        async with gateway.chat("batch_inference"):
            await until(lambda: gateway.waiting == 1)
        await until(lambda: gateway.waiting == 0)
        after = dict(gateway.proxy.quotas._tats)

    assert after == before


@with_limits
@pytest.mark.parametrize("stream", [True, False])
async def test_a_caller_that_leaves_what_runs_pays_for_what_was_done(gateway, stream):
    gateway.pool.backends["gpu-1"].law = capacity.Law(step_s=1e-6)  # much is done in no time
    async with gateway.chat(stream=stream, max_tokens=50) as leaving:
        await until(lambda: gateway.vllm.generations)
        reserved = dict(gateway.proxy.quotas._tats)
        [journey] = gateway.proxy.register.journeys.values()
        leaving.hang_up()
        await leaving.done()
    await until(lambda: gateway.in_flight == 0)

    paid = gateway.proxy.quotas._tats
    assert paid["tenant:acme:requests"] == reserved["tenant:acme:requests"]
    refunded_us = reserved["tenant:acme:tokens"] - paid["tenant:acme:tokens"]
    assert refunded_us == (100_000 if stream else 0)  # 100 tokens at 60,000 a minute: no output yet
    assert journey.cost() == (journey.reserved - 100 if stream else journey.reserved)


async def test_what_an_overloaded_server_turned_away_has_begun_nothing(gateway):
    async with gateway.chat("chat", stream=False) as call:
        await until(lambda: gateway.vllm.generations)
        [journey] = gateway.proxy.register.journeys.values()
        busy = {"message": "The engine is currently busy", "type": "x", "code": 503}
        gateway.vllm.generations[0].reply(503, {"error": busy})
        await until(lambda: len(gateway.vllm.generations) == 2)
        begun = journey.first_byte_at
        gateway.vllm.generations[1].finish()
        await call.done()

    assert begun is None
    assert journey.first_byte_at > journey.dispatched_at


# How many requests a key has at once


two_at_once = pytest.mark.parametrize(
    "key_rules", [{"acme": KeyRules(limits=Limits(max_in_flight=2))}]
)


@pytest.mark.parametrize("slots", [1])
async def test_a_body_that_would_fill_the_memory_is_refused_in_line_alone(gateway, monkeypatch):
    monkeypatch.setattr(caps, "MOST_BODY_BYTES", 4_000)
    long = [{"role": "user", "content": "x" * 1_500}]
    async with gateway.chat(messages=long), gateway.chat(messages=long):
        await until(lambda: gateway.in_flight == 1 and gateway.waiting == 1)
        async with gateway.chat(messages=long) as refused:
            await refused.done()

    assert (refused.status, refused.json()["error"]["code"]) == (429, "queue_full")
    assert "retry-after" in refused.headers


@two_at_once
@pytest.mark.parametrize("slots", [1])
async def test_a_key_has_as_many_requests_at_once_as_it_may_and_others_do_not_count(gateway):
    async with gateway.chat(stream=False) as running, gateway.chat(stream=False) as waiting:
        await until(lambda: gateway.vllm.generations and gateway.waiting == 1)
        async with gateway.chat(stream=False) as third:
            await third.done()
        async with gateway.chat(stream=False, key="birch") as other:
            await until(lambda: gateway.waiting == 2)
            gateway.vllm.automatic = True
            gateway.vllm.generations[0].finish()
            await asyncio.gather(running.done(), waiting.done(), other.done())
    async with gateway.chat(stream=False) as after:
        await after.done()

    assert [one.status for one in (running, waiting, other, after)] == [200] * 4
    refused = third.json()["error"]
    assert (third.status, refused["code"], refused["type"]) == (
        429,
        "rate_limit_exceeded",
        "requests",
    )
    assert third.headers["retry-after"] == "1"
    assert gateway.proxy.quotas._at_once == {}


@two_at_once
@pytest.mark.parametrize("when", ["queued", "streaming"])
@pytest.mark.parametrize("slots", [1])
async def test_a_caller_that_left_no_longer_counts(gateway, when):
    async with gateway.chat(), gateway.chat() as leaving:
        await until(lambda: gateway.vllm.generations and gateway.waiting == 1)
        if when == "streaming":
            gateway.vllm.generations[0].finish()
            await until(lambda: len(gateway.vllm.generations) == 2)
        leaving.hang_up()
        await leaving.done()
        await until(lambda: gateway.waiting == 0)
        counted = dict(gateway.proxy.quotas._at_once)

    await until(lambda: gateway.in_flight == 0)
    assert sum(counted.values()) == (1 if when == "queued" else 0)
    assert gateway.proxy.quotas._at_once == {}


FULL = msgspec.structs.replace(
    default_policy(),
    tiers=tuple(msgspec.structs.replace(tier, max_waiting=1) for tier in default_policy().tiers),
)


@two_at_once
@pytest.mark.parametrize(("slots", "policy"), [(1, FULL)])
async def test_a_refused_request_no_longer_counts(gateway):
    async with gateway.chat(key="birch"), gateway.chat(key="birch"):
        await until(lambda: gateway.waiting == 1)
        async with gateway.chat() as refused:
            await refused.done()

    assert (refused.status, refused.json()["error"]["code"]) == (429, "queue_full")
    assert gateway.proxy.quotas._at_once == {}
