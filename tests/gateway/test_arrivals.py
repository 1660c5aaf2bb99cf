from collections import Counter
from itertools import islice, takewhile
from pathlib import Path
from random import Random

import pytest

from gateway.arrivals import MIXES, Lengths, recorded, seeded
from gateway.core.policy import default_policy

TRACES = Path(__file__).parents[1] / "bench" / "traces"
TENANTS = ["acme", "birch", "cedar"]
HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


def within(mix, seconds, *, rate_per_s=5.0, seed=7):
    arrivals = seeded(MIXES[mix], rate_per_s, Random(seed), TENANTS)
    return list(takewhile(lambda arrival: arrival.at_s < seconds, arrivals))


def test_the_same_seed_gives_the_same_arrivals():
    assert within("demo", 300) == within("demo", 300)


def test_another_seed_gives_others():
    assert within("demo", 300) != within("demo", 300, seed=8)


@pytest.mark.parametrize("mix", MIXES)
def test_arrivals_come_in_order_of_time(mix):
    arrivals = within(mix, 1200)

    moments = [arrival.at_s for arrival in arrivals]
    assert moments == sorted(moments)
    assert moments[0] >= 0


@pytest.mark.parametrize("mix", MIXES)
def test_a_mix_keeps_its_rate_and_its_shares_in_the_long_run(mix):
    arrivals = within(mix, 4 * 3600)

    counted = Counter(arrival.task_type for arrival in arrivals)
    assert len(arrivals) / (4 * 3600) == pytest.approx(5, rel=0.05)
    for kind in MIXES[mix].kinds:
        assert counted[kind.task_type] / len(arrivals) == pytest.approx(kind.share, abs=0.02)


@pytest.mark.parametrize("mix", MIXES)
def test_every_task_type_of_a_mix_has_a_tier_in_the_default_policy(mix):
    assert {kind.task_type for kind in MIXES[mix].kinds} <= set(default_policy().task_types)


def test_at_three_times_the_capacity_urgent_work_alone_still_fits():
    arrivals = within("overload", 3600)

    urgent = [a for a in arrivals if a.task_type in ("chat", "code_generation")]
    share = sum(a.output_tokens for a in urgent) / sum(a.output_tokens for a in arrivals)
    assert 3 * share < 0.9


def test_the_demo_drops_a_batch_job_about_once_a_minute():
    batch = [a for a in within("demo", 600) if a.task_type == "batch_inference"]

    per_3_s = Counter(int(arrival.at_s // 3) for arrival in batch)
    drops = [moment for moment, count in per_3_s.items() if count >= 8]
    assert 8 <= len(drops) <= 24  # about ten drops, some of them in two windows


def test_a_drop_is_the_work_of_one_tenant():
    first = islice(seeded(MIXES["urgent-beside-backlog"], 10, Random(1), TENANTS), 500)

    dropped = [arrival for arrival in first if arrival.task_type == "batch_inference"]
    assert len(dropped) > 400
    assert len({arrival.tenant for arrival in dropped}) == 1


def test_the_demo_swings():
    minutes = Counter(int(a.at_s // 60) for a in within("demo", 1800) if a.task_type == "chat")

    assert max(minutes.values()) > 1.5 * min(minutes.values())


def test_the_first_tenant_asks_most():
    asked = Counter(arrival.tenant for arrival in within("overload", 3600))

    assert asked["acme"] > asked["birch"] > asked["cedar"] > 0


def test_lengths_have_their_median_and_their_bound():
    rng = Random(3)
    drawn = sorted(Lengths(500, 0.9, 2000).draw(rng) for _ in range(5_000))

    assert drawn[2_500] == pytest.approx(500, rel=0.06)
    assert drawn[0] >= 1
    assert drawn[-1] == 2000


def test_a_trace_becomes_arrivals_from_zero_on():
    lines = [HEADER, "2023-11-16 18:17:03.9799600,4808,10\n", "2023-11-16 18:17:05.9799600,90,0\n"]

    first, second = recorded(lines, Random(1), ["acme"], task_type="chat")

    assert first == (0.0, "acme", "chat", 4808, 10, True)
    assert second == (2.0, "acme", "chat", 90, 1, True)  # nothing generates no token at all


def test_a_trace_can_be_sped_up():
    lines = [HEADER, "2023-11-16 18:17:03,100,10\n", "2023-11-16 18:17:13,200,40\n"]

    _, last = recorded(lines, Random(1), ["a"], task_type="chat", speed=2)

    assert (last.at_s, last.prompt_tokens, last.output_tokens) == (5.0, 200, 40)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["TIMESTAMP,ContextTokens\n"], "no column GeneratedTokens"),
        ([], "no column ContextTokens, GeneratedTokens, TIMESTAMP"),
        ([HEADER, "2023-11-16 18:17:03,many,10\n"], "line 2"),
        ([HEADER, "yesterday,1,10\n"], "line 2"),
        ([HEADER, "2023-11-16 18:17:03,5\n"], "line 2"),
        ([HEADER, "2023-11-16 18:17:03,5,5\n", "2023-11-16 18:17:02,5,5\n"], "order of time"),
    ],
)
def test_a_malformed_trace_is_refused_with_its_line(lines, said):
    with pytest.raises(ValueError, match=said):
        recorded(lines, Random(1), ["acme"], task_type="chat")


@pytest.mark.parametrize("name", ["azure_2023_code.csv", "azure_2023_conv.csv"])
def test_the_traces_that_come_along_can_be_read(name):
    with (TRACES / name).open() as lines:
        arrivals = recorded(lines, Random(1), TENANTS, task_type="chat")

    assert len(arrivals) > 1_000
    assert 580 < arrivals[-1].at_s < 600
