"""The way back: whole events, usage found and hidden, the true service tier shown."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.replies import (
    HELD_BYTES,
    READ_BYTES,
    Usage,
    UsageReader,
    cost,
    service_tier_stamp,
    stamped,
    usage_of,
)


def compact(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def event(document: object, name: str = "") -> bytes:
    return (f"event: {name}\n" if name else "").encode() + b"data: " + compact(document) + b"\n\n"


def token(text: str, **fields: object) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return event({"id": "c", "object": "chat.completion.chunk", "choices": [choice]} | fields)


COUNTS = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 4},
}
COUNTED = Usage(11, 7, 4)
DONE = b"data: [DONE]\n\n"
USAGE = event({"id": "c", "object": "chat.completion.chunk", "choices": [], "usage": COUNTS})
CHAT = [
    event({"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}),
    token("Hel"),
    token('lo "usage" [DONE] \n\n data: {"error": {}}'),
    b": keep-alive\n\n",
    token("", finish_reason="stop"),
    USAGE,
    DONE,
]
COMPLETIONS = [
    event({"id": "c", "choices": [{"index": 0, "text": "Hi"}], "usage": None}),
    event({"id": "c", "choices": [{"index": 0, "text": "!"}], "usage": None}),
    USAGE,
    DONE,
]
RESPONSES = [
    event({"type": "response.created", "response": {"id": "r", "usage": None}}, "response.created"),
    event({"type": "response.output_text.delta", "delta": "Hi"}, "response.output_text.delta"),
    event(
        {
            "type": "response.completed",
            "response": {
                "id": "r",
                "service_tier": "auto",
                "tools": [{"parameters": {"usage": {"input_tokens": 0}}}],
                "usage": {
                    "input_tokens": 11,
                    "input_tokens_details": {"cached_tokens": 4},
                    "output_tokens": 7,
                },
            },
        },
        "response.completed",
    ),
]
MESSAGES = [
    event(
        {
            "type": "message_start",
            "message": {"id": "m", "usage": {"input_tokens": 11, "output_tokens": 0}},
        },
        "message_start",
    ),
    event({"type": "content_block_delta", "delta": {"text": "Hi"}}, "content_block_delta"),
    event(
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"input_tokens": 11, "output_tokens": 7, "cache_read_input_tokens": 4},
        },
        "message_delta",
    ),
    event({"type": "message_stop"}, "message_stop"),
]
STREAMS = {"openai": CHAT, "responses": RESPONSES, "anthropic": MESSAGES}


def shown(reader: UsageReader, chunks: list[bytes]) -> bytes:
    return b"".join([*(reader.feed(chunk) for chunk in chunks), reader.finish()])


def documents(text: bytes) -> list[dict[str, object]]:
    lines = text.replace(b"\r\n", b"\n").split(b"\n")
    return [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]


# What the engine tells of its own queue

TIMED = {"queue_time_ms": 1250.0, "mean_itl_ms": 6.5}


@pytest.mark.parametrize(
    ("metrics", "waited_s"),
    [(TIMED, 1.25), (None, None), ({}, None), ({"queue_time_ms": "long"}, None), ([1], None)],
)
def test_the_engine_s_own_wait_comes_with_the_usage_where_it_tells_it(metrics, waited_s):
    told = {"usage": COUNTS, "metrics": metrics}
    chat = UsageReader("openai", wants_usage=False)
    shown(chat, [event({"id": "c", "choices": [], **told}), DONE])
    responses = UsageReader("responses", wants_usage=True)
    shown(responses, [event({"type": "response.completed", "response": told})])

    for usage in (usage_of(json.dumps(told).encode()), chat.usage(), responses.usage()):
        assert usage == COUNTED._replace(engine_wait_s=waited_s)


# What passes


@pytest.mark.parametrize("family", STREAMS)
def test_a_stream_passes_unchanged_and_its_usage_is_read(family):
    reader = UsageReader(family, wants_usage=True)

    passed = [reader.feed(chunk) for chunk in STREAMS[family]]

    assert passed == STREAMS[family]
    assert reader.finish() == b""
    assert reader.usage() == COUNTED
    assert (reader.prompt_tokens, reader.completion_tokens, reader.cached_tokens) == COUNTED[:3]
    assert reader.saw_end
    assert reader.error is None


@pytest.mark.parametrize("stream", [CHAT, COMPLETIONS], ids=["chat", "completions"])
def test_the_usage_chunk_is_taken_out_for_who_did_not_ask(stream):
    reader = UsageReader("openai", wants_usage=False)

    passed = shown(reader, stream)

    assert passed == b"".join(part for part in stream if part is not USAGE)
    assert reader.usage() == COUNTED
    assert reader.saw_end


def test_the_usage_chunk_is_taken_out_of_the_middle_of_what_arrived():
    reader = UsageReader("openai", wants_usage=False)

    assert reader.feed(CHAT[1] + USAGE + DONE) == CHAT[1] + DONE


def test_usage_beside_a_choice_stays():
    chunk = token("Hi", usage=COUNTS)
    reader = UsageReader("openai", wants_usage=False)

    assert reader.feed(chunk) == chunk
    assert reader.usage() == COUNTED


def test_later_counts_replace_earlier_ones():
    reader = UsageReader("openai", wants_usage=True)
    for output in (1, 2, 3):
        reader.feed(token("x", usage={"prompt_tokens": 9, "completion_tokens": output}))

    assert reader.usage() == Usage(9, 3, None)


@pytest.mark.parametrize("count", ["-1", "2147483648", "9" * 40, "1e400", '"7"', "7.5"])
def test_counts_that_cannot_be_are_not_believed(count):
    answer = b'{"usage": {"prompt_tokens": 3, "completion_tokens": %b}}' % count.encode()

    assert usage_of(answer) == Usage()


def test_without_usage_the_output_is_counted_as_it_passes():
    reader = UsageReader("openai", wants_usage=False)
    reader.feed(CHAT[1] + CHAT[2])
    reader.feed(CHAT[1])

    assert reader.usage() == Usage(None, 3, None)
    assert reader.completion_tokens is None
    messages = UsageReader("anthropic", wants_usage=False)
    assert shown(messages, MESSAGES[:2] + MESSAGES[1:2])
    assert messages.usage() == Usage(11, 2, None)
    responses = UsageReader("responses", wants_usage=False)
    assert shown(responses, RESPONSES[:2])
    assert responses.usage() == Usage(None, 1, None)


# Whole events


@pytest.mark.parametrize("family", STREAMS)
@pytest.mark.parametrize("ends", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_however_the_bytes_arrive_whole_events_pass(family, ends, data):
    events = [part.replace(b"\n", ends) for part in STREAMS[family]]
    text = b"".join(events)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(text) - 1), max_size=12)))
    reader = UsageReader(family, wants_usage=False)
    arrived, passed = 0, b""

    for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        passed += reader.feed(text[begin:end])
        arrived = end
        complete = [sum(map(len, events[:count])) for count in range(len(events) + 1)]
        due = max(count for count in range(len(events) + 1) if complete[count] <= arrived)
        hidden = USAGE.replace(b"\n", ends)
        assert passed == b"".join(part for part in events[:due] if part != hidden)

    assert reader.finish() == b""
    assert reader.usage() == COUNTED
    assert reader.saw_end


def test_a_stream_byte_by_byte_is_the_same():
    text = b"".join(CHAT)
    reader = UsageReader("openai", wants_usage=True)

    assert shown(reader, [text[i : i + 1] for i in range(len(text))]) == text
    assert reader.usage() == COUNTED


def test_line_ends_may_differ_within_a_stream():
    reader = UsageReader("openai", wants_usage=False)
    strange = CHAT[1].replace(b"\n\n", b"\r\n\r\n")

    assert reader.feed(CHAT[1] + strange + USAGE) == CHAT[1] + strange
    assert reader.feed(strange + CHAT[1] + USAGE + strange) == strange + CHAT[1] + strange


def test_several_events_that_arrived_together_leave_together():
    reader = UsageReader("openai", wants_usage=True)

    assert reader.feed(CHAT[1] + CHAT[2] + CHAT[1][:20]) == CHAT[1] + CHAT[2]
    assert reader.feed(CHAT[1][20:]) == CHAT[1]


def test_an_end_without_its_blank_line_is_an_end():
    reader = UsageReader("openai", wants_usage=True)

    assert reader.feed(CHAT[1] + b"data: [DONE]") == CHAT[1]
    assert not reader.saw_end
    assert reader.finish() == b"data: [DONE]"
    assert reader.saw_end


def test_half_an_event_is_no_end():
    reader = UsageReader("openai", wants_usage=True)
    reader.feed(CHAT[1] + b'data: {"choices":[{"delta":{"content":"[DONE]')
    reader.finish()

    assert not reader.saw_end


def test_an_endless_event_passes_beyond_what_is_held():
    reader = UsageReader("openai", wants_usage=True)
    half = b"data: " + b"x" * HELD_BYTES

    assert reader.feed(half[:HELD_BYTES]) == b""
    assert reader.feed(half[HELD_BYTES:]) == half
    assert reader.feed(b"yy") == b"yy"
    assert reader.feed(b"z\n\n" + CHAT[1]) == b"z\n\n" + CHAT[1]


def test_what_has_left_of_an_endless_event_is_not_repeated_at_the_end():
    reader = UsageReader("openai", wants_usage=True)
    endless = b"data: " + b"x" * HELD_BYTES

    assert reader.feed(endless) == endless
    assert reader.feed(b"yy") == b"yy"
    assert reader.finish() == b""


def test_a_long_last_event_is_read_although_it_had_to_leave_in_parts():
    reader = UsageReader("responses", wants_usage=False, stamp="flex")
    last = json.loads(RESPONSES[2].split(b"data: ")[1])
    last["response"]["output"] = "x" * (3 * HELD_BYTES)
    text = event(last, "response.completed") + b": bye\n\n"

    passed = shown(reader, [text[i : i + 1000] for i in range(0, len(text), 1000)])

    assert passed == text
    assert reader.usage() == COUNTED
    assert reader.saw_end


def test_what_is_kept_of_an_endless_event_is_bounded():
    reader = UsageReader("openai", wants_usage=True)
    piece = b"x" * (1024 * 1024)
    total = sum(len(reader.feed(piece)) for _ in range(20))

    assert total == 20 * len(piece)
    assert len(reader._held) <= READ_BYTES


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(STREAMS)),
    st.lists(st.binary(max_size=30) | st.sampled_from(CHAT + RESPONSES + MESSAGES), max_size=6),
    st.none() | st.just("flex"),
)
def test_nothing_that_arrives_is_lost_or_raises(family, chunks, stamp):
    reader = UsageReader(family, wants_usage=True)
    stamping = UsageReader(family, wants_usage=False, stamp=stamp)

    assert shown(reader, chunks) == b"".join(chunks)
    shown(stamping, chunks)


# Ends and errors


@pytest.mark.parametrize("kind", ["completed", "incomplete", "failed"])
def test_responses_end_in_three_ways(kind):
    reader = UsageReader("responses", wants_usage=False)
    reader.feed(event({"type": f"response.{kind}", "response": {"id": "r"}}, f"response.{kind}"))

    assert reader.saw_end


def test_a_text_about_the_end_is_no_end():
    for family, text in (("openai", token('[DONE]"')), ("anthropic", token('"message_stop"'))):
        reader = UsageReader(family, wants_usage=False)
        assert reader.feed(text) == text
        assert not reader.saw_end


@pytest.mark.parametrize(
    ("family", "chunk"),
    [
        ("openai", event({"error": {"message": "boom", "code": 500}})),
        ("openai", token("x") + event({"error": {"message": "boom", "code": 500}}) + DONE),
        ("openai", event({"error": {"message": "boom", "code": 500}})[:-2]),
        ("anthropic", event({"type": "error", "error": {"message": "boom", "code": 500}}, "error")),
        ("responses", event({"type": "error", "error": {"message": "boom", "code": 500}}, "error")),
    ],
)
@pytest.mark.parametrize("cut", [1, 5, 100_000])
def test_an_error_event_is_kept_with_all_that_follows(family, chunk, cut):
    before = chunk[: chunk.index(b"error") - len(b'data: {"')] if b"x" in chunk else b""
    reader = UsageReader(family, wants_usage=False)

    pieces = [chunk[n : n + cut] for n in range(0, len(chunk), cut)]
    assert b"".join(map(reader.feed, pieces)) + reader.finish() == before
    assert json.loads(reader.error or b"") == {"message": "boom", "code": 500}


def test_an_error_event_without_an_error_object_is_one_too():
    reader = UsageReader("responses", wants_usage=False)
    reader.feed(event({"type": "error", "code": "x", "message": "boom"}, "error"))

    assert json.loads(reader.error or b"")["message"] == "boom"


@pytest.mark.parametrize("family", STREAMS)
def test_no_error_is_no_error(family):
    reader = UsageReader(family, wants_usage=False)
    reader.feed(event({"type": "x", "choices": [], "error": None}))

    assert reader.error is None


# The stamp


@pytest.mark.parametrize(
    ("priority", "stamp", "anthropic"),
    [
        (10, "priority", "priority"),
        (8, "priority", "priority"),
        (7, "default", "standard"),
        (0, "default", "standard"),
        (-1, "flex", "batch"),
        (-10, "flex", "batch"),
    ],
)
def test_the_stamp_follows_the_tiers_priority(priority, stamp, anthropic):
    assert service_tier_stamp(priority, "openai") == stamp
    assert service_tier_stamp(priority, "responses") == stamp
    assert service_tier_stamp(priority, "anthropic") == anthropic


@pytest.mark.parametrize("wanted", [True, False])
def test_chat_shows_the_stamp_in_the_first_chunk_and_the_usage_chunk(wanted):
    reader = UsageReader("openai", wants_usage=wanted, stamp="flex")

    passed = shown(reader, [b": queued\n\n", *CHAT])

    tiers = [said.get("service_tier") for said in documents(passed)]
    assert tiers == ["flex", None, None, None] + ["flex"] * wanted
    assert passed.startswith(b": queued\n\ndata: {")
    assert passed.count(b"\n\n") == len(CHAT) + 1 - (not wanted)


def test_responses_show_the_stamp_wherever_the_response_object_is():
    reader = UsageReader("responses", wants_usage=False, stamp="flex")

    said = documents(shown(reader, RESPONSES))

    assert said[0]["response"] == {"id": "r", "usage": None, "service_tier": "flex"}
    assert said[1] == documents(RESPONSES[1])[0]
    assert said[2]["response"]["service_tier"] == "flex"  # type: ignore[index]
    assert said[2]["response"]["usage"]["output_tokens"] == 7  # type: ignore[index]


def test_messages_show_the_stamp_in_the_usage_of_their_start():
    reader = UsageReader("anthropic", wants_usage=False, stamp="batch")

    passed = shown(reader, MESSAGES)

    start = documents(passed)[0]["message"]
    assert start["usage"] == {"input_tokens": 11, "output_tokens": 0, "service_tier": "batch"}  # type: ignore[index]
    assert passed.endswith(b"".join(MESSAGES[1:]))


@pytest.mark.parametrize("family", ["openai", "responses"])
def test_a_plain_answer_shows_the_stamp_and_nothing_else_changes(family):
    body = b'{ "id":"c","service_tier":null,"n": 1.50, "usage":{"prompt_tokens":1} }'

    said = stamped(body, family, "priority")

    assert said == (b'{"id":"c","service_tier":"priority","n":1.50,"usage":{"prompt_tokens":1}}')
    assert json.loads(stamped(b'{"id":"c"}', family, "flex")) == {"id": "c", "service_tier": "flex"}


def test_a_plain_message_shows_it_in_its_usage():
    body = b'{"id":"m","usage":{"input_tokens":1}}'

    said = json.loads(stamped(body, "anthropic", "standard"))

    assert said == {"id": "m", "usage": {"input_tokens": 1, "service_tier": "standard"}}


@pytest.mark.parametrize(
    ("body", "family", "stamp"),
    [
        (b'{"id": 1}', "openai", None),
        (b'{"id": 1}', "pooling", "flex"),
        (b'{"id": 1}', "anthropic", "batch"),
        (b'{"usage":null}', "anthropic", "batch"),
        (b"[1]", "openai", "flex"),
        (b"no JSON", "openai", "flex"),
        (b"", "openai", "flex"),
        (b"[" * 10_000, "openai", "flex"),
    ],
)
def test_where_there_is_nothing_to_stamp_nothing_changes(body, family, stamp):
    assert stamped(body, family, stamp) == body


# Plain answers


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        ({"usage": COUNTS}, COUNTED),
        ({"usage": {"prompt_tokens": 3, "total_tokens": 3}}, Usage(3, None, None)),
        ({"usage": {"prompt_tokens": 3, "prompt_tokens_details": None}}, Usage(3, None, None)),
        ({"usage": {"input_tokens": 5, "output_tokens": 2}}, Usage(5, 2, None)),
        ({"usage": None}, Usage()),
        ({"usage": "many"}, Usage()),
        ({}, Usage()),
        ([], Usage()),
    ],
)
def test_the_usage_of_a_plain_answer_is_read_in_every_dialect(body, usage):
    assert usage_of(compact(body)) == usage


def test_an_unreadable_answer_has_no_usage():
    for body in (b"", b"{", b"\xff", b'{"usage":{"prompt_tokens":', b"[" * 10_000):
        assert usage_of(body) == Usage()


def test_cost_counts_output_twice_and_the_cached_prompt_not_at_all():
    assert cost(COUNTED, prompt_tokens=99) == 11 - 4 + 2 * 7
    assert cost(Usage(None, 3, None), prompt_tokens=99) == 99 + 2 * 3
    assert cost(Usage(5, None, 9), prompt_tokens=99) == 1
