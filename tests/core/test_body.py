"""The body as JSON: what is refused, and the ways in which a value can be written."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import wire
from gateway.core.body import MAX_NESTING, WireError, refuse_deep, structure_of
from tests.support.calls import parsed, refusal

INVALID = ("invalid_json", None)
NO_MODEL = ("missing_required_parameter", "model")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"   ",
        b"[]",
        b"12",
        b'"model"',
        b"null",
        b"{",
        b'{"model":"qwen"} x',
        b'{"model":"qwen"}{}',
        b'{"model":"qwen",}',
        b'\xef\xbb\xbf{"model":"qwen"}',
        '{"model":"qwen"}'.encode("utf-16"),
        '{"model":"qwen"}'.encode("utf-16-le"),
        '{"model":"qwen"}'.encode("utf-32-be"),
        b'{"model":"qwen","temperature":NaN}',
        b'{"model":"qwen","temperature":Infinity}',
        b'{"model":"qwen","n":01}',
        b'{"model":"qwen","messages":"\x01"}',
        b'{"model":"qwen","messages":"a\nb"}',
        b'{"model":"qw\xffen"}',
        b'{"model":"qwen","messages":"\xff"}',
        b'{"model":"qwen","\xff":1}',
        b'{"model":"qwen","messages":"\xed\xa0\x80"}',
        b'{"model":"qwen","messages":"\\ud800"}',
        b"{'model':'qwen'}",
        b"[" * 100_000,
        b'{"x":' + b"[" * 100_000,
        b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b',"model":"qwen"}',
    ],
)
def test_what_is_no_json_object_in_utf8_is_refused(text):
    assert refusal(text) == INVALID


@pytest.mark.parametrize(
    "text",
    [
        b"{}",
        b"{ }",
        b'{"messages":[]}',
        b'{"model":""}',
        b'{"model":null}',
        b'{"model":5}',
        b'{"model":["qwen"]}',
        b'{"model":"qwen","model":""}',
        b'{"Model":"qwen"}',
    ],
)
def test_a_body_has_to_name_its_model(text):
    assert refusal(text) == NO_MODEL


@pytest.mark.parametrize("value", ["true", 1, [], {}, 1.0])
def test_stream_has_to_be_a_boolean(value):
    assert refusal(stream=value) == ("invalid_json", "stream")


def test_of_two_models_or_streams_the_last_counts_as_for_vllm():
    text = b'{"model":"a","stream":true,"mod\\u0065l":"b","stream":false}'

    call = parsed(text)

    assert (call.model, call.stream) == ("b", False)
    assert json.loads(text) == {"model": "b", "stream": False}


def test_text_beyond_ascii_is_welcome_in_any_spelling():
    text = '{"model":"qwen","messages":[{"role":"user","content":"日本 é \\ud83d\\ude00 😀"}]}'

    assert parsed(text.encode()).model == "qwen"


# Nesting


def nested(levels: int, opener: str = "[") -> bytes:
    """A body that is ``levels`` deep, its own braces included."""
    inner = {"[": ("[", "]"), "{": ('{"a":', "}")}[opener]
    return f'{{"model":"qwen","x":{inner[0] * (levels - 1)}1{inner[1] * (levels - 1)}}}'.encode()


@pytest.mark.parametrize("opener", ["[", "{"])
def test_sixty_four_levels_pass_and_one_more_does_not(opener):
    assert parsed(nested(64, opener)).model == "qwen"
    assert refusal(nested(65, opener)) == INVALID


@pytest.mark.parametrize(
    "text",
    ["[" * 100, "{[" * 100, "]" * 100, '"[', '\\"[[[\\\\', "\\\\\\\\[{" * 40, '{"a": [' * 40],
)
def test_brackets_inside_texts_do_not_count(text):
    assert parsed(messages=[{"content": text}] * 70).model == "qwen"
    deep: object = [text]
    for _ in range(MAX_NESTING):
        deep = [deep, text]
    assert refusal(messages=deep) == INVALID


def test_many_siblings_are_not_deep():
    part = {"role": "user", "content": [{"type": "text", "text": 'say "[" \n'}] * 3}

    assert parsed(messages=[part] * 1000, tools=[[], {}, [[]]] * 100).model == "qwen"


def depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


TRICKY = st.text(alphabet='[]{}"\\,a', max_size=6)
BUSHY = st.recursive(
    TRICKY | st.integers(0, 3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(TRICKY, inner, max_size=4)
        | st.tuples(inner, st.integers(50, 66)).map(lambda pair: _wrapped(*pair))
        | st.tuples(inner, st.integers(60, 80)).map(lambda pair: [pair[0]] * pair[1])
    ),
    max_leaves=6,
)


def _wrapped(value: object, levels: int) -> object:
    for level in range(levels):
        value = [value, "]["] if level % 2 else {'"[': value}
    return value


@settings(max_examples=120, deadline=None)
@given(BUSHY, st.booleans())
def test_the_cheap_measure_of_depth_agrees_with_walking_the_document(value, compact):
    text = json.dumps(value, separators=(",", ":") if compact else None).encode()
    try:
        refuse_deep(text, structure_of(text))
        refused = False
    except WireError:
        refused = True

    assert refused == (depth(value) > MAX_NESTING)


# Long numbers


def padded(before: int, value: str) -> bytes:
    """A body with a value that begins at byte ``before``."""
    head = b'{"model":"qwen","x":"'
    return head + b"a" * (before - len(head) - 7) + b'","y": ' + value.encode() + b"}"


@pytest.mark.parametrize("before", [30, 4235, 4236, 4237, 100_003])
@pytest.mark.parametrize("sign", ["", "-", "0."])
def test_a_number_that_python_cannot_read_is_refused_wherever_it_stands(before, sign):
    digits = "9" * 4301
    with pytest.raises(WireError) as refused:
        wire.parse("/v1/completions", {}, padded(before, sign + digits))

    assert f"4300 digits (byte {before + len(sign)})" in refused.value.message
    assert parsed(padded(before, sign + digits[1:])).model == "qwen"
    assert parsed(padded(before, "[" + "1234567," * 2000 + "1]")).model == "qwen"


@pytest.mark.parametrize("quote", ['"', '\\"', "\\\\", '\\\\"\\'])
def test_digits_inside_texts_are_no_number(quote):
    text = quote + "9" * 5000 + quote

    assert parsed(messages=[{"content": text}] * 3).model == "qwen"
    body = json.dumps({"model": "qwen", "messages": [text, text], "n": 10**4299}).encode()
    assert refusal(body.replace(b"1000", b"10000")) == INVALID


# Numbers as vLLM reads them


@pytest.mark.parametrize("written", ["16", "16.0", '"16"', '"16.0"', "1.6e1"])
def test_a_number_counts_however_it_is_written(written):
    call = parsed(b'{"model":"qwen","max_tokens":%b,"n":%b}' % ((written.encode(),) * 2))

    assert (call.max_tokens, call.sequences) == (16, 16)


@pytest.mark.parametrize(
    "written",
    ["null", '"many"', "[]", "{}", "1e999", '"nan"', '"1e999"', "9" * 400, "9" * 4300, "-5", "0"],
)
def test_a_number_nobody_can_read_is_left_to_vllm(written):
    call = parsed(b'{"model":"qwen","max_tokens":%b}' % written.encode())

    assert call.max_tokens is None or call.max_tokens == 10**9
    assert wire.outgoing(call, 0).endswith(written.encode() + b"}")
