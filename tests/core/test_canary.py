"""Two versions in one line: who is in, what goes by which version, and what a canary cannot carry."""

from random import Random

import pytest
from msgspec.structs import replace

from gateway.core.canary import PLACES, Canary, bar, obstacles, place
from gateway.core.ops import Edit, Release, SetBackend, Submit
from gateway.core.outlook import look
from gateway.core.policy import TenantRules, default_policy
from gateway.core.scheduler import Scheduler
from gateway.core.snapshot import Frame, for_tenant, pool_view
from tests.core.driving import Trial, random_policy, trial
from tests.core.reference import Reference

BASE = default_policy()


def with_tier(policy, which, /, **changes):
    tiers = tuple(replace(t, **changes) if t.name == which else t for t in policy.tiers)
    return replace(policy, tiers=tiers)


def test_a_tenant_s_place_never_changes_and_places_are_spread():
    assert [place(1), place(2), place(3)] == [473_910, 181_100, 714_561]
    under = sum(place(number) < PLACES // 4 for number in range(4_000))
    assert 900 < under < 1_100


@pytest.mark.parametrize(("percent", "many"), [(5, 1), (25, 2), (50, 5)])
def test_a_share_is_one_tenant_at_least_and_a_greater_one_takes_those_of_a_smaller(percent, many):
    ids = range(1, 10)

    those = {one for one in ids if place(one) < bar(ids, percent)}

    assert len(those) in (many, many - 1)
    assert those <= {one for one in ids if place(one) < bar(ids, 50)}


def test_two_tenants_are_needed_and_one_stays_out():
    assert {one for one in (1, 2) if place(one) < bar((1, 2), 50)} == {2}
    with pytest.raises(ValueError, match="two tenants"):
        bar((1,), 50)


def test_what_belongs_to_a_flow_can_be_carried():
    newer = with_tier(BASE, "batch", priority=-3, target_wait_s=1, max_wait_s=2, ages=False)
    newer = replace(newer, task_types={}, tenants={"acme": TenantRules(weight=7, ceiling=0)})

    assert obstacles(BASE, newer) == []


def test_what_a_pool_has_once_cannot_and_is_named():
    newer = with_tier(BASE, "batch", max_waiting=1, max_waiting_tokens=9)
    newer = with_tier(replace(newer, rescue_share=0.2, max_waiting=9), "realtime", name="first")

    assert obstacles(BASE, newer) == [
        "rescue lane",
        "waiting in all tiers",
        "tier first added",
        "tier realtime removed",
        "batch: max waiting",
        "batch: tokens waiting",
    ]
    assert obstacles(BASE, replace(BASE, ageing=replace(BASE.ageing, ceiling=5)))


@pytest.fixture
def line():
    """Acme follows v2, in which batch is above standard and gives up after 5 s."""
    newer = with_tier(BASE, "batch", priority=5, target_wait_s=1, max_wait_s=5)
    scheduler = Scheduler(BASE, 1)
    scheduler.apply([Edit(BASE, 1, Canary(newer, 2, frozenset({"acme"})))], 0)
    scheduler.apply([Submit("a", "batch", "acme", 10), Submit("b", "batch", "birch", 10)], 0)
    scheduler.apply([Submit("c", "standard", "birch", 10)], 1)
    return scheduler


def sent(scheduler, now_ms, slots=9):
    return [
        (d.id, d.priority, d.version)
        for d in scheduler.apply([SetBackend("gpu", slots, 0)], now_ms)
    ]


def test_both_versions_are_live_and_each_dispatch_tells_its_own(line):
    assert sent(line, 2) == [("a", 5, 2), ("c", 0, 1), ("b", -5, 1)]


def test_each_version_s_max_wait_holds_in_the_same_tier(line):
    assert line.wake_at_ms == 5_000
    assert [one.id for one in line.apply([], 5_000)] == ["a"]
    assert [one.id for one in line.apply([], 301_000)] == ["c"]
    assert [one.id for one in line.apply([], 600_000)] == ["b"]


def test_the_frame_tells_who_waits_under_which_version(line):
    groups = {(g.tier, g.version): (g.waiting, g.oldest_s) for g in look(line, 3_000).groups}

    assert groups["batch", 1] == groups["batch", 2] == (1, 3.0)
    assert groups["standard", 2] == (0, None)
    assert len(groups) == 10


def test_a_tenant_s_frame_tells_nothing_of_a_canary(line):
    pool = pool_view("default", ["qwen"], look(line, 3_000), [])
    frame = Frame(seq=1, at=0.0, epoch="", policy_version=2, pools=(pool,))

    assert pool.groups
    assert for_tenant(frame, "acme").pools[0].groups == ()


def test_promoted_everybody_follows_the_newer_one(line):
    newer = line.line.canary.policy
    line.apply([Edit(newer, 2)], 100)

    assert sent(line, 200) == [("a", 5, 2), ("b", 5, 2), ("c", 0, 2)]
    assert look(line, 200).groups == ()


def test_taken_back_everybody_follows_the_base(line):
    line.apply([Edit(BASE, 3)], 100)

    assert sent(line, 200) == [("c", 0, 3), ("a", -5, 3), ("b", -5, 3)]


def test_a_tenant_that_comes_in_later_moves_with_all_that_waits(line):
    canary = line.line.canary
    line.apply([Edit(BASE, 1, canary._replace(tenants=frozenset({"acme", "birch"})))], 100)

    assert [one.id for one in line.apply([], 5_000)] == ["a", "b"]


def test_a_slot_taken_under_one_version_comes_back_under_the_other(line):
    sent(line, 2)
    line.apply([Edit(BASE, 3)], 3)
    line.apply([Release("a"), Release("b"), Release("c")], 4)

    assert (line.slots.in_flight, line.waiting) == (0, 0)


def test_a_canary_that_changes_nothing_decides_as_the_base_does():
    """The same random traffic, with half the tenants on an equal version."""
    alone, traffic = trial(Random(5))
    policy = traffic.policy
    both = Trial(Scheduler(policy), Reference(policy))
    canary = Canary(policy, 1, frozenset({"acme", "cedar"}))
    both.step([Edit(policy, 0, canary)], 0)
    alone.step([Edit(policy, 0)], 0)
    for _ in range(300):
        ops = [op for op in traffic.operations() if not isinstance(op, Edit)]
        decided = [alone.step(ops, traffic.now_ms), both.step(ops, traffic.now_ms)]
        traffic.hear(decided[0])
        told = [
            [one._replace(version=0) if hasattr(one, "version") else one for one in d]
            for d in decided
        ]
        assert told[0] == told[1]


def test_random_policies_are_carried_by_a_canary_of_everybody_as_by_an_edit():
    draw = Random(3)
    policy = random_policy(draw)
    newer = replace(policy, tenants={"acme": TenantRules(weight=300)})
    ops = [Submit(f"r{n}", policy.tiers[0].name, "acme", 10) for n in range(3)]
    told = []
    for edit in (Edit(newer, 2), Edit(policy, 1, Canary(newer, 2, frozenset({"acme"})))):
        scheduler = Scheduler(policy, 1)
        scheduler.apply([edit, SetBackend("gpu", 1, 0)], 0)
        told.append(scheduler.apply(ops, 1) + scheduler.apply([Release("r0", 7)], 9))

    assert told[0] == told[1]
    assert told[0]
