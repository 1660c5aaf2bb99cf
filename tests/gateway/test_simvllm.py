"""The simulated vLLM over real sockets, held against what vLLM 0.32 was seen to do."""

import asyncio
import json
import signal
import sys
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from struct import unpack
from typing import Any

import httpx
import pytest
import pytest_asyncio
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from prometheus_client.parser import text_string_to_metric_families

from gateway.core.engine import EngineConfig
from gateway.simvllm.app import SimulatedVLLM
from gateway.simvllm.options import Options
from gateway.simvllm.server import Server
from tests.support.clock import until

pytestmark = pytest.mark.asyncio(loop_scope="module")  # one server serves most tests

SPEED = 100.0


class Vllm:
    """A running server, a client on it, and a look into its engine."""

    def __init__(self, server: Server, client: httpx.AsyncClient) -> None:
        self.app, self.client, self.port = server.vllm, client, server.port
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def counts(self) -> tuple[int, int]:
        return self.app.engine.running, self.app.engine.waiting

    async def post(self, path: str, body: object, **headers: str) -> httpx.Response:
        return await self.client.post(path, json=body, headers=headers)

    async def chat(self, **body: Any) -> httpx.Response:
        return await self.post("/v1/chat/completions", ask(**body))

    async def metric(self, name: str, **labels: str) -> float:
        text = (await self.client.get("/metrics")).text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


def ask(**body: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "hello there"}], **body}


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[Vllm]:
    engine = EngineConfig(**options.pop("engine", {}))
    vllm = SimulatedVLLM(Options(port=0, engine=engine, **{"speed": SPEED, **options}))
    server = Server(vllm)
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
        yield Vllm(server, client)
    server.should_exit = True
    await serving


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def vllm() -> AsyncIterator[Vllm]:
    async with running(max_model_len=2000) as vllm:
        yield vllm


@pytest_asyncio.fixture(loop_scope="module")
async def narrow() -> AsyncIterator[Vllm]:
    """One slot, taken for as long as the test lasts."""
    async with running(engine={"max_num_seqs": 1}, speed=1.0) as vllm:
        async with hanging(vllm, ignore_eos=True, max_tokens=20_000):
            await until(lambda: vllm.counts == (1, 0))
            yield vllm


@asynccontextmanager
async def hanging(vllm: Vllm, **body: Any) -> AsyncIterator[asyncio.StreamReader]:
    """A request over a bare socket; leaving the block hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", vllm.port)
    raw = json.dumps(ask(**body)).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: sim\r\ncontent-type: application/json\r\n"
        f"content-length: {len(raw)}\r\n\r\n"
    )
    writer.write(head.encode() + raw)
    try:
        yield reader
    finally:
        writer.close()
        await writer.wait_closed()


def events_of(text: str) -> list[Any]:
    """The data of each event; every event is one line and a blank one."""
    assert text.endswith("\n\n")
    lines = text[:-2].split("\n\n")
    assert all(line.startswith("data: ") and "\n" not in line for line in lines)
    return [line[6:] if line == "data: [DONE]" else json.loads(line[6:]) for line in lines]


# ---------------------------------------------------------------- streams


async def test_a_chat_stream_is_framed_as_vllm_frames_it(vllm):
    response = await vllm.post(
        "/v1/chat/completions",
        ask(stream=True, max_tokens=5, ignore_eos=True, stream_options={"include_usage": True}),
        **{"x-request-id": "gw-42"},
    )

    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert "cache-control" not in response.headers
    role, *content, usage, done = events_of(response.text)
    assert role["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert {"prompt_token_ids", "prompt_text"} <= role.keys()
    assert list(role)[:4] == ["id", "object", "created", "model"]
    assert role["id"] == "chatcmpl-gw-42"
    assert role["object"] == "chat.completion.chunk"
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in content)
    assert {chunk["choices"][0]["finish_reason"] for chunk in content[:-1]} <= {None}
    assert content[-1]["choices"][0]["finish_reason"] == "length"
    assert content[-1]["choices"][0]["stop_reason"] is None
    assert "system_fingerprint" not in content[-1]
    assert all(chunk["choices"][0]["token_ids"] is None for chunk in content)
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 5
    assert usage["usage"]["total_tokens"] == usage["usage"]["prompt_tokens"] + 5
    assert done == "[DONE]"


async def test_usage_comes_in_a_stream_only_where_it_was_asked_for(vllm):
    plain = events_of((await vllm.chat(stream=True, max_tokens=3)).text)
    every = events_of(
        (
            await vllm.chat(
                stream=True,
                max_tokens=3,
                stream_options={"include_usage": True, "continuous_usage_stats": True},
            )
        ).text
    )

    assert not any("usage" in chunk for chunk in plain[:-1])
    assert plain[-2]["system_fingerprint"]
    assert all("usage" in chunk for chunk in every[:-1])
    assert every[-2]["usage"]["completion_tokens"] == 3


async def test_the_text_of_a_stream_is_that_of_the_whole_reply(vllm):
    whole = (await vllm.chat(max_tokens=40)).json()
    chunks = events_of((await vllm.chat(stream=True, max_tokens=40)).text)

    streamed = "".join(c["choices"][0]["delta"]["content"] for c in chunks[:-1])
    assert streamed == whole["choices"][0]["message"]["content"]


async def test_the_head_of_a_queued_stream_is_sent_at_once(narrow):
    async with hanging(narrow, stream=True) as reader:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 2)
        await until(lambda: narrow.counts == (1, 1))

        assert head.startswith(b"HTTP/1.1 200")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.05)


async def test_a_queued_stream_is_kept_alive_by_comments():
    slow = {"max_num_seqs": 1}
    async with running(engine=slow, speed=1.0, sse_keep_alive_interval_s=0.02) as vllm:
        async with hanging(vllm, stream=True, ignore_eos=True, max_tokens=9000):
            await until(lambda: vllm.counts == (1, 0))
            async with hanging(vllm, stream=True) as reader:
                await asyncio.wait_for(reader.readuntil(b": keep-alive\n\n"), 2)

                assert vllm.counts == (1, 1)


async def test_two_choices_are_streamed_under_their_numbers(vllm):
    chunks = events_of((await vllm.chat(stream=True, n=2, max_tokens=4, ignore_eos=True)).text)

    texts = {0: "", 1: ""}
    for chunk in chunks[:-1]:
        choice = chunk["choices"][0]
        texts[choice["index"]] += choice["delta"]["content"]
    assert texts[0] != texts[1]
    assert all(len(text.split()) == 4 for text in texts.values())


async def test_the_openai_sdk_reads_chats_responses_and_embeddings(vllm):
    client = AsyncOpenAI(base_url=f"{vllm.url}/v1", api_key="none")
    model = "qwen2.5-7b-instruct"
    messages: Any = ask()["messages"]

    stream = await client.chat.completions.create(
        model=model, messages=messages, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    chat = await client.chat.completions.create(model=model, messages=messages)
    response = await client.responses.create(model=model, input="hello there")
    kinds = [
        e.type async for e in await client.responses.create(model=model, input="x", stream=True)
    ]
    completion = await client.completions.create(model=model, prompt=["one", "two"], max_tokens=3)
    embedding = await client.embeddings.create(model=model, input=["one", "one", "two"])
    models = [model.id async for model in client.models.list()]
    await client.close()

    assert chunks[-1].usage == chat.usage
    assert chat.choices[0].message.content
    assert response.output_text.split()
    assert response.usage
    assert response.usage.output_tokens == len(response.output_text.split())
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    assert [choice.index for choice in completion.choices] == [0, 1]
    assert embedding.data[0].embedding == embedding.data[1].embedding
    assert embedding.data[0].embedding != embedding.data[2].embedding
    assert models == [model]


async def test_the_anthropic_sdk_reads_messages_and_counts_tokens(vllm):
    client = AsyncAnthropic(base_url=vllm.url, api_key="none")
    asked: Any = {"model": "qwen2.5-7b-instruct", "messages": ask()["messages"]}

    async with client.messages.stream(max_tokens=8, **asked) as stream:
        text = "".join([part async for part in stream.text_stream])
        last = await stream.get_final_message()
    whole = await client.messages.create(max_tokens=8, **asked)
    counted = await client.messages.count_tokens(**asked)
    await client.close()

    assert whole.content[0].type == "text"
    assert text == whole.content[0].text
    assert last.stop_reason == "max_tokens"
    assert last.usage.output_tokens == 8
    assert counted.input_tokens == whole.usage.input_tokens


# ---------------------------------------------------------------- what is generated


async def test_output_lengths_vary_and_repeat_with_the_seed(vllm):
    bodies = [{"messages": [{"role": "user", "content": f"question {i}"}]} for i in range(8)]
    first = [(await vllm.post("/v1/chat/completions", body)).json() for body in bodies]
    again = [(await vllm.post("/v1/chat/completions", body)).json() for body in bodies]

    tokens = [reply["usage"]["completion_tokens"] for reply in first]
    assert len(set(tokens)) > 4
    assert [reply["choices"] for reply in first] == [reply["choices"] for reply in again]
    assert {reply["choices"][0]["finish_reason"] for reply in first} == {"stop"}


async def test_ignore_eos_gives_exactly_max_tokens(vllm):
    reply = (await vllm.chat(ignore_eos=True, max_completion_tokens=700)).json()

    assert reply["usage"]["completion_tokens"] == 700
    assert reply["choices"][0]["finish_reason"] == "length"


async def test_a_stop_string_ends_the_text_before_itself(vllm):
    text = (await vllm.chat(max_tokens=30)).json()["choices"][0]["message"]["content"]
    stop = text.split()[4]

    choice = (await vllm.chat(max_tokens=30, stop=[stop])).json()["choices"][0]

    assert choice["message"]["content"] == text[: text.index(stop)]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", stop)


TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        },
    },
}


@pytest.mark.parametrize(
    ("choice", "reason"),
    [("required", "tool_calls"), ({"type": "function", "function": {"name": "weather"}}, "stop")],
)
async def test_a_tool_that_must_be_called_is_called(vllm, choice, reason):
    body = {"tools": [TOOL], "tool_choice": choice}
    whole = (await vllm.chat(**body)).json()["choices"][0]
    chunks = events_of((await vllm.chat(stream=True, **body)).text)[:-1]

    function = whole["message"]["tool_calls"][0]["function"]
    parts = [
        part for chunk in chunks for part in chunk["choices"][0]["delta"].get("tool_calls", [])
    ]
    assert function["name"] == parts[0]["function"]["name"] == "weather"
    assert json.loads(function["arguments"]) == {"city": "value", "days": 1}
    assert (
        "".join(part["function"].get("arguments", "") for part in parts) == (function["arguments"])
    )
    assert whole["finish_reason"] == reason == chunks[-1]["choices"][0]["finish_reason"]


async def test_a_json_schema_is_answered_in_json(vllm):
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}, "of": {"enum": ["a"]}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}

    reply = (await vllm.chat(response_format=wanted)).json()

    assert json.loads(reply["choices"][0]["message"]["content"]) == {"ok": True, "of": "a"}


async def test_text_survives_tokenizing_and_back(vllm):
    said = "Grüße, 世界!"
    tokens = (await vllm.post("/tokenize", {"prompt": said})).json()
    text = (await vllm.post("/detokenize", {"tokens": tokens["tokens"]})).json()
    reply = await vllm.post("/v1/completions", {"prompt": tokens["tokens"], "max_tokens": 1})

    assert text == {"prompt": said}
    assert tokens["count"] == len(tokens["tokens"]) == reply.json()["usage"]["prompt_tokens"]


async def test_pooling_endpoints_answer_in_their_shapes(vllm):
    documents = ["the queue moves", "nothing alike", "the queue waits"]
    rerank = {"query": "the queue waits", "documents": documents, "top_n": 2}
    score = {"text_1": "a queue", "text_2": ["a queue", "no"]}

    for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
        results = (await vllm.post(path, rerank)).json()["results"]
        assert [result["index"] for result in results] == [2, 0]
        assert results[0]["relevance_score"] == 1
    for path in ("/score", "/v1/score"):
        data = (await vllm.post(path, score)).json()["data"]
        assert [entry["score"] for entry in data] == [1, 0]
    classes = (await vllm.post("/classify", {"input": "fine"})).json()["data"][0]
    assert sum(classes["probs"]) == pytest.approx(1)
    pooled = (await vllm.post("/pooling", {"input": "fine"})).json()["data"][0]["data"]
    encoded = {"input": "fine", "encoding_format": "base64"}
    base64 = (await vllm.post("/v1/embeddings", encoded)).json()["data"][0]["embedding"]
    assert unpack("384f", b64decode(base64)) == pytest.approx(pooled)


# ---------------------------------------------------------------- priority


@pytest.mark.parametrize(
    ("policy", "order"), [("priority", ["b", "d", "c", "a"]), ("fcfs", ["a", "b", "c", "d"])]
)
async def test_the_lower_number_is_served_first_and_the_header_wins(policy, order):
    engine = {"max_num_seqs": 1, "scheduling_policy": policy}
    async with running(engine=engine, speed=10.0) as vllm:
        served: list[str] = []

        async def send(name: str, body: dict[str, Any], **headers: str) -> None:
            asked = ask(max_tokens=2, **body)
            response = await vllm.post("/v1/chat/completions", asked, **headers)
            assert response.status_code == 200
            served.append(name)

        async with asyncio.TaskGroup() as group, hanging(vllm, ignore_eos=True, max_tokens=9000):
            await until(lambda: vllm.counts == (1, 0))
            for waiting, (name, body, headers) in enumerate(
                [
                    ("a", {"priority": 5}, {}),
                    ("b", {"priority": 99}, {"x-vllm-priority": "-7"}),
                    ("c", {}, {"x-vllm-priority": "high"}),
                    ("d", {"priority": "-3"}, {}),
                ],
                1,
            ):
                group.create_task(send(name, body, **headers))
                await until(lambda waiting=waiting: vllm.counts == (1, waiting))

    assert served == order


async def test_messages_listen_to_the_header_alone(vllm):
    body = {**ask(), "max_tokens": 2, "priority": "high"}

    response = await vllm.post("/v1/messages", body)

    assert response.status_code == 200


@pytest.mark.parametrize("priority", [5, -5, 2.0, 1.7e12, "3", True, 2**63 - 1])
async def test_a_priority_that_is_an_integer_in_any_form_is_taken(vllm, priority):
    assert (await vllm.chat(priority=priority, max_tokens=1)).status_code == 200


@pytest.mark.parametrize(
    ("priority", "kind"),
    [
        (None, "int_type"),
        (1.5, "int_from_float"),
        ("high", "int_parsing"),
        (2**63, "less_than_equal"),
        (-(2**63) - 1, "greater_than_equal"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings"])
async def test_a_priority_that_is_no_integer_is_refused(vllm, path, priority, kind):
    response = await vllm.post(path, {**ask(), "priority": priority})

    error = response.json()["error"]
    assert response.status_code == error["code"] == 400
    assert error["type"] == "Bad Request"
    assert error["param"] == "body.priority"
    assert error["message"].startswith("1 validation error:\n  {'type': '" + kind)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("body", "status", "type", "param"),
    [
        ({"model": "gpt-9"}, 404, "NotFoundError", "model"),
        (
            {"messages": [{"role": "user", "content": "x" * 9000}]},
            400,
            "BadRequestError",
            "input_tokens",
        ),
        ({"max_tokens": 2001}, 400, "BadRequestError", "max_tokens"),
        ({"max_tokens": 0, "stream": True}, 400, "BadRequestError", "max_tokens"),
        ({"stream_options": {"include_usage": True}}, 400, "BadRequestError", "stream_options"),
        ({"temperature": -1}, 400, "BadRequestError", "temperature"),
        ({"tools": [{"type": "function"}]}, 400, "Bad Request", "body.tools.0.function"),
        ({"messages": "hello"}, 400, "Bad Request", "body.messages"),
        ({"response_format": "json"}, 400, "Bad Request", "body.response_format"),
        ({"stop": 5}, 400, "Bad Request", "body.stop"),
        ({"n": 0}, 400, "BadRequestError", None),
    ],
)
async def test_a_fault_is_answered_in_the_shape_of_vllm(vllm, body, status, type, param):
    response = await vllm.chat(**body)

    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, status)
    assert (error["type"], error["param"]) == (type, param)
    assert error["message"]


async def test_the_fault_of_a_message_has_anthropics_shape(vllm):
    response = await vllm.post("/v1/messages", {**ask(), "max_tokens": 5, "model": "gpt-9"})

    assert response.status_code == 404
    assert response.json()["type"] == "error"
    assert response.json()["error"]["type"] == "NotFoundError"


async def test_what_is_not_there_is_answered_by_the_framework(vllm):
    missing = await vllm.client.get("/v1/nothing")
    wrong = await vllm.client.get("/v1/chat/completions")
    info = await vllm.client.get("/server_info")

    assert (missing.status_code, missing.json()) == (404, {"detail": "Not Found"})
    assert (wrong.status_code, wrong.json()) == (405, {"detail": "Method Not Allowed"})
    assert info.status_code == 404


@pytest.mark.parametrize(
    ("kind", "body"),
    [("text/plain", b"{}"), ("application/json", b"{"), ("application/json", b"[]")],
)
async def test_a_body_that_is_no_json_object_is_a_400(vllm, kind, body):
    path = "/v1/chat/completions"
    response = await vllm.client.post(path, content=body, headers={"content-type": kind})

    assert response.status_code == 400
    assert response.json()["error"]["code"] == 400


async def test_a_key_guards_v1_and_nothing_else():
    async with running(api_keys=("k1", "k2")) as vllm:
        without = await vllm.chat()
        wrong = await vllm.post("/v1/chat/completions", ask(), authorization="Bearer k3")
        right = await vllm.post("/v1/chat/completions", ask(), authorization="bearer k2")
        metrics = await vllm.client.get("/metrics")

    assert (without.status_code, without.json()) == (401, {"error": "Unauthorized"})
    assert wrong.status_code == 401
    assert right.status_code == 200
    assert metrics.status_code == 200


async def test_a_full_engine_refuses_whatever_the_priority():
    async with running(engine={"max_num_seqs": 1}, speed=1.0, max_num_queued_reqs=2) as vllm:
        async with hanging(vllm, max_tokens=9000, ignore_eos=True), hanging(vllm):
            await until(lambda: vllm.counts == (1, 1))
            refused = await vllm.chat(priority=-1000)
            rejections = await vllm.metric("vllm:admission_rejections_total")

    assert refused.status_code == 503
    assert refused.json()["error"]["type"] == "Service Unavailable"
    assert "retry-after" not in refused.headers
    assert rejections == 1


async def test_the_policy_can_be_read_only_in_dev_mode():
    async with running(dev_mode=True, engine={"scheduling_policy": "fcfs"}) as vllm:
        info = (await vllm.client.get("/server_info?config_format=json")).json()

    assert info["vllm_config"]["scheduler_config"]["policy"] == "fcfs"


# ---------------------------------------------------------------- hang-ups


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_a_queued_request_goes_when_its_client_hangs_up(narrow, stream):
    async with hanging(narrow, stream=stream):
        await until(lambda: narrow.counts == (1, 1))

    await until(lambda: narrow.counts == (1, 0), timeout_s=1.0)


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_a_running_request_goes_when_its_client_hangs_up(stream):
    async with running(speed=1.0) as vllm:
        async with hanging(vllm, stream=stream, ignore_eos=True, max_tokens=9000):
            await until(lambda: vllm.app.engine.counters.generation_tokens > 2)

        await until(lambda: vllm.counts == (0, 0), timeout_s=1.0)
        assert vllm.app.engine.kv_usage == 0
        assert await vllm.metric("vllm:num_requests_running") == 0
        assert await vllm.metric("vllm:request_success_total") == 0
        assert await vllm.metric("vllm:e2e_request_latency_seconds_count") == 0
        assert await vllm.metric("vllm:time_to_first_token_seconds_count") == 1
        assert await vllm.metric("http_requests_total", status="2xx", method="POST") == 1


async def test_a_request_that_is_never_sent_whole_leaves_nothing(vllm):
    _, writer = await asyncio.open_connection("127.0.0.1", vllm.port)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: sim\r\ncontent-length: 99\r\n\r\n{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()

    assert (await vllm.chat(max_tokens=1)).status_code == 200
    await until(lambda: (vllm.counts, vllm.app.open) == ((0, 0), 0))


# ---------------------------------------------------------------- metrics

_NAMES = """
vllm:num_requests_running vllm:num_requests_waiting vllm:kv_cache_usage_perc
vllm:num_preemptions_total vllm:prompt_tokens_total vllm:generation_tokens_total
vllm:request_queue_time_seconds_bucket vllm:time_to_first_token_seconds_bucket
vllm:inter_token_latency_seconds_bucket vllm:e2e_request_latency_seconds_bucket
vllm:request_success_total vllm:num_requests_waiting_by_reason
"""
NAMES = _NAMES.split()


async def test_the_metrics_have_the_names_and_labels_of_vllm():
    async with running() as vllm:
        await vllm.chat(max_tokens=10, ignore_eos=True)
        response = await vllm.client.get("/metrics")

        assert await vllm.metric("vllm:request_success_total", finished_reason="length") == 1
        assert await vllm.metric("vllm:generation_tokens_total") == 10
        assert await vllm.metric("vllm:inter_token_latency_seconds_count") == 9
    assert response.headers["content-type"].startswith("text/plain; version=1.0.0")
    families = list(text_string_to_metric_families(response.text))
    samples = [sample for family in families for sample in family.samples]
    for name in NAMES:
        found = [sample for sample in samples if sample.name == name]
        assert found, name
        base = {"engine": "0", "model_name": "qwen2.5-7b-instruct"}
        assert all(base.items() <= sample.labels.items() for sample in found), name
    queue = [s.labels["le"] for s in samples if s.name == "vllm:request_queue_time_seconds_bucket"]
    assert (queue[0], queue[-2], queue[-1]) == ("0.3", "7680.0", "+Inf")
    config = next(s.labels for s in samples if s.name == "vllm:cache_config_info")
    assert (config["block_size"], config["num_gpu_blocks"]) == ("16", "62500")


async def test_a_wait_shows_in_the_queue_time_when_the_request_has_ended():
    async with running(engine={"max_num_seqs": 1}, speed=5.0) as vllm:
        async with asyncio.TaskGroup() as group:
            group.create_task(vllm.chat(ignore_eos=True, max_tokens=200))
            group.create_task(vllm.chat(ignore_eos=True, max_tokens=1))
            await until(lambda: vllm.counts == (1, 1))
            waiting = 0.0
            while not waiting:  # the gauge is set by the next step
                waiting = await vllm.metric(
                    "vllm:num_requests_waiting_by_reason", reason="capacity"
                )
            before = await vllm.metric("vllm:request_queue_time_seconds_count")
        after = await vllm.metric("vllm:request_queue_time_seconds_sum")

    assert (waiting, before) == (1, 0)
    model_s = 200 * 0.0065
    assert model_s / 10 < after < model_s / 2  # seconds of the wall, at five times the speed


async def test_preemptions_are_counted_and_no_token_is_lost():
    async with running(engine={"kv_tokens": 480, "max_num_seqs": 8}) as vllm:
        asked = [vllm.chat(ignore_eos=True, max_tokens=200) for _ in range(4)]
        replies = [reply.json() for reply in await asyncio.gather(*asked)]

        assert await vllm.metric("vllm:num_preemptions_total") > 0

    assert [reply["usage"]["completion_tokens"] for reply in replies] == [200] * 4
    assert all(len(r["choices"][0]["message"]["content"].split()) == 200 for r in replies)


async def test_the_metrics_of_a_request_come_with_its_usage_where_switched_on(vllm):
    body = {"stream": True, "max_tokens": 20, "stream_options": {"include_usage": True}}
    async with running(per_request_metrics=True) as telling:
        usage = events_of((await telling.chat(**body)).text)[-2]
        several = events_of((await telling.chat(n=2, **body)).text)[-2]
        whole = (await telling.chat(max_tokens=20)).json()

    assert usage["metrics"]["queue_time_ms"] == 0
    assert usage["metrics"]["mean_itl_ms"] == pytest.approx(6.5 / SPEED, rel=0.1)
    assert several["metrics"] is None
    assert whole["metrics"]["tokens_per_second"] == pytest.approx(154 * SPEED, rel=0.1)
    assert (await vllm.chat(max_tokens=2)).json()["metrics"] is None


async def test_a_shared_system_prompt_is_cached_where_switched_on():
    system = {"role": "system", "content": "be brief " * 200}
    async with running(engine={"prefix_cache": True}) as vllm:
        replies = [
            (await vllm.chat(messages=[system, {"role": "user", "content": f"{i}"}])).json()
            for i in range(2)
        ]

    cached = [reply["usage"]["prompt_tokens_details"]["cached_tokens"] for reply in replies]
    assert cached[0] == 0
    assert cached[1] > 400


# ---------------------------------------------------------------- the process


@pytest.mark.e2e
async def test_the_command_says_when_it_is_ready_and_ends_its_streams_when_told_to_stop(tmp_path):
    here = ["env", f"LANEWAY_HOME={tmp_path}", sys.executable, "manage.py", "simvllm"]
    command = [*here, "--port", "0", "--max-num-seqs", "4"]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe)
    try:
        assert process.stdout
        line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
        assert line.startswith("simulated vLLM: qwen2.5-7b-instruct on http://127.0.0.1:")
        url = line.split()[4]
        asked = ask(stream=True, ignore_eos=True, max_tokens=9000)
        async with httpx.AsyncClient(base_url=url) as client:
            async with client.stream("POST", "/v1/chat/completions", json=asked) as response:
                lines = response.aiter_lines()
                await anext(lines)
                process.send_signal(signal.SIGTERM)
                rest = [line async for line in lines if line]
        assert json.loads(rest[-2][6:])["choices"][0]["finish_reason"] == "abort"
        assert rest[-1] == "data: [DONE]"
        assert await asyncio.wait_for(process.wait(), 5) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
