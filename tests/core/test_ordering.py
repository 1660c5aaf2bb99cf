"""Levels, tags and the two heaps of flows, without a scheduler around them."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.flows import SLACK, Flow, Request, Seniority, TenantState, TierState
from gateway.core.levels import aged, boosted, next_step_age_ms, terms_of
from gateway.core.ordering import RescueLane, Soonest, StrictLane, ageing_moment
from gateway.core.policy import Ageing, Policy, Tier


def tier_state(priority: int = 0, ageing: Ageing | None = None) -> TierState:
    tier = Tier(name="standard", priority=priority, target_wait_s=60, max_wait_s=300, max_waiting=9)
    policy = Policy(tiers=(tier,), default_tier="standard", ageing=ageing)
    return TierState(tier, terms_of(policy, 1, tier))


def flow_of(tenant: str, *seqs: int, weight: int = 100, arrived_ms: int = 0) -> Flow:
    state = TenantState(tenant)
    state.follow(Policy(tiers=(tier_state().rules,), default_tier="standard"), 1)
    state.weight = weight
    flow = Flow(("standard", tenant, ""), tier_state(), state)
    for seq in seqs:
        flow.add(request(flow, seq, arrived_ms))
    return flow


def request(flow: Flow, seq: int, arrived_ms: int = 0) -> Request:
    return Request(
        id=f"r{seq}",
        seq=seq,
        cost=100,
        prompt_tokens=0,
        footprint=0,
        prefix="",
        arrived_ms=arrived_ms,
        expires_at_ms=None,
        avoid="",
        flow=flow,
    )


@given(
    priority=st.integers(-10, 10),
    after_s=st.integers(0, 60),
    step_s=st.integers(1, 30),
    most=st.integers(0, 20),
    ceiling=st.integers(-10, 10),
    age_ms=st.integers(0, 200_000),
)
def test_the_next_ageing_step_is_the_first_moment_that_lifts_further(
    priority, after_s, step_s, most, ceiling, age_ms
):
    ageing = Ageing(after_s=after_s, step_s=step_s, most=most, ceiling=ceiling)
    terms = tier_state(priority, ageing).terms

    step_ms = next_step_age_ms(terms, age_ms)

    gained = aged(terms, age_ms)
    assert priority <= priority + gained <= max(priority, ceiling)
    if step_ms is None:
        assert aged(terms, 10**9) == gained
    else:
        assert step_ms > age_ms
        assert aged(terms, step_ms - 1) == gained
        assert aged(terms, step_ms) > gained or step_ms == terms.after_ms


@pytest.mark.parametrize(
    ("level", "by", "ceiling", "moved"),
    [(0, 5, 10, 5), (7, 5, 10, 10), (7, 5, 8, 8), (7, 5, 3, 7), (0, -5, 10, -5), (-8, -5, 10, -10)],
)
def test_a_boost_stays_between_the_ends_and_under_the_tenants_ceiling(level, by, ceiling, moved):
    assert boosted(level, by, ceiling) == moved


def test_a_flow_keeps_its_requests_in_order_of_seq_whatever_the_order_they_come_in():
    flow = flow_of("acme", 5, 9, 2, 7)

    assert [request.seq for request in flow.line] == [2, 5, 7, 9]
    assert flow.head is flow.line[0]


def test_the_strict_lane_answers_level_then_tag_then_seq():
    lane = StrictLane()
    first, second, urgent = flow_of("acme", 1), flow_of("birch", 2), flow_of("cedar", 3)
    for flow, level in ((second, 0), (first, 0), (urgent, 5)):
        lane.enter(flow, level)

    assert lane.best() is urgent
    lane.leave(urgent)
    assert lane.best() is first
    lane.charge(first, 100, moves_clock=True)
    lane.push(first)
    assert lane.best() is second


def test_a_rescue_dispatch_is_charged_but_does_not_move_the_levels_clock():
    lane = StrictLane()
    flow = flow_of("acme", 1, 2)
    lane.enter(flow, 0)
    flow.tag = 500

    lane.charge(flow, 100, moves_clock=False)

    assert (flow.tag, lane.clock[10]) == (1_500, 0)


def test_weights_divide_what_is_charged():
    lane = StrictLane()
    flow = flow_of("acme", 1, 2, weight=300)
    lane.enter(flow, 0)

    lane.charge(flow, 100, moves_clock=True)

    assert flow.tag == 100 * 1000 // 300


def test_heaps_drop_what_has_become_untrue_before_it_piles_up():
    lane, soonest = StrictLane(), Soonest(ageing_moment)
    flow = flow_of("acme", *range(1_000))
    flow.next_step_ms = 5
    for _ in range(999):
        lane.enter(flow, 0)
        soonest.watch(flow)
        assert flow.head is not None
        flow.head.state = 2
        flow.drop(flow.head)

    assert len(lane.heaps[10]) <= SLACK + 3
    assert len(soonest.heap) == 1


def test_the_soonest_moment_is_found_though_entries_lag_behind():
    draw = Random(3)
    soonest = Soonest(ageing_moment)
    flows = [flow_of(f"t{n}", n) for n in range(50)]
    for flow in flows:
        flow.level = 0
        flow.next_step_ms = draw.randrange(1_000)
        soonest.watch(flow)

    for _ in range(500):
        flow = draw.choice(flows)
        flow.next_step_ms = draw.choice((None, draw.randrange(1_000)))
        soonest.watch(flow)
        moments = [flow.next_step_ms for flow in flows if flow.next_step_ms is not None]
        first = soonest.first()
        assert (first[0] if first else None) == min(moments, default=None)


def test_the_rescue_lane_gets_its_share_and_does_not_save_it_up():
    lane = RescueLane()
    flow = flow_of("acme", *range(500))
    flow.level, flow.deadline_ms = 0, 1_000
    lane.by_deadline.watch(flow)
    for _ in range(300):
        assert lane.turn(999) is None
        lane.charge(10, 100, rescued=False)

    turns = [lane.turn(1_000) is not None]
    for _ in range(199):
        lane.charge(10, 100, rescued=turns[-1])
        turns.append(lane.turn(1_000) is not None)

    assert turns[:2] == [True, False]
    assert sum(turns) == 20


def test_seniority_knows_both_ends_through_every_departure():
    draw = Random(9)
    seniority = Seniority()
    flow = flow_of("acme")
    waiting: list[Request] = []
    for seq in range(2_000):
        arrival = request(flow, seq, arrived_ms=seq * 10 - draw.choice((0, 0, 500)))
        waiting.append(arrival)
        seniority.add(arrival)
        if draw.random() < 0.6:
            gone = waiting.pop(draw.randrange(len(waiting)))
            gone.state = 2
            seniority.compact(len(waiting))
        by_age = sorted(waiting, key=lambda one: (one.arrived_ms, one.seq))
        assert seniority.oldest() is (by_age[0] if by_age else None)
        assert seniority.newest() is (by_age[-1] if by_age else None)


@pytest.mark.parametrize(
    ("owed", "running", "inherited"),
    [
        ((500, 900), (1, 1), 900),
        ((500, 900), (1, 0), 500),  # what is over and owes nothing may be forgotten already
        ((900, 500), (0, 1), 500),
        ((1_500, 500), (0, 1), 1_500),
        ((500, 1_500), (1, 0), 1_500),
    ],
)
def test_a_merge_keeps_the_larger_debt_of_what_may_not_be_forgotten(owed, running, inherited):
    lane = StrictLane()
    lane.clock[10] = 1_000
    gone, heir = flow_of("acme"), flow_of("acme")
    for flow, tag, in_flight in zip((gone, heir), owed, running, strict=True):
        flow.finish[0], flow.in_flight = tag, in_flight

    lane.take_over(gone, heir)

    assert heir.finish == {0: inherited}
