"""The way in: what a request means, and what vLLM gets of it."""

import json

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.core import wire
from gateway.core.policy import Statement
from tests.support.calls import CHAT, body, parsed, refusal

REMOVED = (
    "priority",
    "service_tier",
    "request_id",
    "session_id",
    "data_parallel_rank",
    "vllm_xargs",
)


def vllm_reads(call: wire.Call, number: int = -7) -> dict[str, object]:
    """What Python's json, which is vLLM's, finds in the outgoing body."""
    document = json.loads(wire.outgoing(call, number))
    assert isinstance(document, dict)
    return document


def expected(call: wire.Call, number: int = -7) -> dict[str, object]:
    """The original as vLLM would read it, and the few changes that are meant."""
    document = json.loads(call.body)
    for name in REMOVED:
        document.pop(name, None)
    kind = wire.ENDPOINTS[call.endpoint]
    if kind.priority_in_body:
        document["priority"] = number
    if call.stream and kind.adds_usage:
        options = document.get("stream_options") or {}
        if isinstance(options, dict) and not call.wants_usage:
            document["stream_options"] = {**options, "include_usage": True}
    return document


# What a call says


def test_a_plain_chat_request_is_understood():
    text = body(stream=True, max_tokens=200)

    call = parsed(text)

    assert call.model == "qwen"
    assert call.stream is True
    assert call.body == text
    assert call.statement == Statement(endpoint=CHAT)
    assert (call.sequences, call.max_tokens, call.wants_usage) == (1, 200, False)
    assert not call.rewrite


@pytest.mark.parametrize(
    ("fields", "stream"),
    [({}, False), ({"stream": None}, False), ({"stream": False}, False), ({"stream": True}, True)],
)
def test_stream_is_what_the_body_says(fields, stream):
    assert parsed(**fields).stream is stream


def test_an_endpoint_that_cannot_stream_does_not():
    call = parsed(endpoint="/v1/embeddings", input="a", stream=True)

    assert call.stream is False
    assert "stream_options" not in vllm_reads(call)


@pytest.mark.parametrize("asked", [True, 1, "true", "True", "yes"])
def test_usage_is_wanted_however_vllm_would_understand_it(asked):
    assert parsed(stream=True, stream_options={"include_usage": asked}).wants_usage


@pytest.mark.parametrize(
    "options", [None, {}, {"include_usage": False}, {"include_usage": None}, "yes", [True], 1]
)
def test_usage_is_not_wanted_otherwise(options):
    assert not parsed(stream=True, stream_options=options).wants_usage


@pytest.mark.parametrize("name", ["kv_transfer_params", "ec_transfer_params"])
def test_transfer_parameters_are_refused_but_null_is_none(name):
    assert refusal(**{name: {"do_remote_prefill": True}}) == ("unsupported_parameter", name)
    assert refusal(**{name: {}}) == ("unsupported_parameter", name)
    assert parsed(**{name: None}).model == "qwen"


@pytest.mark.parametrize("value", [True, "true", 1])
def test_background_is_refused_on_responses(value):
    said = refusal(endpoint="/v1/responses", input="Hi", background=value)

    assert said == ("unsupported_parameter", "background")


def test_background_means_nothing_elsewhere_nor_when_false():
    assert parsed(background=True).model == "qwen"
    assert parsed(endpoint="/v1/responses", input="Hi", background=False).model == "qwen"


# What vLLM gets


def test_a_body_without_special_fields_is_spliced_and_not_rebuilt():
    text = b'\n { "model":"qwen", "messages" : [ ], "temperature":1.0e-0 }'

    sent = wire.outgoing(parsed(text), -5)

    assert sent == b'\n {"priority":-5, "model":"qwen", "messages" : [ ], "temperature":1.0e-0 }'


def test_a_stream_without_options_is_spliced_as_well():
    sent = wire.outgoing(parsed(b'{"model":"qwen","stream":true}'), 10)

    assert sent == (
        b'{"priority":10,"stream_options":{"include_usage":true},"model":"qwen","stream":true}'
    )


def test_a_rewritten_body_keeps_order_and_the_bytes_of_every_other_value():
    text = (
        b'{"model":"qwen", "temperature": 1.50e0,"priority":3,"seed":123456789012345678901234567890,'
        b'"messages":[ {"content":"\\u00e9\xc3\xa9\\/"} ],"session_id":"s","top_p":1.0}'
    )

    sent = wire.outgoing(parsed(text), -3)

    assert sent == (
        b'{"priority":-3,"model":"qwen","temperature":1.50e0,"seed":123456789012345678901234567890,'
        b'"messages":[ {"content":"\\u00e9\xc3\xa9\\/"} ],"top_p":1.0}'
    )


@pytest.mark.parametrize(
    "member",
    [
        b'"priority":-999',
        b'"priority":null',
        b'"priority":9,"priority":-999',
        b'"priority":"x","priority":null',
        b'"prio\\u0072ity":-999',
        b'"\\u0070riority":-999,"priority":1',
        b'"priority": 99999999999999999999999999',
    ],
)
def test_no_priority_of_the_client_reaches_vllm(member):
    for text in (
        b'{"model":"qwen",' + member + b"}",
        b'{ %b , "model":"qwen"}' % member,
        b'{"model":"qwen",' + member + b',"stream":true}',
    ):
        assert vllm_reads(parsed(text), 5)["priority"] == 5
        assert wire.outgoing(parsed(text), 5).count(b"iority") == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("service_tier", "flex"),
        ("service_tier", None),
        ("request_id", "other-tenants"),
        ("session_id", "s"),
        ("data_parallel_rank", 3),
        ("vllm_xargs", {"a": 1}),
    ],
)
def test_what_must_not_reach_vllm_is_removed_on_every_endpoint(field, value):
    for endpoint in wire.ENDPOINTS:
        call = parsed(endpoint=endpoint, **{field: value})
        assert field not in vllm_reads(call)
        assert vllm_reads(call) == expected(call)


def test_cache_salt_passes_because_it_only_narrows_who_shares_a_cache():
    assert vllm_reads(parsed(cache_salt="mine"))["cache_salt"] == "mine"


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({"include_usage": False}, {"include_usage": True}),
        ({"continuous_usage_stats": True}, {"continuous_usage_stats": True, "include_usage": True}),
        ({}, {"include_usage": True}),
        (None, {"include_usage": True}),
        ({"include_usage": True, "x": 1}, {"include_usage": True, "x": 1}),
        ("nonsense", "nonsense"),  # vLLM's to refuse
        ([1], [1]),
    ],
)
def test_a_stream_asks_vllm_for_usage_and_keeps_its_other_options(options, sent):
    assert vllm_reads(parsed(stream=True, stream_options=options))["stream_options"] == sent


def test_stream_options_without_a_stream_are_vllms_business():
    assert vllm_reads(parsed(stream_options={"a": 1}))["stream_options"] == {"a": 1}


@pytest.mark.parametrize("endpoint", ["/v1/responses", "/v1/messages"])
def test_streams_that_carry_usage_anyway_are_not_asked_for_it(endpoint):
    assert "stream_options" not in vllm_reads(parsed(endpoint=endpoint, stream=True))
    said = vllm_reads(parsed(endpoint=endpoint, stream=True, stream_options={"a": 1}))
    assert said["stream_options"] == {"a": 1}


@pytest.mark.parametrize(
    "endpoint", ["/v1/messages", "/v1/messages/count_tokens", "/tokenize", "/detokenize"]
)
def test_endpoints_without_a_priority_field_get_none(endpoint):
    text = body()

    assert wire.outgoing(parsed(text, endpoint=endpoint), -5) == text
    assert "priority" not in vllm_reads(parsed(endpoint=endpoint, priority=5))


def test_more_urgent_is_a_lower_number_for_vllm():
    assert wire.vllm_priority(8, scheduled_by_priority=True) == -8
    assert wire.vllm_priority(-10, scheduled_by_priority=True) == 10
    assert wire.vllm_priority(8, scheduled_by_priority=False) == 0


# For all bodies

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
NAMES = st.sampled_from(
    (
        *("model", "stream", "stream_options", "messages", "prompt", "input", "n", "metadata"),
        *("nvext", "max_tokens", "documents", "background", "best_of", "system"),
        *REMOVED,
    )
)
LIKELY = (
    st.just("qwen")
    | st.booleans()
    | st.integers(-20, 40)
    | st.fixed_dictionaries({"include_usage": JSON})
)


@st.composite
def spelled(draw, name):
    """A JSON string for ``name``, some characters of it escaped."""
    escaped = draw(st.sets(st.integers(0, len(name))))
    return '"' + "".join(
        f"\\u{ord(char):04x}" if place in escaped and ord(char) < 0x10000 else json.dumps(char)[1:-1]
        for place, char in enumerate(name)
    ) + '"'  # fmt: skip


@st.composite
def documents(draw):
    """The text of an object, with members twice, odd spellings and odd types."""
    members = ['"model":"qwen"'] * draw(st.integers(0, 1))
    for _ in range(draw(st.integers(0, 6))):
        name = draw(spelled(draw(NAMES | st.text(max_size=4))))
        gap = draw(st.sampled_from(("", " ", "\n\t")))
        value = json.dumps(draw(LIKELY | JSON), ensure_ascii=draw(st.booleans()))
        members.append(f"{name}{gap}:{gap}{value}{gap}")
    order = draw(st.permutations(members))
    return (draw(st.sampled_from(("", " \r\n"))) + "{" + ",".join(order) + "}").encode(
        "utf-8", "surrogatepass"
    )


@settings(max_examples=150, deadline=None)
@given(documents(), st.sampled_from(sorted(wire.ENDPOINTS)), st.integers(-10, 10))
@example(b'{"model":"qwen","stream":true,"stream_options":{"include_usage":false}}', CHAT, 3)
def test_vllm_reads_the_original_but_for_what_was_meant_to_change(text, endpoint, number):
    try:
        call = wire.parse(endpoint, {}, text)
    except wire.WireError:
        return

    assert vllm_reads(call, number) == expected(call, number)


@settings(max_examples=120, deadline=None)
@given(st.binary() | documents(), st.sampled_from(sorted(wire.ENDPOINTS)), st.data())
def test_only_a_wire_error_escapes(text, endpoint, data):
    cut = data.draw(st.integers(0, len(text)))
    junk = data.draw(st.binary(max_size=3))
    headers = data.draw(
        st.dictionaries(
            st.sampled_from(("x-laneway-priority", "x-task-type", "x-request-priority")), st.text()
        )
    )
    for candidate in (text, text[:cut] + junk + text[cut:], text[:cut]):
        try:
            call = wire.parse(endpoint, headers, candidate)
        except wire.WireError:
            continue
        assert msgspec.json.decode(wire.outgoing(call, 1))


def test_every_endpoint_of_a_family_is_listed():
    queued = {path for path, kind in wire.ENDPOINTS.items() if kind.queued}

    assert queued == {
        *("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"),
        *("/v1/embeddings", "/pooling", "/classify", "/score", "/v1/score"),
        *("/rerank", "/v1/rerank", "/v2/rerank"),
    }
    assert {path for path in wire.ENDPOINTS if path not in queued} == {
        *("/tokenize", "/detokenize", "/v1/messages/count_tokens"),
    }
