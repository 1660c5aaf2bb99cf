"""Whatever comes from outside, a parser answers or says what it promises to say."""

import json
from contextlib import suppress

from hypothesis import example, given
from hypothesis import strategies as st

from gateway import errors, headers, keys, vllm_errors
from gateway.auth import presented
from gateway.scrape import read_figures
from gateway.selfreport import read_models, read_server_info

NAMES = st.sampled_from(
    (
        "data", "id", "error", "message", "code", "param", "detail", "vllm_config", "policy",
        "scheduler_config", "max_num_seqs", "cache_config", "vllm_env",
    )
)  # fmt: skip
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(NAMES | st.text(max_size=3), inner, max_size=4)
    ),
)
BODIES = st.binary(max_size=60) | DOCUMENTS.map(lambda one: json.dumps(one).encode())
SERIES = st.sampled_from(
    (
        "vllm:num_requests_running",
        'vllm:num_requests_waiting_by_reason{reason="capacity"}',
        'vllm:cache_config_info{block_size="16",num_gpu_blocks="9"}',
        "vllm:kv_cache_usage_perc{}",
        "vllm:generation_tokens_total{engine=",
        "vllm:",
    )
)
NUMBERS = st.sampled_from((" 1.0", " NaN", " +Inf", " -Inf", " 1e400", " x", "", " -3"))
LINES = st.tuples(SERIES, NUMBERS).map("".join) | st.text(max_size=20)
SENT = st.dictionaries(
    st.sampled_from(
        ("authorization", "x-api-key", "x-laneway-deadline-ms", "x-request-id", "x-task-type")
    ),
    st.text(max_size=40),
)


@given(st.lists(LINES, max_size=6).map("\n".join))
def test_metrics_are_finite_numbers_or_no_metrics(text):
    try:
        scrape = read_figures(text, 1.0).scrape
    except ValueError:
        return

    assert all(abs(number) < float("inf") for number in scrape)


@given(DOCUMENTS)
@example({"vllm_config": {"scheduler_config": {"policy": ["fcfs"]}}})
def test_what_a_server_says_of_itself_is_read_or_passed_over(document):
    read_server_info(document)


@given(DOCUMENTS)
def test_models_have_names_or_there_are_none(document):
    try:
        assert all(isinstance(name, str) for name in read_models(document))
    except ValueError:
        assert not (isinstance(document, dict) and isinstance(document.get("data"), list))


@given(st.integers(400, 599), BODIES)
def test_whatever_a_server_refuses_with_becomes_one_of_our_answers(status, body):
    told = vllm_errors.from_vllm(status, body)

    assert 400 <= told.status < 600
    assert json.loads(told.body("openai", "r1"))["error"]["code"] == told.code
    assert 400 <= vllm_errors.status_in(body) < 600


@given(st.text(max_size=80) | st.text("lw_live0aZ", max_size=70))
def test_a_key_is_parsed_or_known_to_be_mistyped(text):
    try:
        parts = keys.parse(text)
    except keys.Mistyped:
        return

    assert parts is None or parts.whole == text


@given(SENT)
def test_headers_are_read_or_refused_as_such(sent):
    assert isinstance(presented(sent), str)
    assert headers.callers_own_id(sent) in ("", sent.get("x-request-id"))
    with suppress(errors.GatewayError):
        deadline_s = headers.deadline_s(sent)
        assert deadline_s is None or 0 < deadline_s <= 3_600
