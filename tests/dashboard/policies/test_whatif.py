"""Replaying recorded traffic under two policies: first of all, does it reproduce what happened."""

from random import Random

import pytest
from msgspec.structs import replace

from dashboard.policies.whatif import Machine, Recorded, Replay, verdict
from gateway.arrivals import MIXES, seeded
from gateway.core.engine import EngineConfig
from gateway.core.policy import default_policy
from gateway.core.simulator import Setup, simulate

TENANTS = ["acme", "birch", "cedar"]
POLICY = default_policy()
ENGINE = EngineConfig(max_num_seqs=24, max_num_batched_tokens=2048, kv_tokens=80_000)
MACHINE = Machine(
    {"gpu-1": EngineConfig(max_num_seqs=24, max_num_batched_tokens=2048, kv_tokens=80_000)},
    None,
    None,
)


def recorded(engine=ENGINE, policy=POLICY, for_s=90.0, rate=9.0):
    """What a gateway before ``engine`` would have written down."""
    arrivals = []
    for one in seeded(MIXES["overload"], rate, Random(4), TENANTS):
        if one.at_s > for_s:
            break
        arrivals.append(one)
    report = simulate(
        Setup(policy=policy, engines={"gpu-1": engine}, charges_quotas=True), arrivals
    )
    return [
        Recorded(
            at_s=arrival.at_s,
            tenant=arrival.tenant,
            task_type=arrival.task_type,
            prompt_tokens=arrival.prompt_tokens,
            output_tokens=arrival.output_tokens,
            stated=None,
            tier=one.tier,
            wait_s=report.queue_wait_s(one) if one.fate in ("completed", "expired") else None,
            served_s=None if one.finished_s is None else one.finished_s - one.dispatched_ms / 1000,
        )
        for arrival, one in zip(arrivals, report.outcomes, strict=True)
    ]


def quietly(share):
    pass


@pytest.fixture(scope="module")
def rows():
    return recorded()


def moved(task, tier):
    return replace(POLICY, task_types={**POLICY.task_types, task: tier})


def test_the_policy_in_force_reproduces_what_was_measured(rows):
    result = Replay(POLICY, POLICY, rows, MACHINE, quietly).result(as_recorded=True)

    assert result["error"] < 0.01
    assert result["trusted"]
    assert {row["verdict"] for row in result["tiers"]} == {"same"}
    assert result["flips"] == {"saved": 0, "lost": 0}
    assert result["confirm"] == []


def test_a_slower_server_is_found_and_matched():
    slow = EngineConfig(
        max_num_seqs=24, max_num_batched_tokens=2048, kv_tokens=80_000,
        step_base_s=9e-3, step_per_decoding_s=14e-6, step_per_prefill_token_s=32e-6,
    )  # fmt: skip
    rows = recorded(slow, rate=5.0, for_s=120)

    result = Replay(POLICY, POLICY, rows, MACHINE, quietly).result(as_recorded=True)

    assert result["error"] < 0.25


def test_a_server_that_is_not_like_the_model_shows_no_numbers(rows):
    odd = [one._replace(wait_s=(one.wait_s or 0) * 3 + 20) for one in rows]

    result = Replay(POLICY, POLICY, odd, MACHINE, quietly).result(as_recorded=True)

    assert not result["trusted"]


def test_winners_losers_and_outcomes_that_flip_are_told(rows):
    result = Replay(POLICY, moved("batch_inference", "background"), rows, MACHINE, quietly).result(
        as_recorded=True
    )

    tiers = {row["name"]: row for row in result["tiers"]}
    assert tiers["batch"]["was"]["n"] > 0
    assert tiers["batch"]["now"]["n"] == 0
    assert tiers["background"]["now"]["n"] > tiers["background"]["was"]["n"]
    assert [row["name"] for row in result["tiers"]] == [t.name for t in POLICY.by_urgency]
    assert sum(row["was"]["n"] for row in result["tenants"]) == result["n"] == len(rows)
    low, high = tiers["background"]["now_band"]
    assert low <= tiers["background"]["now"]["p95"] <= high


def test_a_top_tier_that_waits_twice_as_long_needs_a_typed_confirmation(rows):
    everything = dict.fromkeys(POLICY.task_types, "realtime")
    after = replace(POLICY, task_types=everything)

    result = Replay(POLICY, after, rows, MACHINE, quietly).result(as_recorded=True)

    assert any("more than twice as long" in one for one in result["confirm"])


def test_a_stated_priority_is_replayed_as_one(rows):
    stated = [one._replace(stated=-10, tier="background") for one in rows[:200]]

    result = Replay(POLICY, POLICY, stated, MACHINE, quietly).result(as_recorded=True)

    assert [row["name"] for row in result["tiers"]] == ["background"]


def test_it_can_be_stopped_and_tells_how_far_it_is(rows):
    heard = []

    def stop(share):
        heard.append(share)
        if share > 0.3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        Replay(POLICY, POLICY, rows, MACHINE, stop).result(as_recorded=True)

    assert heard[-1] == max(heard) < 0.5


def test_more_load_or_a_server_less_is_held_against_the_record_as_it_was(rows):
    two = Machine({"gpu-1": ENGINE, "gpu-2": ENGINE}, None, None)
    light = rows[::2]

    more = Replay(POLICY, POLICY, rows, MACHINE, quietly, load=1.5).result(as_recorded=False)
    less = Replay(POLICY, POLICY, light, two, quietly).result(as_recorded=False, lost="gpu-2")

    assert more["error"] < 0.01
    assert sum(row["was"]["p95"] for row in more["tiers"]) > 0
    assert less["n"] == len(light)


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [(1, 1, "same"), (0.01, 0.2, "same"), (10, 10.9, "same"), (10, 12, "worse"), (10, 8, "better")],
)
def test_a_change_that_nobody_feels_is_none(was, now, said):
    assert verdict(was, now) == said
