"""What vLLM refuses, told in the words that clients of Laneway know."""

import pytest

from tests.support.vllm_contract import LONG, NAMED, WEATHER, schema

CONTEXT = 4096
TOO_LONG = "context_length_exceeded"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("asked", "status", "code", "param"),
    [
        ({"model": "nobody"}, 404, "model_not_found", "model"),
        ({"messages": [{"role": "user", "content": LONG}]}, 400, TOO_LONG, "input_tokens"),
        ({"tokens": CONTEXT + 1}, 400, TOO_LONG, "max_tokens"),
        ({"tools": [{"type": "function"}]}, 400, "bad_request", "tools.0.function"),
        (
            {"tools": [WEATHER], "tool_choice": {**NAMED, "function": {"name": "other"}}},
            400,
            "bad_request",
            "tool_choice",
        ),
        ({"response_format": schema({"type": "nonsense"})}, 400, "bad_request", None),
        ({"temperature": -1}, 400, "bad_request", "temperature"),
        ({"messages": "hello"}, 400, "bad_request", "messages"),
        ({"priority": "high"}, 400, "invalid_priority", "priority"),
    ],
)
def test_a_refusal_has_the_right_code(gateway, asked, status, code, param, stream):
    answer = gateway.chat(**{"stream": stream, **asked})

    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param)
    assert error["type"] == "invalid_request_error"
    assert "Error" not in error["type"]
    assert answer.headers["x-request-id"]


def test_a_refusal_of_messages_has_anthropics_shape(gateway):
    asked = {"model": "tiny", "max_tokens": 5, "messages": [{"role": "user", "content": LONG}]}

    answer = gateway.post("/v1/messages", asked)

    body = answer.json()
    assert answer.status_code == 400
    assert body["type"] == "error"
    assert body["error"]["type"] == "invalid_request_error"
    assert body["error"]["details"]["error_code"] == TOO_LONG


@pytest.mark.parametrize(
    ("path", "model"), [("/v1/embeddings", "tiny"), ("/classify", "tiny-pool")]
)
def test_an_endpoint_the_server_lacks_is_named(gateway, path, model):
    answer = gateway.post(path, {"model": model, "input": "a"})

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "endpoint_not_supported"


def test_a_refusal_gives_the_slot_back(gateway):
    for _ in range(20):
        gateway.chat(messages="hello")

    assert gateway.chat().status_code == 200
