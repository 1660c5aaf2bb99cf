"""vLLM's refusals in the words of clients.  The sentences are those of vLLM 0.32.0."""

import json

import pytest

from gateway import vllm_errors

PROMPT = (
    "This model's maximum context length is 4096 tokens. However, your prompt contains at least "
    "4097 input tokens, which exceeds this limit even without any output tokens."
)
ANSWER = (
    "max_tokens=5000 cannot be greater than max_model_len=4096. Please request fewer output tokens. "
    "(parameter=max_tokens, value=5000)"
)


@pytest.mark.parametrize(
    ("status", "message", "param", "code"),
    [
        (400, PROMPT, "input_tokens", "context_length_exceeded"),
        (400, ANSWER, "max_tokens", "context_length_exceeded"),
        (400, "temperature must be non-negative, got -1.0.", "temperature", "bad_request"),
        (404, "The model `x` does not exist. Valid aliases: y.", "model", "model_not_found"),
        (422, "no", None, "unprocessable"),
        (501, "no", None, "endpoint_not_supported"),
        (401, "no", None, "upstream_error"),
        (500, "no", None, "upstream_error"),
    ],
)
def test_vllms_sentence_decides_the_code(status, message, param, code):
    error = {"message": message, "type": "BadRequestError", "param": param, "code": status}

    told = vllm_errors.from_vllm(status, json.dumps({"error": error}).encode())

    assert told.code == code


def test_a_param_is_named_as_the_caller_wrote_it():
    error = {"message": "1 validation error", "param": "body.tools.0.function", "code": 400}

    told = vllm_errors.from_vllm(400, json.dumps({"error": error}).encode())

    assert told.param == "tools.0.function"


@pytest.mark.parametrize("body", [b"[" * 60_000, b'{"error": {"message": ' + b"[" * 60_000])
def test_a_refusal_nested_beyond_reading_is_told_nevertheless(body):
    assert vllm_errors.from_vllm(500, body).code == "upstream_error"
    assert vllm_errors.status_in(body) == 502


def test_a_model_whose_name_speaks_of_detail_is_still_a_model():
    error = {"message": "The model `detailed` does not exist.", "code": 404}
    told = vllm_errors.from_vllm(404, json.dumps({"error": error}).encode())

    assert told.code == "model_not_found"
    assert vllm_errors.from_vllm(404, b'{"detail":"Not Found"}').code == "endpoint_not_supported"
