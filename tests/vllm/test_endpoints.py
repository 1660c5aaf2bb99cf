"""Every endpoint that vLLM answers, through Laneway: the answer, the stream, the settled usage."""

import json

import openai
import pytest

from tests.support.vllm_contract import NAMED, ONE_DAY, WEATHER, schema
from tests.vllm.calling import HELLO, chat

EXACT = {"max_tokens": 5, "ignore_eos": True}


def settled(gateway, usage, answer) -> dict[str, object]:
    id = answer.headers["x-request-id"]
    gateway.until(lambda: usage(id))
    return usage(id)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": HELLO, **EXACT}),
        ("/v1/completions", {"prompt": ["one", "two"], **EXACT}),
        ("/v1/responses", {"input": "Hello", "max_output_tokens": 5}),
        ("/v1/messages", {"messages": HELLO, "max_tokens": 5}),
    ],
)
def test_a_plain_answer_is_passed_on_and_its_usage_settled(gateway, usage, path, body):
    answer = gateway.post(path, {"model": "tiny", **body})

    assert answer.status_code == 200, answer.text
    said = answer.json()["usage"]
    row = settled(gateway, usage, answer)
    assert row["prompt_tokens"] == said.get("prompt_tokens", said.get("input_tokens"))
    assert row["completion_tokens"] == said.get("completion_tokens", said.get("output_tokens"))
    assert (row["outcome"], row["backend"][:5]) == ("completed", "vllm-")
    assert row["queue_wait_s"] <= row["ttft_s"] <= row["e2e_s"]


@pytest.mark.parametrize(
    ("path", "body", "last"),
    [
        ("/v1/chat/completions", {"messages": HELLO, **EXACT}, "data: [DONE]"),
        ("/v1/completions", {"prompt": "one", **EXACT}, "data: [DONE]"),
        ("/v1/responses", {"input": "Hello", "max_output_tokens": 5}, "event: response.completed"),
        ("/v1/messages", {"messages": HELLO, "max_tokens": 5}, "event: message_stop"),
    ],
)
def test_a_stream_is_passed_on_to_its_terminator_and_its_usage_settled(
    gateway, usage, path, body, last
):
    answer = gateway.post(path, {"model": "tiny", "stream": True, **body})

    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.text.rstrip().split("\n\n")[-1].startswith(last)
    assert '"choices":[]' not in answer.text  # the usage chunk nobody asked for
    row = settled(gateway, usage, answer)
    assert 1 <= row["completion_tokens"] <= 5
    assert row["prompt_tokens"] > 0
    assert row["outcome"] == "completed"


def test_usage_comes_in_a_stream_only_where_it_was_asked_for(gateway):
    asked = {"stream": True, "stream_options": {"include_usage": True}}

    events = gateway.chat(**asked).text.split("\n\n")

    counted = json.loads(events[-3].removeprefix("data: "))
    assert counted["usage"]["completion_tokens"] == 8
    assert counted["metrics"]["queue_time_ms"] >= 0  # --enable-per-request-metrics, untouched


@pytest.mark.parametrize(
    "path", ["/tokenize", "/v1/messages/count_tokens", "/detokenize", "/v1/models"]
)
def test_what_needs_no_engine_is_answered(gateway, path):
    bodies = {
        "/tokenize": {"model": "tiny", "prompt": "Hello"},
        "/detokenize": {"model": "tiny", "tokens": [300, 301]},
        "/v1/messages/count_tokens": {"model": "tiny", "messages": HELLO},
    }
    if path == "/v1/models":
        assert sorted(gateway.models()) == ["tiny", "tiny-fcfs", "tiny-pool"]
        return
    answer = gateway.post(path, bodies[path])

    assert answer.status_code == 200, answer.text
    assert answer.json().keys() & {"count", "prompt", "input_tokens"}


@pytest.mark.parametrize(
    ("path", "body", "key"),
    [
        ("/v1/embeddings", {"input": ["a", "b"]}, "data"),
        ("/pooling", {"input": "a"}, "data"),
        ("/score", {"text_1": "a", "text_2": "b"}, "data"),
        ("/v1/score", {"text_1": "a", "text_2": ["b", "c"]}, "data"),
        ("/rerank", {"query": "a", "documents": ["a", "b"]}, "results"),
        ("/v1/rerank", {"query": "a", "documents": ["a"]}, "results"),
        ("/v2/rerank", {"query": "a", "documents": ["a", "b"], "top_n": 1}, "results"),
    ],
)
def test_a_pooling_server_is_passed_through(gateway, usage, path, body, key):
    answer = gateway.post(path, {"model": "tiny-pool", "priority": 8, **body})

    assert answer.status_code == 200, answer.text
    assert answer.json()[key]
    assert answer.headers["x-laneway-tier"] == "critical"
    row = settled(gateway, usage, answer)
    assert row["prompt_tokens"] == answer.json()["usage"]["prompt_tokens"]


@pytest.mark.parametrize("choice", ["required", NAMED])
def test_a_tool_that_must_be_called_is_called(gateway, choice):
    asked = {"tools": [WEATHER], "tool_choice": choice, "seed": 1, "ignore_eos": False}

    whole = gateway.chat(tokens=400, **asked).json()["choices"][0]
    stream = gateway.chat(tokens=400, stream=True, **asked).text

    function = whole["message"]["tool_calls"][0]["function"]
    assert function["name"] == "weather"
    assert json.loads(function["arguments"]) == {"days": 1}
    parts = [json.loads(event[6:]) for event in stream.split("\n\n") if event.startswith("data: {")]
    calls = [call for part in parts for call in part["choices"][0]["delta"].get("tool_calls", [])]
    said = "".join(call["function"].get("arguments", "") for call in calls)
    assert (calls[0]["function"]["name"], json.loads(said)) == ("weather", {"days": 1})


def test_structured_output_keeps_its_schema(gateway):
    asked = {"response_format": schema(ONE_DAY), "seed": 1, "ignore_eos": False}

    answer = gateway.chat(tokens=400, **asked).json()["choices"][0]

    assert json.loads(answer["message"]["content"]) == {"days": 1}


def test_the_official_client_reads_it(laneway):
    with openai.OpenAI(base_url=f"{laneway.address}/v1", api_key=laneway.key) as client:
        asked = {"model": "tiny", "messages": HELLO, "max_tokens": 6, "stream": True}
        chunks = list(client.chat.completions.create(**asked, service_tier="priority"))
        responded = client.responses.create(model="tiny", input="Hello", max_output_tokens=5)

    assert {chunk.service_tier for chunk in chunks} - {None} == {"priority"}
    assert chunks[-1].choices[0].finish_reason
    assert responded.usage.output_tokens == 5


def test_a_callers_header_does_not_reach_the_engines_queue(gateway, usage):
    answer = gateway.post("/v1/chat/completions", chat(), **{"x-vllm-priority": "9" * 26})

    # vLLM answers 500 to such a header (0.32.0), so it never came there.
    assert answer.status_code == 200, answer.text
