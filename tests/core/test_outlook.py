"""What is shown of the line has to be what happens."""

from random import Random

import pytest
from msgspec.structs import replace

from gateway.core.explain import cost_ahead, explain
from gateway.core.ops import Boost, Dispatch, Op, Pace, Pause, Release, SetBackend, Submit
from gateway.core.outlook import look, upcoming
from gateway.core.policy import Ageing, TenantRules, default_policy
from gateway.core.scheduler import Scheduler
from tests.core.driving import TENANTS, steady

POLICY = steady(default_policy())


def busy_line(seed: int) -> tuple[Scheduler, int]:
    """Some hundred requests that wait in all tiers, aged, overdue and boosted, after real traffic."""
    draw = Random(seed)
    policy = replace(
        POLICY,
        rescue_share=draw.choice((0, 0.1, 0.3)),
        ageing=draw.choice((None, Ageing())),
        tenants={"acme": TenantRules(weight=300)},
    )
    scheduler = Scheduler(policy)
    scheduler.apply([SetBackend("gpu", 5, 1)], 0)
    names = [tier.name for tier in policy.tiers]
    running: list[str] = []
    now_ms = 0
    for number in range(300):
        now_ms += draw.choice((5, 300, 4_000))
        ops: list[Op] = [
            Submit(f"r{number}", draw.choice(names), draw.choice(TENANTS), draw.randrange(1, 900))
        ]
        if running and draw.random() < 0.4:
            ops.append(Release(running.pop(0), draw.randrange(1, 900)))
        if draw.random() < 0.1:
            ops.append(Boost(f"r{draw.randrange(number + 1)}", draw.randint(-5, 5)))
        running += [d.id for d in scheduler.apply(ops, now_ms) if isinstance(d, Dispatch)]
    return scheduler, now_ms


@pytest.mark.parametrize("seed", range(20))
def test_the_line_shown_is_the_order_of_dispatch(seed):
    scheduler, now_ms = busy_line(seed)
    shown = [(place.request.id, place.level) for place in upcoming(scheduler)]

    decisions = scheduler.apply([SetBackend("gpu", 10_000, 0)], now_ms)

    assert len(shown) > 100
    levels = {d.id: scheduler.requests[d.id].level for d in decisions if isinstance(d, Dispatch)}
    assert shown == list(levels.items())


def test_the_line_shown_starts_a_rescue_without_a_saved_up_turn():
    scheduler = Scheduler(replace(POLICY, ageing=None, rescue_share=0.2))
    scheduler.apply([SetBackend("gpu", 1, 0)], 0)
    scheduler.apply([Submit("r0", "realtime", "acme", 100)], 0)
    for number in range(50):  # the strict lane alone goes, and gets far ahead
        ops: list[Op] = [Release(f"r{number}"), Submit(f"r{number + 1}", "realtime", "acme", 100)]
        scheduler.apply(ops, number)
    late: list[Op] = [Submit(f"late{n}", "batch", "birch", 100) for n in range(10)]
    scheduler.apply(late, 1_000)
    scheduler.apply([Submit(f"u{n}", "realtime", "acme", 100) for n in range(10)], 900_000)
    shown = [place.request.id for place in upcoming(scheduler)]

    decisions = scheduler.apply([SetBackend("gpu", 10_000, 0)], 900_000)

    assert shown[:3] == ["late0", "u0", "u1"]
    assert shown == [decision.id for decision in decisions if isinstance(decision, Dispatch)]


def test_looking_changes_nothing():
    scheduler, now_ms = busy_line(1)
    untouched, _ = busy_line(1)
    look(scheduler, now_ms)
    for number in range(300):
        explain(scheduler, f"r{number}", now_ms)

    same = [one.apply([SetBackend("gpu", 10_000, 0)], now_ms) for one in (scheduler, untouched)]

    assert same[0] == same[1]


def test_explain_names_the_place_that_the_line_gives():
    scheduler, now_ms = busy_line(2)

    for number, place in enumerate(upcoming(scheduler), start=1):
        explanation = explain(scheduler, place.request.id, now_ms)
        assert explanation is not None
        if number <= 200:
            assert (explanation.position, explanation.position_is_exact) == (number, True)


def plain_line() -> Scheduler:
    scheduler = Scheduler(POLICY, 3)
    scheduler.apply([SetBackend("gpu", 1, 1)], 0)
    scheduler.apply([Submit("running", "standard", "acme", 100)], 0)
    scheduler.apply(
        [
            Submit("mine", "standard", "tess", 50),
            Submit("other", "standard", "ben", 70),
            Submit("batch", "batch", "tess", 10),
        ],
        0,
    )
    return scheduler


def test_explain_adds_up_the_effective_priority():
    scheduler = plain_line()
    scheduler.apply([Boost("batch", 2)], 45_000)

    explanation = explain(scheduler, "batch", 45_000)

    assert explanation is not None
    assert (explanation.priority, explanation.aged, explanation.boosted) == (-5, 4, 2)
    assert explanation.effective_priority == 1
    assert explanation.next_step_in_ms == 5_000
    assert explanation.rescue_in_ms == 135_000
    assert explanation.expires_in_ms == 86_400_000 - 45_000


def test_explain_says_who_is_ahead_and_the_bound():
    explanation = explain(plain_line(), "batch", 0)

    assert explanation is not None
    assert explanation.position == 3
    assert [(a.level, a.tenant, a.waiting, a.cost) for a in explanation.ahead] == [
        (0, "ben", 1, 70),
        (0, "tess", 1, 50),
    ]
    assert explanation.bound_cost == (130 + 100) * 10  # all waiting, plus the largest, over 10 %


HEAVY = (
    SetBackend("gpu", 0, 0),
    Submit("urgent", "critical", "tess", 1, footprint=900),
    SetBackend("gpu", 0, 1),
    Submit("heavy", "standard", "tess", 1, footprint=100),
)


@pytest.mark.parametrize(
    ("ops", "binds"),
    [
        ([], "holdback"),
        ([SetBackend("gpu", 1, 0)], "limit"),
        ([Pause("batch")], "paused"),
        ([SetBackend("gpu", 1, 1, open=False)], "no_backend"),
        ([Pace(1, 0), SetBackend("gpu", 9, 0)], "pace"),
        ([Release("running"), *HEAVY, SetBackend("gpu", 9, 0, kv_tokens=1_000)], "guard"),
    ],
)
def test_explain_says_what_binds(ops, binds):
    scheduler = plain_line()
    scheduler.apply(ops, 0)

    explanation = explain(scheduler, "batch", 0)

    assert explanation is not None
    assert explanation.binds == binds


def test_a_parked_request_has_no_place_and_says_why():
    policy = replace(POLICY, tenants={"tess": TenantRules(max_in_flight=1)})
    scheduler = Scheduler(policy)
    scheduler.apply([SetBackend("gpu", 5, 0)], 0)
    scheduler.apply([Submit("running", "batch", "tess", 1), Submit("mine", "batch", "tess", 1)], 0)

    explanation = explain(scheduler, "mine", 0)

    assert explanation is not None
    assert (explanation.binds, explanation.position) == ("tenant_cap", None)
    assert explanation.rescue_in_ms is None


@pytest.mark.parametrize("seed", range(3))
def test_what_is_ahead_of_an_arrival_is_what_is_ahead_once_it_waits(seed):
    told = []
    for tier in ("realtime", "standard", "background"):
        for tenant in ("acme", "birch", "newcomer"):
            scheduler, now_ms = busy_line(seed)
            own = scheduler.line.flows.get((tier, tenant, ""))
            if own and own.level not in (None, scheduler.line.tiers[tier].rules.priority):
                continue  # by age: what comes joins it there
            expected = cost_ahead(scheduler, tier, tenant)
            scheduler.apply([Submit("late", tier, tenant, 100)], now_ms)
            explanation = explain(scheduler, "late", now_ms)
            assert explanation is not None
            assert explanation.ahead_cost == expected
            told.append(expected)

    assert len(set(told)) >= 3


def test_who_does_not_wait_is_not_explained():
    scheduler = plain_line()

    assert explain(scheduler, "running", 0) is None
    assert explain(scheduler, "nobody", 0) is None


def test_deep_in_the_line_the_place_is_near_the_truth():
    scheduler = Scheduler(replace(POLICY, ageing=None, rescue_share=0))
    draw = Random(2)
    scheduler.apply(
        [
            Submit(f"r{n}", draw.choice(("standard", "batch")), draw.choice(TENANTS), 100)
            for n in range(2_000)
        ],
        0,
    )
    order = [place.request.id for place in upcoming(scheduler)]

    for place in (500, 1_000, 1_900):
        explanation = explain(scheduler, order[place - 1], 0)
        assert explanation is not None
        assert explanation.position == pytest.approx(place, rel=0.1)
