"""Callers of a started Laneway with a simulated vLLM behind it, on either server: the official
clients, unchanged, and two thousand that leave queued, before the first byte, and in mid-stream."""

import asyncio
import json
import random
import time

import anthropic
import httpx
import openai
import pytest

from tests.support.clock import until
from tests.support.hang_ups import gauges, leave
from tests.support.started import Started, outside, started

pytestmark = pytest.mark.e2e

CLIENTS = 2_000
AT_ONCE = 100
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def laneway(request, new_home) -> Started:
    with started(outside(new_home()), "--server", request.param) as up:
        yield up


@pytest.fixture(scope="module")
def client(laneway) -> openai.OpenAI:
    with openai.OpenAI(base_url=f"{laneway.address}/v1", api_key=laneway.key) as client:
        yield client


def key_of(laneway: Started, name: str, *options: str) -> str:
    """A new key, once it is in force: within a second of being issued."""
    key = laneway.manage("issuekey", "default", "--name", name, *options).split()[-1]
    assert status_within(laneway, "/v1/requests", key, 200, seconds=2.0)
    return key


def status_within(laneway: Started, path: str, key: str, wanted: int, *, seconds: float) -> bool:
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds:
        answer = httpx.get(laneway.address + path, headers={"authorization": f"Bearer {key}"})
        if answer.status_code == wanted:
            return True
        time.sleep(0.02)
    return False


def test_chat(client, laneway):
    answer = client.chat.completions.create(
        model=laneway.model, messages=HELLO, max_tokens=5, extra_body={"ignore_eos": True}
    )

    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens == 5
    assert answer._request_id.startswith("req_")


def test_a_stream_without_and_with_usage(client, laneway):
    asked = {"model": laneway.model, "messages": HELLO, "max_tokens": 5, "stream": True}
    plain = list(client.chat.completions.create(**asked))
    counted = list(client.chat.completions.create(**asked, stream_options={"include_usage": True}))

    assert all(chunk.choices for chunk in plain)
    assert counted[-1].choices == []
    assert counted[-1].usage.completion_tokens <= 5


def test_the_stream_helper_sees_the_true_service_tier(client, laneway):
    with client.chat.completions.stream(
        model=laneway.model, messages=HELLO, service_tier="priority"
    ) as stream:
        final = stream.get_final_completion()

    assert final.service_tier == "priority"


def test_tools_pass_through(client, laneway):
    tool = {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
    answer = client.chat.completions.create(
        model=laneway.model, messages=HELLO, tools=[tool], tool_choice="required", max_tokens=30
    )

    assert answer.choices[0].message.tool_calls[0].function.name == "weather"


def test_embeddings_completions_responses_and_models(client, laneway):
    embedded = client.embeddings.create(model=laneway.model, input=["a", "b"])
    completed = client.completions.create(model=laneway.model, prompt="Once", max_tokens=3)
    responded = client.responses.create(model=laneway.model, input="Hi", max_output_tokens=3)

    assert len(embedded.data) == 2
    assert completed.choices[0].text
    assert responded.output_text
    assert [model.id for model in client.models.list()] == [laneway.model]
    assert client.models.retrieve(laneway.model).id == laneway.model


def test_anthropics_client(laneway):
    with anthropic.Anthropic(base_url=laneway.address, api_key=laneway.key) as client:
        answer = client.messages.create(model=laneway.model, messages=HELLO, max_tokens=5)
        with client.messages.stream(model=laneway.model, messages=HELLO, max_tokens=5) as stream:
            text = stream.get_final_text()
        with pytest.raises(anthropic.NotFoundError) as refused:
            client.messages.create(model="nope", messages=HELLO, max_tokens=5)

    assert answer.usage.output_tokens == 5
    assert text
    assert refused.value.body["error"]["details"]["error_code"] == "model_not_found"


@pytest.mark.parametrize(
    ("asked", "kind", "code"),
    [
        ({"model": "nope"}, openai.NotFoundError, "model_not_found"),
        ({"messages": "not a list"}, openai.BadRequestError, "bad_request"),
        ({"extra_body": {"priority": "high"}}, openai.BadRequestError, "invalid_priority"),
        ({"max_tokens": 10_000_000}, openai.BadRequestError, "context_length_exceeded"),
    ],
)
def test_errors_come_as_the_clients_own_exceptions(client, laneway, asked, kind, code):
    with pytest.raises(kind) as refused:
        client.chat.completions.create(**{"model": laneway.model, "messages": HELLO} | asked)

    assert refused.value.code == code
    assert refused.value.request_id


def test_a_wrong_key_is_an_authentication_error(laneway):
    with openai.OpenAI(base_url=f"{laneway.address}/v1", api_key="lw_live_wrong") as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            client.models.list()

    assert refused.value.code == "invalid_api_key"


def test_a_ceiling_holds_whatever_the_client_says(laneway):
    key = key_of(laneway, f"low {time.time()}", "--ceiling", "0")
    with openai.OpenAI(base_url=f"{laneway.address}/v1", api_key=key) as client:
        answer = client.chat.completions.with_raw_response.create(
            model=laneway.model,
            messages=HELLO,
            max_tokens=1,
            extra_body={"priority": 10},
            extra_headers={"X-Vllm-Priority": "-999"},
        )

    assert answer.headers["x-laneway-tier"] == "standard"
    assert answer.headers["x-laneway-reason"] == "priority, ceiling:standard"


def test_a_revoked_key_stops_within_a_second_or_so(laneway):
    key = key_of(laneway, f"short {time.time()}")
    revoke = (
        "from gateway.models import APIKey;"
        f"APIKey.objects.filter(id8='{key.split('_')[2]}').update(status='revoked')"
    )
    laneway.manage("shell", "-c", revoke)

    assert status_within(laneway, "/v1/models", key, 401, seconds=1.5)


def test_the_live_frame_as_json_for_an_admin_key(laneway):
    key = key_of(laneway, f"ops {time.time()}", "--kind", "admin")
    url = f"{laneway.address}/api/v1/live"
    frame = httpx.get(url, headers={"authorization": f"Bearer {key}"}).json()
    stranger = httpx.get(url)
    tenant = httpx.get(url, headers={"authorization": f"Bearer {laneway.key}"})

    assert [tier["name"] for tier in frame["pools"][0]["tiers"]][:2] == ["realtime", "critical"]
    assert (stranger.status_code, tenant.status_code) == (401, 403)
    assert json.loads(stranger.text)["error"]["code"] == "invalid_api_key"


def test_an_admin_key_does_not_call_models(laneway):
    key = key_of(laneway, f"boss {time.time()}", "--kind", "admin")
    with openai.OpenAI(base_url=f"{laneway.address}/v1", api_key=key) as client:
        with pytest.raises(openai.PermissionDeniedError) as refused:
            client.chat.completions.create(model=laneway.model, messages=HELLO)

    assert refused.value.code == "endpoint_not_allowed"


async def test_a_storm_of_hang_ups_leaves_nothing_behind(laneway):
    admin = {
        "authorization": f"Bearer {key_of(laneway, f'storm {time.time()}', '--kind', 'admin')}"
    }
    rng = random.Random(7)
    gate = asyncio.Semaphore(AT_ONCE)

    async def one() -> str:
        async with gate:
            return await leave(laneway, rng)

    seen = await asyncio.gather(*(one() for _ in range(CLIENTS)))

    await until(lambda: not any(gauges(laneway, admin).values()), timeout_s=15)
    assert await asyncio.to_thread(ask_once, laneway) == 200
    assert {"queued", "streaming", "answered"} <= set(seen)


def ask_once(laneway: Started) -> int:
    answer = httpx.post(
        f"{laneway.address}/v1/chat/completions",
        headers={"authorization": f"Bearer {laneway.key}"},
        json={"model": laneway.model, "messages": [], "max_tokens": 1},
        timeout=30,
    )
    return answer.status_code
