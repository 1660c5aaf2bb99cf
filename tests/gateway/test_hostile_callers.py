"""What callers send by mistake or on purpose: never a 500, never a slot lost, never a broken request
to a model server."""

import gzip
import json

import pytest

CHAT = {"model": "qwen", "messages": [{"role": "user", "content": "hi"}], "stream": False}
PLAIN = json.dumps(CHAT).encode()


def with_field(member: str) -> bytes:
    return PLAIN[:-1] + b", " + member.encode() + b"}"


BODIES = {
    "nothing": b"",
    "gzip": gzip.compress(PLAIN),
    "byte order mark": b"\xef\xbb\xbf" + PLAIN,
    "utf-16": PLAIN.decode().encode("utf-16"),
    "NUL": b"\0" + PLAIN,
    "two documents": PLAIN + PLAIN,
    "ten thousand levels": with_field('"x": ' + "[" * 10_000 + "]" * 10_000),
    "ten thousand levels of objects": with_field('"x": ' + '{"a":' * 10_000 + "1" + "}" * 10_000),
    "a lone surrogate": with_field('"user": "\\ud800"'),
    "a lone surrogate in the task": with_field('"metadata": {"task_type": "\\ud800"}'),
    "a lone surrogate as model": b'{"model": "\\ud800", "messages": []}',
    "raw surrogate bytes": with_field('"user": "')[:-1] + b'\xed\xa0\x80"}',
    "NaN": with_field('"temperature": NaN'),
    "beyond all numbers": with_field('"temperature": 1e999, "max_tokens": 1e999'),
    "a number of 4000 digits": with_field('"max_tokens": ' + "9" * 4_000),
    "a number of 5000 digits": with_field('"max_tokens": ' + "9" * 5_000),
    "a number of 5000 digits in depth": with_field('"x": [{"y": ' + "9" * 5_000 + "}]"),
    "a priority of 5000 digits": with_field('"priority": ' + "9" * 5_000),
    "priority -0.0": with_field('"priority": -0.0'),
    "priority beyond 64 bits": with_field('"priority": 18446744073709551616'),
    "priority as a list": with_field('"priority": [1]'),
    "two models": with_field('"model": "nope", "model": "qwen"'),
    "two priorities": with_field('"priority": 1, "priority": "x", "priority": -3'),
    "unicode names": with_field('"prior\\u0069ty": 5, "\u00fc\u4e2d": 1'),
    "ten megabytes of text": with_field('"user": "' + "a" * 10_000_000 + '"'),
    "line breaks as model": b'{"model": "qwen\\r\\nx-evil: 1", "messages": []}',
    "line breaks in the task": with_field('"metadata": {"task_type": "a\\r\\nx-evil: 1"}'),
    "line breaks in the service tier": with_field('"service_tier": "a\\r\\nx-evil: 1"'),
    "another script in the task": with_field('"metadata": {"task_type": "\u4e2d\u00fc"}'),
    "another script in the service tier": with_field('"service_tier": "\u4e2d\u00fc"'),
    "another script as model": '{"model": "\u4e2d\u00fc", "messages": []}'.encode(),
    "metadata as text": with_field('"metadata": "x", "stream_options": 3, "n": {}, "nvext": []'),
    "messages as a number": b'{"model": "qwen", "messages": 3, "prompt": {"a": []}, "input": true}',
    "a negative n": with_field('"n": -5, "best_of": -1e308, "max_tokens": -7'),
    "a huge n": with_field('"n": 1000000000'),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_whatever_the_body_it_is_the_callers_fault_or_served(gateway, body):
    gateway.vllm.automatic = True

    async with gateway.ask("/v1/chat/completions", body) as call:
        await call.done()

    assert call.status in (200, 400, 404, 413), call.content
    assert (gateway.in_flight, gateway.waiting) == (0, 0)
    for one in gateway.vllm.generations:
        assert json.loads(one.raw.decode()) == one.body
        assert one.body["priority"] == int(one.headers["x-vllm-priority"])
        assert "x-evil" not in one.headers
    assert all("\r" not in value and "\n" not in value for value in call.headers.values())


HEADERS = {
    "an absurd priority": {"x-laneway-priority": "9" * 5_000},
    "a priority in other digits": {"x-laneway-priority": "\u00b2"},
    "a task of bytes": {"x-task-type": "\xff\xfe"},
    "a deadline that is none": {"x-laneway-deadline-ms": "nan"},
    "a deadline beyond all numbers": {"x-laneway-deadline-ms": "1e999"},
    "a deadline of 5000 digits": {"x-laneway-deadline-ms": "9" * 5_000},
    "an id of bytes": {"x-request-id": "\xff" * 200},
    "a long id": {"x-request-id": "a" * 9_000},
    "an alias": {"x-smg-priority": "\xff", "x-llm-d-inference-objective": "b" * 500},
    "a broken trace": {"traceparent": "00-zz-\xff", "tracestate": "\xff"},
    "a content encoding": {"content-encoding": "gzip"},
    "an expectation": {"expect": "100-continue", "te": "trailers", "upgrade": "h2c"},
    "an alias in Latin 1": {"x-llm-d-inference-objective": "\xe9t\xe9"},
    "an alias that ends a line": {"x-llm-d-inference-objective": "a\x0bb\x85c"},
    "priority for vLLM": {"x-vllm-priority": "-99", "connection": "x-vllm-priority"},
}


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
async def test_whatever_the_headers_it_is_the_callers_fault_or_served(gateway, headers):
    gateway.vllm.automatic = True

    async with gateway.ask("/v1/chat/completions", CHAT, headers=headers) as call:
        await call.done()

    assert call.status in (200, 400, 415), call.content
    assert (gateway.in_flight, gateway.waiting) == (0, 0)
    for one in gateway.vllm.generations:
        assert one.body["priority"] == int(one.headers["x-vllm-priority"]) >= -10
