"""What a request says of itself, in the body and in headers."""

import pytest

from gateway.core.policy import Alias
from tests.support.calls import parsed, refusal


def said(headers: dict[str, str] | None = None, text: bytes | None = None, **fields: object):
    return parsed(text, headers=headers, **fields).statement


def with_priority(written: str) -> bytes:
    return b'{"model":"qwen","priority": %b }' % written.encode()


# priority


@pytest.mark.parametrize(
    ("written", "read"), [("5", 5), ("-10", -10), ("0", 0), ("-0", 0), ("999", 999), ("null", None)]
)
def test_the_bodys_priority_is_a_whole_number_of_any_size(written, read):
    assert said(text=with_priority(written)).priority == read


@pytest.mark.parametrize("digits", [20, 400, 4000])
def test_a_priority_of_many_digits_keeps_its_sign(digits):
    assert said(text=with_priority("9" * digits)).priority > 10
    assert said(text=with_priority("-" + "9" * digits)).priority < -10


@pytest.mark.parametrize("written", ["1.5", "2.0", "1e3", '"5"', '"high"', "true", "[5]", "{}"])
def test_another_kind_of_priority_is_refused(written):
    assert refusal(with_priority(written)) == ("invalid_priority", "priority")


def test_of_two_priorities_the_last_is_read():
    assert said(text=b'{"model":"q","priority":"x","prio\\u0072ity":4}').priority == 4


def test_an_absent_priority_says_nothing():
    assert said().priority is None


@pytest.mark.parametrize(("written", "read"), [("5", 5), (" -3 ", -3), ("+7", 7), ("", None)])
def test_the_header_says_the_same_for_strict_clients(written, read):
    assert said({"x-laneway-priority": written}).priority == read


@pytest.mark.parametrize("written", ["high", "1.5", "2.0", "٣", "1_0", "0x3", "--1", "null"])
def test_a_header_that_is_no_whole_number_is_refused(written):
    headers = {"x-laneway-priority": written}

    assert refusal(headers=headers) == ("invalid_priority", "x-laneway-priority")


def test_the_body_comes_before_the_header():
    headers = {"x-laneway-priority": "9"}

    assert said(headers, priority=-1).priority == -1
    assert said(headers, priority=None).priority == 9


# service_tier


@pytest.mark.parametrize("tier", ["priority", "flex", "auto", "default", "gold", ""])
def test_service_tier_is_told_as_it_stands(tier):
    assert said(service_tier=tier).service_tier == tier


@pytest.mark.parametrize("tier", [None, 5, True, ["flex"], {"a": 1}])
def test_a_service_tier_that_is_no_name_says_nothing(tier):
    assert said(service_tier=tier).service_tier is None


# Task type


def test_the_task_type_header_ignores_case():
    assert said({"x-task-type": "Code_Generation"}).task_type == "code_generation"


@pytest.mark.parametrize("written", ["a b", "x" * 65, "chat;", "é", "chat\n", " "])
def test_a_malformed_task_type_header_is_refused(written):
    assert refusal(headers={"x-task-type": written}) == ("invalid_header", "x-task-type")


def test_sixty_four_characters_of_a_task_type_are_fine():
    assert said({"x-task-type": "a.B-_" + "9" * 59}).task_type == "a.b-_" + "9" * 59


def test_metadata_can_name_the_task_type_and_the_header_comes_first():
    metadata = {"task_type": "Summarize", "other": "x"}

    assert said(metadata=metadata).task_type == "summarize"
    assert said({"x-task-type": "chat"}, metadata=metadata).task_type == "chat"
    assert said({"x-task-type": ""}, metadata=metadata).task_type == "summarize"


@pytest.mark.parametrize(
    "metadata", [None, "chat", ["chat"], {}, {"task_type": 5}, {"task_type": "a b"}]
)
def test_metadata_that_names_no_task_type_says_nothing(metadata):
    assert said(metadata=metadata).task_type is None


# Other gateways' headers


@pytest.mark.parametrize(
    ("header", "value", "alias"),
    [
        ("x-llm-d-inference-objective", "Critical", Alias("x-llm-d-inference-objective", None, "critical")),
        ("x-gateway-inference-objective", "chat", Alias("x-gateway-inference-objective", None, "chat")),
        ("x-dynamo-inference-objective", "batch", Alias("x-dynamo-inference-objective", None, "batch")),
        ("x-smg-priority", "system", Alias("x-smg-priority", None, "realtime")),
        ("x-smg-priority", "Interactive", Alias("x-smg-priority", None, "critical")),
        ("x-smg-priority", "default", Alias("x-smg-priority", None, "standard")),
        ("x-smg-priority", "bulk", Alias("x-smg-priority", None, "batch")),
        ("x-dynamo-request-strict-priority", "3", Alias("x-dynamo-request-strict-priority", 3)),
        ("x-dynamo-request-priority", "-4", Alias("x-dynamo-request-priority", -4)),
        ("x-request-priority", "4", Alias("x-request-priority", -4)),
        ("x-request-priority", "-9", Alias("x-request-priority", 9)),
    ],
)  # fmt: skip
def test_headers_of_other_gateways_are_understood(header, value, alias):
    assert said({header: value}).alias == alias


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("x-smg-priority", "gold"),
        ("x-request-priority", "high"),
        ("x-dynamo-request-priority", "1.5"),
        ("x-llm-d-inference-objective", " "),
        ("x-llm-d-inference-fairness-id", "someone"),
        ("x-slo-ttft-ms", "100"),
        ("x-vllm-priority", "-999"),
    ],
)
def test_a_header_nobody_can_read_is_no_statement(header, value):
    assert said({header: value}).alias is None


def test_dynamos_hints_in_the_body_are_understood():
    assert said(nvext={"agent_hints": {"priority": 5}}).alias == Alias("nvext.agent_hints", 5)
    both = {"agent_hints": {"priority": 5, "strict_priority": 1}}
    assert said(nvext=both).alias == Alias("nvext.agent_hints", 1)


@pytest.mark.parametrize(
    "nvext",
    [
        *(None, 5, {}, {"agent_hints": []}, {"agent_hints": {"priority": "5", "osl": 3}}),
        {"agent_hints": {"priority": True}},
    ],
)
def test_other_hints_are_no_statement(nvext):
    assert said(nvext=nvext).alias is None


def test_of_several_aliases_the_first_readable_one_counts():
    headers = {
        "x-request-priority": "1",
        "x-dynamo-request-priority": "2",
        "x-smg-priority": "gold",
    }

    assert said(headers).alias == Alias("x-dynamo-request-priority", 2)
    assert said({**headers, "x-smg-priority": "bulk"}).alias == Alias(
        "x-smg-priority", None, "batch"
    )
