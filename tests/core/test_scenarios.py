"""What the gateway promises, over simulated minutes: the real scheduler and capacity law before a
modelled vLLM, each promise with a control that must break it.

Presets are taken as they ship, but with caps and max waits out of the way: here everybody waits
for as long as it takes.
"""

from functools import cache

import pytest
from msgspec.structs import replace

from gateway.core.engine import EngineConfig
from gateway.core.policy import Ageing, Policy
from gateway.core.presets import preset
from gateway.core.report import Report, Spread, spread
from gateway.core.simulator import Setup, simulate
from tests.core.driving import steady
from tests.core.traffic import SMALL, SMALL_FULL, backlog, poisson, together


def patient(name: str) -> Policy:
    return steady(preset(name))


def run(policy: Policy, arrivals: list, until_s: float | None = None) -> Report:
    return simulate(
        Setup(policy=policy, engines=SMALL, stored=SMALL_FULL, until_s=until_s), arrivals
    )


# ------------------------------------------------------------------ starvation


def impatient(policy: Policy, share: float) -> Policy:
    """Targets so short that minutes show what the shipped ones show in half an hour."""
    targets = {"realtime": 2, "critical": 4, "standard": 10, "batch": 20, "background": 30}
    tiers = tuple(replace(tier, target_wait_s=targets[tier.name]) for tier in policy.tiers)
    return steady(replace(policy, tiers=tiers, rescue_share=share))


def urgent_overload(seed: int) -> list:
    """Urgent work alone is a little more than the engine does; the rest comes on top."""
    return together(
        poisson(seed, "acme", "chat", 7, 500, 200, 90),
        poisson(seed + 1, "birch", "code_generation", 12, 500, 200, 90),
        poisson(seed + 2, "cedar", "summarize", 3, 500, 200, 90),
        poisson(seed + 3, "dogwood", "batch_inference", 1.2, 900, 400, 90),
        poisson(seed + 4, "acme", "data_augmentation", 0.4, 3000, 600, 90),
    )


@pytest.mark.parametrize(
    ("name", "share"), [("classic", 0.1), ("guaranteed", 0.05), ("guaranteed", 0.1), ("fair", 0.2)]
)
def test_nobody_waits_past_the_starvation_bound(name, share):
    report = run(impatient(preset(name), share), urgent_overload(3), 150)

    bound = report.bound(share)
    print(f"{name}, share {share:g}: {bound}")  # noqa: T201  (pytest -s)
    assert bound.overdue > 300
    assert bound.violations == 0
    assert 0.25 < bound.worst_share <= 1


def test_strict_levels_break_the_starvation_bound():
    report = run(impatient(preset("strict"), 0.0), urgent_overload(3), 150)

    bound = report.bound(0.1)
    print(f"strict, held to a share of 0.1: {bound}")  # noqa: T201
    assert bound.violations > 50
    assert bound.worst_share > 5


def test_rescue_costs_the_most_urgent_little():
    policy = impatient(preset("fair"), 0.2)

    report = run(policy, urgent_overload(3), 90)

    assert report.tiers["realtime"].queue_wait.p95 < 1


# ------------------------------------------------------------------ fairness


def four_tenants() -> list:
    """Each wants more than a quarter of what there is, by 1.4 to 4 times; one asks often, one
    asks for much at once."""
    return together(
        poisson(1, "acme", "summarize", 20, 200, 40, 80),
        poisson(2, "birch", "summarize", 10, 600, 120, 80),
        poisson(3, "cedar", "summarize", 6, 1200, 300, 80),
        poisson(4, "dogwood", "summarize", 5, 2400, 500, 80),
    )


@pytest.mark.parametrize("name", ["guaranteed", "fair"])
def test_equal_tenants_get_equal_work_whatever_they_ask(name):
    report = run(patient(name), four_tenants(), 80)

    assert report.jain(10, 80) >= 0.99
    assert min(report.jain(at_s, at_s + 10) for at_s in range(10, 80, 10)) >= 0.98


def test_first_come_first_served_gives_most_to_who_asks_most():
    assert run(patient("fcfs"), four_tenants(), 80).jain(10, 80) < 0.95


def test_ageing_alone_keeps_tenants_equal_only_while_they_wait_alike():
    at_once = together(
        backlog(1, "acme", "summarize", 200, 40, 1_600),
        backlog(2, "birch", "summarize", 600, 120, 550),
        backlog(3, "cedar", "summarize", 1200, 300, 260),
        backlog(4, "dogwood", "summarize", 2400, 500, 150),
    )

    assert run(patient("classic"), at_once, 80).jain(10, 80) >= 0.98
    assert run(patient("classic"), four_tenants(), 80).jain(10, 80) < 0.98  # older heads rise


def mean_wait_s(report: Report, tenant: str) -> float:
    waits = [report.queue_wait_s(one) for one in report.outcomes if one.tenant == tenant]
    return sum(waits) / len(waits)


@cache
def beside_a_flooder(name: str) -> Report:
    arrivals = together(
        poisson(1, "tess", "summarize", 0.5, 500, 200, 150),
        poisson(2, "ben", "summarize", 25, 500, 200, 150),
    )
    return run(patient(name), arrivals)


@pytest.mark.parametrize("name", ["guaranteed", "fair"])
def test_a_small_tenant_beside_a_flooder_waits_a_thirtieth_of_its_turn_in_one_line(name):
    in_one_line_s = mean_wait_s(beside_a_flooder("fcfs"), "tess")

    assert in_one_line_s > 15
    assert mean_wait_s(beside_a_flooder(name), "tess") <= 0.03 * in_one_line_s


def test_a_flooder_waits_for_itself():
    fair = mean_wait_s(beside_a_flooder("guaranteed"), "ben")

    assert fair == pytest.approx(mean_wait_s(beside_a_flooder("fcfs"), "ben"), rel=0.1)


# ------------------------------------------------------------------ urgent work


def two_high_tiers(ageing: Ageing | None) -> list[float]:
    """Two high tiers that alone ask for half too much, the lower of them most of it.  Waits in
    the upper one, once the line has built up."""
    policy = patient("classic")
    high = {"realtime": 8, "critical": 5}
    tiers = tuple(
        replace(tier, priority=high.get(tier.name, tier.priority)) for tier in policy.tiers
    )
    arrivals = together(
        poisson(1, "acme", "chat", 6, 500, 200, 140),
        poisson(2, "birch", "code_generation", 21, 500, 200, 140),
        poisson(3, "cedar", "summarize", 3, 500, 200, 140),
    )
    report = run(replace(policy, tiers=tiers, ageing=ageing), arrivals, 140)
    return [
        report.queue_wait_s(one)
        for one in report.outcomes
        if one.tier == "realtime" and 80_000 <= one.arrived_ms < 110_000
    ]


def test_under_the_ceiling_two_overloaded_high_tiers_keep_their_order():
    waits = spread(two_high_tiers(Ageing()))

    print(f"realtime, ceiling +7: {waits}")  # noqa: T201
    assert waits.p50 <= 0.5
    assert waits.p99 <= 1.0


def test_without_the_ceiling_aged_work_passes_fresh_urgent_work():
    waits = spread(two_high_tiers(Ageing(ceiling=10)))

    print(f"realtime, no ceiling: {waits}")  # noqa: T201
    assert waits.p50 > 20


@cache
def three_times_too_much(name: str) -> Report:
    """Of 55 requests a second the engine does some 18."""
    arrivals = together(
        poisson(1, "acme", "chat", 3, 500, 200, 120),
        poisson(2, "birch", "code_generation", 3, 500, 200, 120),
        poisson(3, "acme", "summarize", 6, 500, 200, 120),
        poisson(4, "cedar", "batch_inference", 30, 500, 200, 120),
        poisson(5, "dogwood", "data_augmentation", 13, 500, 200, 120),
    )
    return run(patient(name), arrivals, 120)


def test_three_times_too_much_is_waited_for_by_those_who_can_wait():
    report = three_times_too_much("classic")

    served = sum(one.dispatched_ms is not None for one in report.outcomes)
    assert len(report.outcomes) > 2.9 * served
    for urgent in ("realtime", "critical"):
        assert report.tiers[urgent].queue_wait.p95 < 1
        assert report.tiers[urgent].ttft.p95 < 1
    assert report.tiers["batch"].queue_wait.p50 > 20
    assert report.tiers["background"].waiting > 1_400


def test_in_one_line_the_urgent_wait_with_everybody_else():
    report = three_times_too_much("fcfs")

    assert report.by(lambda one: one.task_type)["chat"].queue_wait.p50 > 20


def test_a_background_request_is_seen_to_age():
    rows = [row for row in three_times_too_much("classic").line.head if row.tier == "background"]

    oldest = max(rows, key=lambda row: row.waited_s)
    assert oldest.waited_s > 50
    assert (oldest.priority, oldest.aged, oldest.effective_priority) == (-10, 5, -5)


def test_without_ageing_a_background_request_stays_where_it_is():
    line = three_times_too_much("guaranteed").line

    assert {row.effective_priority for row in line.head if row.tier == "background"} == {-10}


# ------------------------------------------------------------------ goodput

ENGINE = {"gpu": EngineConfig(max_num_seqs=128, kv_tokens=400_000, scheduling_policy="fcfs")}
SHAPES = {"chat": (500, 200, 5_000), "short": (200, 20, 12_000), "long": (4000, 800, 1_000)}


@cache
def bounded(shape: str, until_s: float = 61, **changes: object) -> Report:
    arrivals = backlog(1, "acme", "summarize", *SHAPES[shape])
    setup = Setup(policy=patient("classic"), engines=ENGINE, until_s=until_s, **changes)
    return simulate(setup, arrivals)


@cache
def unbounded(shape: str, until_s: float = 61) -> Report:
    """Everything waits in the engine."""
    arrivals = backlog(1, "acme", "summarize", *SHAPES[shape])
    setup = Setup(policy=patient("fcfs"), engines=ENGINE, until_s=until_s, fixed=1_000_000)
    return simulate(setup, arrivals)


def in_engine(report: Report) -> tuple[float, float]:
    """How many wait there, and the lookahead, which is how many may; means."""
    waiting = report.mean(lambda sample: sample.engine_waiting, 20)
    return waiting, report.mean(lambda sample: sample.lookahead, 20)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_bounded_engine_gives_as_much_as_an_unbounded_one(shape):
    direct_per_s = unbounded(shape).goodput_per_s(20, 60)

    goodput_share = bounded(shape).goodput_per_s(20, 60) / direct_per_s
    waiting, lookahead = in_engine(bounded(shape))

    print(f"{shape}: {goodput_share:.2%}, {waiting:.1f} wait in vLLM of {lookahead:.0f}")  # noqa: T201
    assert goodput_share >= 0.99
    assert waiting <= lookahead


@pytest.mark.parametrize("poll_s", [0.25, 0.5, 1.0, 2.0])
def test_goodput_hardly_depends_on_how_often_metrics_are_read(poll_s):
    report = bounded("chat", poll_s=poll_s)

    assert report.goodput_per_s(20, 60) >= 0.99 * unbounded("chat").goodput_per_s(20, 60)
    waiting, lookahead = in_engine(report)
    assert waiting <= lookahead


def test_a_minute_without_metrics_costs_nothing():
    away = bounded("chat", until_s=131, outage_s=(60.0, 120.0))

    direct_per_s = unbounded("chat", until_s=131).goodput_per_s(60, 130)
    assert away.goodput_per_s(60, 130) >= 0.99 * direct_per_s


def test_too_few_slots_would_be_seen():
    report = bounded("chat", fixed=100)

    assert report.goodput_per_s(20, 60) < 0.95 * unbounded("chat").goodput_per_s(20, 60)


def test_too_many_slots_would_be_seen():
    waiting, lookahead = in_engine(bounded("chat", fixed=200))

    assert waiting > 3 * lookahead


def urgent_ttft(policy: Policy) -> Spread:
    """Beside a cold burst of a thousand, on an engine of 256 sequences."""
    arrivals = together(
        backlog(1, "ben", "batch_inference", 500, 200, 1_000),
        poisson(2, "tess", "chat", 5, 300, 60, 12),
    )
    report = simulate(Setup(policy=policy, stored=256, until_s=15), arrivals)
    return report.tiers["realtime"].ttft


def test_urgent_requests_do_not_notice_a_cold_burst():
    ttft = urgent_ttft(patient("classic"))

    print(f"urgent first token beside a cold burst: {ttft}")  # noqa: T201
    assert ttft.p95 <= 0.30
    assert ttft.p99 <= 0.35


def test_without_holdback_and_pace_a_cold_burst_is_felt():
    ttft = urgent_ttft(replace(patient("classic"), holdback_share=0.0))

    print(f"the same without holdback and pace: {ttft}")  # noqa: T201
    assert ttft.p95 > 1.0
