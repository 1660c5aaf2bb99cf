from collections import Counter
from itertools import count
from random import Random

import pytest
from msgspec.structs import replace

from gateway.arrivals import MIXES, Arrival, seeded
from gateway.core.engine import EngineConfig
from gateway.core.policy import Limits, Policy, TenantRules, Tier, default_policy
from gateway.core.simulator import Setup, simulate
from tests.core.traffic import SMALL, SMALL_FULL, backlog, poisson, together

POLICY = default_policy()


def ask(at_s: float, task_type: str = "chat", tenant: str = "acme", **tokens: int) -> Arrival:
    prompt, output = tokens.get("prompt", 1000), tokens.get("output", 100)
    return Arrival(at_s, tenant, task_type, prompt, output, stream=True)


def test_a_request_alone_waits_for_nothing_but_its_own_prompt():
    report = simulate(Setup(policy=POLICY), [ask(1.0)])

    one = report.outcomes[0]
    config = EngineConfig()
    prefill_s = config.step_base_s + 1000 * config.step_per_prefill_token_s
    assert (one.fate, one.tier, one.dispatched_ms) == ("completed", "realtime", 1_000)
    assert one.engine_wait_s == 0
    assert one.ttft_s == pytest.approx(prefill_s, abs=1e-6)
    assert one.finished_s - one.first_token_s == pytest.approx(99 * 6.5e-3, rel=0.02)


def test_equal_arrivals_give_equal_reports():
    def once():
        arrivals = seeded(MIXES["overload"], 20, Random(4), ["acme", "birch"])
        return simulate(Setup(policy=POLICY, engines=SMALL, until_s=40), arrivals)

    assert once() == once()


def test_every_request_meets_one_fate_and_takes_one_slot():
    arrivals = poisson(1, "acme", "chat", 30, 800, 200, 20)
    tiers = tuple(
        replace(tier, max_waiting=20, target_wait_s=0.5, max_wait_s=1) for tier in POLICY.tiers
    )

    report = simulate(Setup(policy=replace(POLICY, tiers=tiers), engines=SMALL), arrivals)

    fates = Counter(one.fate for one in report.outcomes)
    assert fates.total() == len(arrivals)
    assert fates.keys() == {"completed", "queue_full", "expired"}
    for one in report.outcomes:
        assert (one.dispatched_ms is not None) == (one.fate == "completed")
    assert report.samples[-1].in_flight == report.samples[-1].waiting == 0


def test_expired_requests_waited_as_long_as_their_tier_allows():
    flood = backlog(1, "ben", "chat", 2000, 500, 95)

    report = simulate(Setup(policy=POLICY, engines=SMALL, stored=4), flood)

    expired = [one for one in report.outcomes if one.fate == "expired"]
    assert expired
    assert {report.queue_wait_s(one) for one in expired} == {10.0}


def test_endless_arrivals_end_at_the_time_given():
    arrivals = (ask(at_s / 10) for at_s in count())

    report = simulate(Setup(policy=POLICY, until_s=5), arrivals)

    assert report.end_ms == 5_000
    assert 49 <= len(report.outcomes) <= 51
    assert report.outcomes[-1].fate in ("running", "waiting")


def test_arrivals_out_of_order_are_refused():
    with pytest.raises(ValueError, match="not in order of time"):
        simulate(Setup(policy=POLICY), [ask(2.0), ask(1.0)])


def test_what_no_engine_could_hold_is_turned_away_at_the_door():
    report = simulate(Setup(policy=POLICY, engines=SMALL), [ask(0.0, prompt=100_000), ask(1.0)])

    assert [one.fate for one in report.outcomes] == ["too_long", "completed"]


def test_a_task_type_is_placed_as_the_policy_says():
    report = simulate(
        Setup(policy=POLICY), [ask(0.0, "chat"), ask(0.1, "batch_inference"), ask(0.2, "poetry")]
    )

    assert [one.tier for one in report.outcomes] == ["realtime", "batch", "standard"]


def test_a_fixed_limit_is_never_passed_held_back_slots_included():
    arrivals = together(
        backlog(1, "acme", "summarize", 500, 100, 60), poisson(2, "birch", "chat", 4, 300, 60, 8)
    )

    report = simulate(Setup(policy=POLICY, engines=SMALL, fixed=10), arrivals)

    assert max(sample.in_flight for sample in report.samples) == 10
    assert max(sample.held_back for sample in report.samples) >= 2


def test_two_engines_share_the_work():
    engines = {"gpu-1": SMALL["gpu"], "gpu-2": SMALL["gpu"]}
    arrivals = backlog(1, "acme", "summarize", 500, 200, 900)
    alone = simulate(Setup(policy=POLICY, engines=SMALL, stored=SMALL_FULL, until_s=20), arrivals)

    both = simulate(Setup(policy=POLICY, engines=engines, stored=SMALL_FULL, until_s=20), arrivals)

    assert both.goodput_per_s(8, 20) == pytest.approx(2 * alone.goodput_per_s(8, 20), rel=0.05)


def test_the_limit_of_a_cold_engine_is_found():
    arrivals = backlog(1, "acme", "summarize", 500, 200, 600)

    report = simulate(Setup(policy=POLICY, engines=SMALL, until_s=20), arrivals)

    limits = [sample.base_limit for sample in report.samples]
    assert limits[0] == 8
    assert 32 <= limits[-1] <= 38


def test_an_engine_without_priorities_is_given_none():
    fcfs = {"gpu": EngineConfig(max_num_seqs=2, scheduling_policy="fcfs")}
    # All are let into the engine, where the urgent one then stands behind the others.
    arrivals = [ask(0.0, "batch_inference"), *(ask(0.1, "batch_inference") for _ in range(9))]
    arrivals.append(ask(0.2, "chat"))

    in_turn = simulate(Setup(policy=POLICY, engines=fcfs, fixed=50), arrivals)
    by_priority = {"gpu": EngineConfig(max_num_seqs=2)}
    first = simulate(Setup(policy=POLICY, engines=by_priority, fixed=50), arrivals)

    assert in_turn.outcomes[-1].engine_wait_s > 2 * first.outcomes[-1].engine_wait_s


def limited(on_excess: str) -> Policy:
    lane = Limits(requests_per_min=12, on_excess=on_excess)  # bursts of two
    return replace(POLICY, tenants={"acme": TenantRules(tier_limits={"realtime": lane})})


def test_quotas_are_charged_only_where_asked_for():
    arrivals = [ask(n / 10) for n in range(6)]

    free = simulate(Setup(policy=limited("reject")), arrivals)
    charged = simulate(Setup(policy=limited("reject"), charges_quotas=True), arrivals)

    assert free.tiers["realtime"].completed == 6
    assert charged.tiers["realtime"].completed == 2
    assert charged.tiers["realtime"].refused == 4


def test_a_spent_lane_demotes_where_the_policy_says_so():
    arrivals = [ask(n / 10) for n in range(6)]

    report = simulate(Setup(policy=limited("demote"), charges_quotas=True), arrivals)

    assert Counter(one.tier for one in report.outcomes) == {"realtime": 2, "critical": 4}


def test_costs_are_learned_from_what_came_back():
    arrivals = [ask(5.0 * n, output=20) for n in range(4)]

    report = simulate(Setup(policy=POLICY), arrivals)

    assert [one.cost for one in report.outcomes] == [1000 + 2 * 256, 1040, 1040, 1040]


def test_an_hour_of_steady_traffic_is_watched_through():
    policy = Policy(
        tiers=(
            Tier(name="standard", priority=0, target_wait_s=60, max_wait_s=300, max_waiting=1000),
        ),
        default_tier="standard",
    )
    arrivals = poisson(1, "acme", "summarize", 0.2, 500, 100, 3_600)

    report = simulate(Setup(policy=policy, engines=SMALL), arrivals)

    assert report.tiers["standard"].completed == len(arrivals)
    assert report.end_ms > 3_500_000
