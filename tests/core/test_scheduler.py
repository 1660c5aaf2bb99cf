"""The state machine, one rule at a time.  Moments are milliseconds; slots are few."""

from math import ceil

import pytest
from msgspec.structs import replace

from gateway.core import caps
from gateway.core.flows import Request
from gateway.core.ops import (
    Boost,
    Cancel,
    Decision,
    Dispatch,
    Drain,
    Edit,
    Evict,
    Evicted,
    Expire,
    Move,
    Op,
    Pace,
    Pause,
    Reject,
    Release,
    RemoveBackend,
    Retry,
    SetBackend,
    Submit,
)
from gateway.core.outlook import look
from gateway.core.policy import Limits, Policy, TenantRules, default_policy
from gateway.core.scheduler import Scheduler
from gateway.core.waitlist import REKEY_FLOWS
from tests.core.driving import steady

PATIENT = steady(default_policy(), rescue_share=0)


def scheduler_with(limit: int = 1, policy: Policy = PATIENT, held_back: int = 0) -> Scheduler:
    scheduler = Scheduler(policy, version=1)
    scheduler.apply([SetBackend("gpu", limit, held_back)], 0)
    return scheduler


def asks(id: str, tier: str = "standard", tenant: str = "acme", cost: int = 100) -> Submit:
    return Submit(id, tier, tenant, cost, prompt_tokens=cost)


def sent(decisions: list[Decision]) -> list[str]:
    return [decision.id for decision in decisions if isinstance(decision, Dispatch)]


def drain(scheduler: Scheduler, running: str, now_ms: int) -> list[str]:
    """The order in which all that waits goes, one slot at a time, at one moment."""
    order: list[str] = []
    while True:
        decisions = scheduler.apply([Release(running)], now_ms)
        if not sent(decisions):
            return order
        (running,) = sent(decisions)
        order.append(running)


# Order


def test_a_free_slot_is_taken_at_once():
    scheduler = scheduler_with()

    decisions = scheduler.apply([asks("a", "batch")], 5)

    assert decisions == [
        Dispatch("a", "gpu", -5, lane="strict", waited_ms=0, boost=0, version=1),
    ]


def test_more_urgent_tiers_go_first_and_equals_in_order_of_arrival():
    scheduler = scheduler_with()
    tiers = ("background", "standard", "realtime", "batch", "critical", "standard")
    scheduler.apply([asks("running", "realtime")], 0)
    scheduler.apply([asks(f"{tier}-{n}", tier) for n, tier in enumerate(tiers)], 1)

    order = drain(scheduler, "running", 2)

    assert order == [
        "realtime-2", "critical-4", "standard-1", "standard-5", "batch-3", "background-0",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("age_s", "boost"), [(29.999, 0), (30, 3), (39.999, 3), (40, 4), (50, 5), (3_000, 5)]
)
def test_waiting_lifts_a_request_by_three_at_30_s_and_five_from_50_s_on(age_s, boost):
    scheduler = scheduler_with()
    scheduler.apply([asks("running"), asks("aged", "batch")], 0)

    (decision,) = scheduler.apply([Release("running")], int(age_s * 1000))

    assert isinstance(decision, Dispatch)
    assert (decision.boost, decision.priority) == (boost, -5 + boost)


def test_an_aged_request_passes_fresh_ones_of_the_level_it_left():
    scheduler = scheduler_with()
    scheduler.apply([asks("running"), asks("aged", "standard")], 0)
    scheduler.apply([asks("fresh", "standard", "birch")], 59_000)
    scheduler.apply([asks("urgent", "critical", "birch")], 59_000)

    assert drain(scheduler, "running", 60_000) == ["urgent", "aged", "fresh"]


def test_ageing_never_lifts_past_its_ceiling():
    policy = default_policy()
    tiers = (*policy.tiers, replace(policy.tiers[2], name="interactive", priority=5))
    scheduler = scheduler_with(policy=steady(replace(policy, tiers=tiers, rescue_share=0)))
    scheduler.apply([asks("running", "realtime"), asks("aged", "interactive")], 0)

    (decision,) = scheduler.apply([Release("running"), asks("fresh", "critical")], 100_000)

    assert sent([decision]) == ["fresh"]
    (decision,) = scheduler.apply([Release("fresh")], 100_000)
    assert isinstance(decision, Dispatch)
    assert decision.priority == 7


def test_a_tier_that_does_not_age_stays_where_it_is():
    policy = default_policy()
    tiers = tuple(replace(tier, ages=tier.name != "batch") for tier in policy.tiers)
    scheduler = scheduler_with(policy=steady(replace(policy, tiers=tiers, rescue_share=0)))
    scheduler.apply([asks("running"), asks("old", "batch")], 0)

    (decision,) = scheduler.apply([Release("running")], 100_000)

    assert isinstance(decision, Dispatch)
    assert decision.boost == 0


def test_tenants_of_one_level_take_turns_by_cost():
    scheduler = scheduler_with()
    ops: list[Op] = [asks("running", tenant="cedar")]
    ops += [asks(f"acme-{n}", tenant="acme", cost=100) for n in range(4)]
    ops += [asks(f"birch-{n}", tenant="birch", cost=200) for n in range(2)]
    scheduler.apply(ops, 0)

    order = drain(scheduler, "running", 1)

    assert order == ["acme-0", "birch-0", "acme-1", "acme-2", "birch-1", "acme-3"]


def test_a_tenant_pays_for_what_a_request_really_cost():
    scheduler = scheduler_with()
    scheduler.apply([asks("a0", tenant="acme"), *(asks(f"a{n}", tenant="acme") for n in (1, 2))], 0)
    scheduler.apply([asks(f"b{n}", tenant="birch") for n in range(3)], 0)

    order = [sent(scheduler.apply([Release("a0", cost=250)], 1))[0]]
    order += drain(scheduler, order[0], 1)

    assert order == ["b0", "b1", "b2", "a1", "a2"]


def test_an_idle_tenant_saves_up_no_credit():
    scheduler = scheduler_with()
    scheduler.apply([asks("running"), *(asks(f"a{n}") for n in range(9))], 0)
    running = "running"
    for _ in range(5):
        (running,) = sent(scheduler.apply([Release(running)], 1))
    scheduler.apply([asks(f"b{n}", tenant="birch") for n in range(3)], 2)

    order = drain(scheduler, running, 3)

    assert order == ["b0", "a5", "b1", "a6", "b2", "a7", "a8"]


# The rescue lane


def overdue_line(share: float) -> Scheduler:
    policy = steady(replace(default_policy(), ageing=None, rescue_share=share))
    scheduler = scheduler_with(policy=policy)
    scheduler.apply([asks("running", "realtime", "cedar")], 0)
    scheduler.apply([asks(f"batch-{n}", "batch") for n in range(3)], 0)
    urgent = [asks(f"urgent-{n}", "realtime", "birch") for n in range(20)]
    scheduler.apply(urgent, 179_000)
    return scheduler


def test_an_overdue_request_goes_with_the_top_priority_once_its_lane_is_behind():
    scheduler = overdue_line(share=0.1)

    decisions = scheduler.apply([Release("running")], 180_000)

    assert [(d.id, d.lane, d.priority) for d in decisions if isinstance(d, Dispatch)] == [
        ("batch-0", "rescue", 10)
    ]
    order = drain(scheduler, "batch-0", 180_000)
    assert (order.index("batch-1"), order.index("batch-2")) == (9, 19)


def test_without_a_share_nothing_is_rescued():
    scheduler = overdue_line(share=0)

    order = drain(scheduler, "running", 180_000)

    assert order[-3:] == ["batch-0", "batch-1", "batch-2"]


def test_an_overdue_request_takes_a_held_back_slot_only_in_an_urgent_ones_place():
    policy = steady(replace(default_policy(), rescue_share=0.1))
    scheduler = scheduler_with(limit=1, held_back=1, policy=policy)
    scheduler.apply([asks("running", "batch"), asks("overdue", "batch")], 0)
    assert scheduler.apply([], 400_000) == []  # overdue, a held-back slot is free, nobody urgent

    decisions = scheduler.apply([asks("urgent", "realtime", "birch")], 400_000)

    assert sent(decisions) == ["overdue"]


# Holdback and pace


def test_holdback_keeps_a_slot_for_an_urgent_request():
    scheduler = scheduler_with(limit=2, held_back=1)

    decisions = scheduler.apply([asks(f"low-{n}") for n in range(5)], 0)
    assert sent(decisions) == ["low-0", "low-1"]

    decisions = scheduler.apply([asks("urgent", "critical")], 1)
    assert sent(decisions) == ["urgent"]


def test_low_requests_refill_only_what_falls_below_the_base_limit():
    scheduler = scheduler_with(limit=2, held_back=1)
    scheduler.apply([asks(f"low-{n}") for n in range(5)], 0)
    scheduler.apply([asks("urgent", "critical")], 1)

    assert sent(scheduler.apply([Release("low-0")], 2)) == []
    assert sent(scheduler.apply([Release("low-1")], 3)) == ["low-2"]


def test_holdback_follows_the_policy_where_no_number_is_given():
    scheduler = Scheduler(PATIENT)
    scheduler.apply([SetBackend("gpu", 64)], 0)

    line = look(scheduler, 0)

    assert (line.backends[0].base_limit, line.backends[0].held_back) == (64, 4)


def test_pace_lets_a_cold_burst_in_slowly_and_urgent_requests_at_once():
    scheduler = scheduler_with(limit=50)
    scheduler.apply([Pace(1_000, burst_tokens=150)], 0)

    assert sent(scheduler.apply([asks(f"low-{n}") for n in range(5)], 0)) == ["low-0", "low-1"]
    assert sent(scheduler.apply([asks("urgent", "critical")], 0)) == ["urgent"]
    assert scheduler.wake_at_ms == 51
    assert sent(scheduler.apply([], 50)) == []
    assert sent(scheduler.apply([], 51)) == ["low-2"]


def test_pace_does_not_bind_what_replaces_what_has_finished():
    scheduler = scheduler_with(limit=50)
    scheduler.apply([Pace(1, burst_tokens=150), *(asks(f"low-{n}") for n in range(5))], 0)

    assert sent(scheduler.apply([Release("low-0")], 1)) == ["low-2"]


# Caps


def capped(**changes: int) -> Policy:
    policy = default_policy()
    pool_cap = changes.pop("pool", 1000)
    tiers = tuple(
        replace(tier, max_waiting=changes.get(tier.name, 1000), max_wait_s=86_400)
        for tier in policy.tiers
    )
    tenants = {"tess": TenantRules(max_waiting=1)}
    return replace(policy, tiers=tiers, max_waiting=pool_cap, tenants=tenants)


def refused(decisions: list[Decision]) -> list[tuple[str, str]]:
    return [(d.id, d.code) for d in decisions if isinstance(d, Reject)]


def test_a_full_tier_refuses_the_arrival_and_says_when_to_come_back():
    scheduler = scheduler_with(limit=0, policy=capped(standard=2))

    decisions = scheduler.apply([asks("a"), asks("b"), asks("c"), asks("d", "batch")], 0)

    assert decisions == [Reject("c", "queue_full", until_room_ms=None)]
    assert scheduler.waiting == 3


def test_retry_after_follows_the_rate_the_tier_drains_at():
    scheduler = scheduler_with(limit=1, policy=capped(standard=1))
    running = "r0"
    scheduler.apply([asks("r0"), asks("r1")], 0)
    for number in range(1, 10):
        now_ms = number * 2_000
        (running,) = sent(scheduler.apply([Release(running)], now_ms))
        scheduler.apply([asks(f"r{number + 1}")], now_ms)

    (decision,) = scheduler.apply([asks("late")], 20_000)

    assert isinstance(decision, Reject)
    assert decision.until_room_ms is not None
    assert 1_500 <= decision.until_room_ms <= 2_500


def test_a_full_tenant_is_refused_with_its_own_code():
    scheduler = scheduler_with(limit=0, policy=capped())

    decisions = scheduler.apply([asks("a", tenant="tess"), asks("b", "batch", "tess")], 0)

    assert refused(decisions) == [("b", "tenant_queue_full")]


def test_a_full_pool_displaces_the_newest_of_the_lowest_tier_below_the_arrival():
    scheduler = scheduler_with(limit=0, policy=capped(pool=3))
    scheduler.apply([asks("old", "batch"), asks("new", "batch", "birch"), asks("s")], 0)

    assert refused(scheduler.apply([asks("c", "critical")], 1)) == [("new", "displaced")]
    assert refused(scheduler.apply([asks("s2", "standard")], 2)) == [("old", "displaced")]
    assert refused(scheduler.apply([asks("s3", "standard")], 3)) == [("s3", "queue_full")]
    assert scheduler.waiting == 3


def test_nobody_is_refused_while_slots_are_free():
    scheduler = scheduler_with(limit=5, policy=capped(standard=1, pool=1))

    decisions = scheduler.apply([asks(f"r{n}") for n in range(7)], 0)

    assert sent(decisions) == ["r0", "r1", "r2", "r3", "r4"]
    assert refused(decisions) == [("r6", "queue_full")]


def test_a_tenant_at_its_maximum_in_flight_is_passed_over_until_a_release():
    policy = steady(replace(default_policy(), tenants={"acme": TenantRules(max_in_flight=1)}))
    scheduler = scheduler_with(limit=3, policy=policy)

    decisions = scheduler.apply([asks("a0"), asks("a1"), asks("b0", "batch", "birch")], 0)
    assert sent(decisions) == ["a0", "b0"]

    assert sent(scheduler.apply([Release("a0")], 1)) == ["a1"]


def test_a_tenant_at_its_maximum_in_one_tier_is_passed_over_there_alone():
    limits = {"standard": Limits(max_in_flight=1)}
    policy = steady(replace(default_policy(), tenants={"acme": TenantRules(tier_limits=limits)}))
    scheduler = scheduler_with(limit=9, policy=policy)
    ops = [asks("s0"), asks("s1"), asks("s2"), asks("b0", "batch"), asks("b1", "batch")]

    assert sent(scheduler.apply(ops, 0)) == ["s0", "b0", "b1"]
    assert sent(scheduler.apply([Release("b0")], 1)) == []
    assert sent(scheduler.apply([Cancel("s0")], 2)) == ["s1"]
    assert sent(scheduler.apply([Edit(steady(default_policy()), 2)], 3)) == ["s2"]


def test_a_boosted_request_counts_in_its_tiers_maximum():
    limits = {"standard": Limits(max_in_flight=1)}
    policy = steady(replace(default_policy(), tenants={"acme": TenantRules(tier_limits=limits)}))
    scheduler = scheduler_with(limit=9, policy=policy)
    scheduler.apply([Pause("standard"), asks("a"), asks("b"), Boost("b", 5)], 0)

    assert sent(scheduler.apply([Pause("standard", paused=False)], 1)) == ["b"]
    assert sent(scheduler.apply([Release("b")], 2)) == ["a"]


def in_tokens(most: int) -> Policy:
    policy = capped()
    tiers = tuple(replace(tier, max_waiting_tokens=most) for tier in policy.tiers)
    return replace(policy, tiers=tiers)


def test_a_tier_is_full_when_its_tokens_are():
    scheduler = scheduler_with(limit=0, policy=in_tokens(250))

    decisions = scheduler.apply([asks("a"), asks("b"), asks("c"), asks("d", cost=50)], 0)

    assert refused(decisions) == [("c", "queue_full")]
    assert scheduler.waiting == 3


def test_a_request_larger_than_the_cap_may_wait_alone():
    scheduler = scheduler_with(limit=0, policy=in_tokens(250))

    decisions = scheduler.apply([asks("huge", cost=900), asks("small", cost=1)], 0)

    assert refused(decisions) == [("small", "queue_full")]
    assert scheduler.waiting == 1


def test_tokens_over_the_cap_drain_at_the_tiers_mean_size():
    scheduler = scheduler_with(limit=1, policy=in_tokens(250))
    scheduler.apply([asks("r0"), asks("r1"), asks("r2")], 0)
    for number in range(10):
        scheduler.apply([Release(f"r{number}"), asks(f"r{number + 3}")], 1_000 * (number + 1))

    (small,) = scheduler.apply([asks("small", cost=100)], 11_000)
    (large,) = scheduler.apply([asks("large", cost=500)], 11_000)

    assert isinstance(small, Reject)
    assert isinstance(large, Reject)
    assert (small.until_room_ms, large.until_room_ms) == (1_000, 5_000)


def test_bodies_that_wait_fill_a_bounded_memory_and_half_of_it_is_for_urgent_ones():
    def large(id: str, tier: str = "standard") -> Submit:
        return asks(id, tier)._replace(body_bytes=caps.MOST_BODY_BYTES // 8)

    scheduler = scheduler_with()
    scheduler.apply([asks("running"), *(large(f"r{n}") for n in range(4))], 0)

    refused = scheduler.apply([large("late"), asks("small"), large("urgent", "realtime")], 0)
    scheduler.apply([Cancel("urgent"), Cancel("r0")], 0)

    assert [(one.id, one.code) for one in refused if isinstance(one, Reject)] == [
        ("late", "queue_full")
    ]
    assert scheduler.apply([large("again")], 0) == []
    assert scheduler.waiting == 5


def test_a_request_takes_a_slot_for_each_of_its_sequences():
    scheduler = scheduler_with(limit=4)
    many = asks("many")._replace(sequences=3)

    assert sent(scheduler.apply([many, asks("one"), asks("next")], 0)) == ["many", "one"]
    assert look(scheduler, 0).backends[0].in_flight == 4
    assert sent(scheduler.apply([Release("many")], 1)) == ["next"]
    assert look(scheduler, 1).backends[0].in_flight == 2


def test_more_sequences_than_slots_go_where_one_is_free_and_nothing_follows():
    scheduler = scheduler_with(limit=2)
    many = asks("many")._replace(sequences=9)

    assert sent(scheduler.apply([asks("one"), many, asks("next")], 0)) == ["one", "many"]
    assert sent(scheduler.apply([Release("one")], 1)) == []
    assert sent(scheduler.apply([Release("many")], 2)) == ["next"]


# Memory


def weighs(id: str, footprint: int, tier: str = "standard") -> Submit:
    return asks(id, tier)._replace(footprint=footprint)


def test_low_requests_wait_for_memory_and_urgent_ones_do_not():
    scheduler = scheduler_with(limit=9)
    scheduler.apply([SetBackend("gpu", 9, kv_tokens=1_000)], 0)

    decisions = scheduler.apply([weighs("a", 500), weighs("b", 450), weighs("c", 1)], 0)
    assert sent(decisions) == ["a", "b"]  # 950 is 95 %
    assert (scheduler.slots.stops.guarded, scheduler.slots.stops.blocked) == (1, 0)

    assert sent(scheduler.apply([weighs("urgent", 400, "critical")], 1)) == ["urgent"]
    assert sent(scheduler.apply([Release("a")], 2)) == ["c"]


def test_an_idle_engine_is_sent_a_request_of_any_size():
    scheduler = scheduler_with(limit=9)
    scheduler.apply([SetBackend("gpu", 9, kv_tokens=1_000)], 0)

    assert sent(scheduler.apply([weighs("huge", 5_000), weighs("small", 1)], 0)) == ["huge"]
    assert sent(scheduler.apply([Release("huge")], 1)) == ["small"]


def test_memory_of_unknown_size_is_not_guarded():
    scheduler = scheduler_with(limit=9)

    assert len(sent(scheduler.apply([weighs(f"r{n}", 10**6) for n in range(9)], 0))) == 9


# Time


def test_a_request_expires_at_its_tiers_maximum_wait():
    scheduler = scheduler_with(limit=0, policy=default_policy())
    scheduler.apply([asks("a", "critical")], 1_000)

    assert scheduler.apply([], 30_999) == []
    assert scheduler.apply([], 31_000) == [Expire("a", 30_000)]
    assert scheduler.waiting == 0


def test_a_callers_deadline_comes_first_and_wakes_the_scheduler():
    scheduler = scheduler_with(limit=0, policy=default_policy())
    scheduler.apply([Submit("a", "standard", "acme", 1, expires_at_ms=700)], 0)

    assert scheduler.wake_at_ms == 700
    assert scheduler.apply([], 700) == [Expire("a", 700)]


def test_what_expired_before_it_came_is_not_sent():
    scheduler = scheduler_with(limit=5)

    decisions = scheduler.apply([Submit("a", "standard", "acme", 1, expires_at_ms=700)], 800)

    assert decisions == [Expire("a", 0)]


def test_it_asks_to_be_woken_for_the_next_ageing_step():
    scheduler = scheduler_with(limit=0)
    assert scheduler.wake_at_ms is None

    scheduler.apply([asks("a")], 10)

    assert scheduler.wake_at_ms == 30_050  # steps are waited for 50 ms at a time


# Leaving and coming back


def test_a_cancelled_waiter_is_gone_and_the_next_takes_its_turn():
    scheduler = scheduler_with()
    scheduler.apply([asks("running"), asks("a"), asks("b"), asks("c")], 0)

    assert scheduler.apply([Cancel("a"), Cancel("b")], 1) == []
    assert drain(scheduler, "running", 2) == ["c"]


def test_cancelling_in_flight_gives_the_slot_back_once():
    scheduler = scheduler_with()
    scheduler.apply([asks("running"), asks("a"), asks("b")], 0)

    decisions = scheduler.apply([Cancel("running"), Cancel("running"), Release("running")], 1)

    assert sent(decisions) == ["a"]
    assert (scheduler.slots.in_flight, scheduler.waiting) == (1, 1)


def test_a_storm_of_hang_ups_leaves_nothing_behind():
    scheduler = scheduler_with()
    scheduler.apply(
        [asks("running"), *(asks(f"r{n}", tenant=f"t{n % 7}") for n in range(5_000))], 0
    )

    scheduler.apply([Cancel(f"r{n}") for n in range(5_000) if n % 100], 1)

    assert scheduler.waiting == 50
    kept = sum(len(flow.line) for flow in scheduler.line.flows.values())
    entries = sum(len(heap) for heap in scheduler.line.strict.heaps)
    assert kept <= 2 * 50 + 64 * 7
    assert entries <= 100
    assert len(drain(scheduler, "running", 2)) == 50
    assert scheduler.requests == {}
    assert scheduler.line.flows == {}


def test_a_retried_request_keeps_its_place_and_avoids_the_backend_that_failed():
    scheduler = scheduler_with(limit=1)
    scheduler.apply([asks("first"), asks("second")], 0)
    scheduler.apply([SetBackend("other", 1, 0)], 0)  # "second" goes there
    scheduler.apply([asks("third")], 1)

    decisions = scheduler.apply([Release("second"), Retry("first", avoid="gpu")], 2_000)

    assert [(d.id, d.backend, d.waited_ms) for d in decisions if isinstance(d, Dispatch)] == [
        ("first", "other", 2_000),
        ("third", "gpu", 1_999),
    ]


def test_a_retry_goes_back_to_a_backend_it_avoids_when_there_is_no_other():
    scheduler = scheduler_with(limit=1)
    scheduler.apply([asks("first")], 0)

    assert sent(scheduler.apply([Retry("first", avoid="gpu")], 1)) == ["first"]


def test_unknown_ids_are_ignored():
    scheduler = scheduler_with()

    assert (
        scheduler.apply([Release("x"), Cancel("x"), Retry("x"), Evict("x"), Boost("x", 1)], 0) == []
    )


@pytest.mark.parametrize("again", [asks("a"), asks("b", "vip")], ids=["known id", "no such tier"])
def test_an_impossible_submission_changes_nothing(again):
    scheduler = scheduler_with()
    scheduler.apply([asks("a")], 0)

    with pytest.raises(ValueError, match=r"already known|no tier"):
        scheduler.apply([Release("a"), again], 1)

    assert (scheduler.slots.in_flight, scheduler.waiting) == (1, 0)


# Acts of people


def test_a_paused_tier_waits_and_goes_on_when_resumed():
    scheduler = scheduler_with()
    scheduler.apply([asks("running", "realtime"), asks("a", "critical"), asks("b")], 0)
    scheduler.apply([Pause("critical"), asks("c", "critical")], 1)

    assert drain(scheduler, "running", 2) == ["b"]
    assert scheduler.waiting == 2
    assert sent(scheduler.apply([Pause("critical", paused=False)], 3)) == ["a"]


def test_the_rescue_clock_starts_anew_after_a_pause():
    policy = steady(replace(default_policy(), rescue_share=0.1))
    scheduler = scheduler_with(policy=policy)
    scheduler.apply([asks("running"), asks("paused", "standard")], 0)
    scheduler.apply([asks("batch", "batch", "birch")], 0)
    scheduler.apply([Pause("standard")], 1)
    scheduler.apply([Pause("standard", paused=False)], 200_000)

    (decision,) = scheduler.apply([Release("running")], 200_000)

    assert (decision.id, decision.lane) == ("batch", "rescue")  # overdue since 180 s


def test_a_draining_tier_refuses_what_arrives_and_finishes_what_it_has():
    scheduler = scheduler_with()
    scheduler.apply([asks("running"), asks("waiting")], 0)

    refused = scheduler.apply([Drain("standard", until_ms=30_000), asks("late")], 10_000)
    still_open = scheduler.apply([asks("other", "critical")], 10_000)

    assert refused == [Reject("late", "tier_draining", 20_000)]
    assert still_open == []
    assert drain(scheduler, "running", 11_000) == ["other", "waiting"]


def test_a_request_sent_in_vain_keeps_its_place_in_a_draining_tier():
    scheduler = scheduler_with()
    scheduler.apply([asks("a"), Drain("standard")], 0)

    assert sent(scheduler.apply([Retry("a")], 5)) == ["a"]


def test_a_drained_tier_takes_requests_again_once_it_is_reopened():
    scheduler = scheduler_with()
    scheduler.apply([Drain("standard"), Drain("standard", draining=False)], 0)

    assert sent(scheduler.apply([asks("a")], 1)) == ["a"]


@pytest.mark.parametrize(("by", "shown"), [(9, 5), (-9, -5), (3, 3)])
def test_a_boost_is_clamped_to_five_levels(by, shown):
    scheduler = scheduler_with()
    scheduler.apply([asks("running"), asks("a")], 0)

    scheduler.apply([Boost("a", by)], 1)

    (dispatch,) = scheduler.apply([Release("running")], 2)
    assert (dispatch.priority, dispatch.boost) == (shown, shown)


def test_a_boost_moves_one_request_past_the_ageing_ceiling():
    scheduler = scheduler_with()
    scheduler.apply([asks("running", "realtime"), asks("a"), asks("b")], 0)
    scheduler.apply([asks("c", "critical", "birch")], 0)
    scheduler.apply([Boost("b", 5)], 60_000)

    (first,) = scheduler.apply([Release("running")], 60_000)

    assert isinstance(first, Dispatch)
    assert (first.id, first.boost, first.priority) == ("b", 10, 10)
    assert drain(scheduler, "b", 60_000) == ["c", "a"]


@pytest.mark.parametrize(("by", "level"), [(2, 1), (-3, -4)])
def test_a_dispatch_tells_a_persons_boost_from_ageing(by, level):
    scheduler = scheduler_with()
    scheduler.apply([asks("running"), asks("old", "batch")], 0)
    scheduler.apply([Boost("old", by)], 45_000)

    (dispatch,) = scheduler.apply([Release("running")], 45_000)

    assert isinstance(dispatch, Dispatch)
    assert (dispatch.priority, dispatch.boost, dispatch.boosted) == (level, 4 + by, by)


def test_a_boost_never_passes_the_tenants_ceiling():
    policy = steady(replace(default_policy(), tenants={"acme": TenantRules(ceiling=3)}))
    scheduler = scheduler_with(policy=policy)
    scheduler.apply([asks("running"), asks("a")], 0)

    (decision,) = scheduler.apply([Boost("a", 5), Release("running")], 1)

    assert isinstance(decision, Dispatch)
    assert decision.priority == 3


def test_a_boost_taken_back_restores_the_place_in_line():
    scheduler = scheduler_with()
    scheduler.apply([asks("running"), asks("a"), asks("b"), asks("c")], 0)
    scheduler.apply([Boost("b", 5), Boost("c", -5)], 1)

    scheduler.apply([Boost("c", 0), Boost("b", 0)], 2)

    assert drain(scheduler, "running", 3) == ["a", "b", "c"]


def test_a_boost_searches_no_line(monkeypatch):
    scheduler = scheduler_with()
    ids = [f"r{n}" for n in range(300)]
    scheduler.apply([asks("running"), *map(asks, ids)], 0)
    compared = []
    monkeypatch.setattr(
        Request, "__eq__", lambda one, other: compared.append(one) or one is other, raising=False
    )

    scheduler.apply([Boost(id, 2) for id in reversed(ids)], 1)

    assert len(compared) < 3 * len(ids)
    assert drain(scheduler, "running", 2) == ids


def test_a_moved_request_takes_its_place_by_arrival_in_the_other_tier():
    scheduler = scheduler_with()
    scheduler.apply([asks("running"), asks("early", "batch"), asks("s"), asks("late")], 0)

    scheduler.apply([Move("early", "standard"), Move("late", "batch")], 1)

    line = look(scheduler, 1)
    assert {tier.name: tier.waiting for tier in line.tiers if tier.waiting} == {
        "standard": 2,
        "batch": 1,
    }
    assert drain(scheduler, "running", 2) == ["early", "s", "late"]


def test_a_moved_request_expires_by_its_new_tiers_maximum_wait():
    scheduler = scheduler_with(limit=0, policy=default_policy())
    scheduler.apply([asks("a", "background"), asks("b", "background")], 0)

    assert scheduler.apply([Move("a", "batch")], 10_000) == []
    assert scheduler.apply([], 600_000) == [Expire("a", 600_000)]
    assert scheduler.apply([Move("b", "standard")], 600_001) == [Expire("b", 600_001)]
    assert scheduler.waiting == 0


@pytest.mark.parametrize(
    "move", [Move("nobody", "batch"), Move("a", "nowhere"), Move("a", "standard")]
)
def test_a_move_to_nowhere_changes_nothing(move):
    scheduler = scheduler_with(limit=0)
    scheduler.apply([asks("a")], 0)

    assert scheduler.apply([move], 1) == []
    assert scheduler.line.tiers["standard"].waiting == scheduler.waiting == 1


def test_an_evicted_request_is_answered_as_such():
    scheduler = scheduler_with(limit=0)
    scheduler.apply([asks("a")], 0)

    assert scheduler.apply([Evict("a"), Evict("a")], 1) == [Evicted("a")]
    assert scheduler.waiting == 0


# Backends


def test_a_closed_backend_keeps_what_runs_and_gets_nothing_more():
    scheduler = scheduler_with(limit=2)
    scheduler.apply([asks("a")], 0)

    decisions = scheduler.apply([SetBackend("gpu", 2, open=False), asks("b")], 1)
    assert (decisions, scheduler.slots.in_flight) == ([], 1)

    assert scheduler.apply([Release("a")], 2) == []
    assert sent(scheduler.apply([SetBackend("gpu", 2)], 3)) == ["b"]


def test_a_removed_backend_comes_back_with_what_still_runs_there():
    scheduler = scheduler_with(limit=2)
    scheduler.apply([asks("a"), asks("b")], 0)
    scheduler.apply([RemoveBackend("gpu"), asks("c")], 1)

    assert scheduler.apply([SetBackend("gpu", 2, 0)], 2) == []
    assert sent(scheduler.apply([Release("a")], 3)) == ["c"]
    scheduler.apply([RemoveBackend("gpu"), Release("b"), Release("c")], 4)
    assert look(scheduler, 4).backends == ()


def test_a_lowered_limit_lets_running_requests_finish():
    scheduler = scheduler_with(limit=3)
    scheduler.apply([asks(f"r{n}") for n in range(4)], 0)

    scheduler.apply([SetBackend("gpu", 1, 0)], 1)

    assert scheduler.slots.in_flight == 3
    assert sent(scheduler.apply([Release("r0"), Release("r1")], 2)) == []
    assert sent(scheduler.apply([Release("r2")], 3)) == ["r3"]


# Edits


def test_an_edit_orders_what_already_waits():
    scheduler = scheduler_with()
    scheduler.apply([asks("running"), asks("s"), asks("b", "batch")], 0)
    swapped = {"standard": -5, "batch": 0}
    tiers = tuple(
        replace(tier, priority=swapped.get(tier.name, tier.priority)) for tier in PATIENT.tiers
    )
    scheduler.apply([Edit(replace(PATIENT, tiers=tiers), 2)], 1)

    (decision,) = scheduler.apply([Release("running")], 2)

    assert isinstance(decision, Dispatch)
    assert (decision.id, decision.priority, decision.version) == ("b", 0, 2)


def test_a_removed_tiers_line_joins_the_nearest_lower_tier_in_order_of_arrival():
    scheduler = scheduler_with()
    ops = [asks("running"), asks("b0", "batch"), asks("s0"), asks("b1", "batch"), asks("s1")]
    scheduler.apply(ops, 0)
    tiers = tuple(tier for tier in PATIENT.tiers if tier.name != "standard")

    scheduler.apply([Edit(replace(PATIENT, tiers=tiers, default_tier="batch"), 2)], 1)
    scheduler.apply([asks("s2", "standard")], 2)  # still asked for by a caller of the old policy

    assert [(tier.name, tier.waiting) for tier in look(scheduler, 2).tiers][2] == ("batch", 5)
    assert drain(scheduler, "running", 3) == ["b0", "s0", "b1", "s1", "s2"]
    assert scheduler.slots.in_flight == 0


@pytest.mark.parametrize("calls", [1, 2])
def test_a_removed_tiers_debt_goes_on_without_what_could_have_been_forgotten(calls):
    scheduler = scheduler_with(limit=4)
    aged = asks("long", "background")._replace(arrived_ms=-50_000)  # level -5, as batch
    others = [asks(f"b{n}", "batch", "birch", cost=500) for n in range(2)]
    assert len(scheduler.apply([aged, asks("short", "batch", cost=400), *others], 0)) == 4
    edit = Edit(replace(PATIENT, tiers=PATIENT.tiers[:-1]), 2)

    ops: list[Op] = [Release("short"), edit, Release("long", cost=400), SetBackend("gpu", 0)]
    for part in (ops[: calls - 1], ops[calls - 1 :]):  # the first call ends by forgetting
        scheduler.apply(part, 1)
    scheduler.apply([asks("acme's", "batch"), asks("cedar's", "batch", "cedar")], 2)

    assert sent(scheduler.apply([SetBackend("gpu", 3)], 3)) == ["acme's"]


def test_a_new_maximum_wait_holds_for_those_who_wait():
    scheduler = scheduler_with(limit=0)
    scheduler.apply([asks("a")], 0)

    scheduler.apply([Edit(default_policy(), 2)], 1_000)

    assert scheduler.apply([], 300_000) == [Expire("a", 300_000)]


def test_an_edit_of_ten_thousand_waiting_takes_short_turns_and_loses_nobody():
    scheduler = scheduler_with(limit=0)
    scheduler.apply([asks(f"r{n}", "batch", f"t{n}") for n in range(10_000)], 0)

    scheduler.apply([Edit(replace(PATIENT, rescue_share=0.2), 2)], 1)
    turns = 1
    while scheduler.wake_at_ms == 1:
        scheduler.apply([], 1)
        turns += 1

    assert turns == ceil(10_000 / REKEY_FLOWS)
    assert {flow.terms.version for flow in scheduler.line.flows.values()} == {2}
    assert len(sent(scheduler.apply([SetBackend("gpu", 20_000)], 2))) == 10_000


def test_each_request_says_the_version_that_ordered_it_while_an_edit_is_under_way():
    scheduler = scheduler_with(limit=0)
    scheduler.apply([asks(f"r{n}", "batch", f"t{n}") for n in range(REKEY_FLOWS + 1)], 0)

    decisions = scheduler.apply([Edit(PATIENT, 2), SetBackend("gpu", 1_000)], 1)

    versions = [decision.version for decision in decisions if isinstance(decision, Dispatch)]
    assert versions == [2] * REKEY_FLOWS + [1]


def test_flows_are_forgotten_once_they_owe_nothing():
    scheduler = scheduler_with(limit=1)
    scheduler.apply([asks("running"), *(asks(f"long-{n}", tenant="long") for n in range(300))], 0)
    running = "running"
    for number in range(500):
        if number % 2:
            scheduler.apply([asks(f"r{number}", tenant=f"t{number}")], number)
        (running,) = sent(scheduler.apply([Release(running)], number))

    assert len(scheduler.line.flows) < 20
