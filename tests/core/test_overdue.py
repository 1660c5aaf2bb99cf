"""The starvation bound, watched in a running line: kept by the rescue lane, broken without it."""

from random import Random

import pytest
from msgspec.structs import replace

from gateway.core import overdue
from gateway.core.ops import Dispatch, Edit, Pause, Release, Retry, SetBackend, Submit
from gateway.core.ordering import RescueLane
from gateway.core.policy import TenantRules, default_policy
from gateway.core.scheduler import Scheduler
from tests.core.driving import Traffic, random_policy, steady

POLICY = replace(steady(default_policy()), ageing=None)
TARGET_S = {tier.name: tier.target_wait_s for tier in POLICY.tiers}
SLOTS = 4


def overload(scheduler, until_s, *, urgent="realtime"):
    """Every second as many urgent requests as can be served, and batch work that has to wait.

    Yields what is watched after each second.
    """
    scheduler.apply([SetBackend("gpu", SLOTS, 0)], 0)
    running = []
    for second in range(until_s):
        now_ms = second * 1000
        ops = [Release(one) for one in running]
        ops += [Submit(f"u{second}-{n}", urgent, "acme", 100) for n in range(SLOTS)]
        if second % 10 == 0:
            ops.append(Submit(f"b{second}", "batch", "birch", 100))
        done = scheduler.apply(ops, now_ms)
        running = [one.id for one in done if isinstance(one, Dispatch)]
        yield second, overdue.watch(scheduler, now_ms)


def test_with_a_rescue_lane_the_bound_is_used_and_never_passed():
    used = [
        seen["batch"].bound_used for _, seen in overload(Scheduler(POLICY), 1200) if "batch" in seen
    ]

    assert len(used) > 200
    assert 0.1 < max(used) <= 1


def test_a_rescue_lane_that_never_goes_breaks_the_promise_and_shows_it(monkeypatch):
    monkeypatch.setattr(RescueLane, "turn", lambda lane, now_ms: None)

    *_, (second, seen) = overload(Scheduler(POLICY), 700)

    assert seen["batch"].bound_used > 1
    assert seen["batch"].passed_over_ms == (second - TARGET_S["batch"]) * 1000


def test_without_a_share_nothing_is_promised_and_being_passed_over_still_counts_on():
    """Also while the oldest give up one by one."""
    tiers = tuple(replace(tier, max_wait_s=400) for tier in POLICY.tiers)
    scheduler = Scheduler(replace(POLICY, rescue_share=0, tiers=tiers))
    *_, (second, seen) = overload(scheduler, 1000)

    assert seen["batch"].bound_used is None
    assert seen["batch"].passed_over_ms == (second - TARGET_S["batch"]) * 1000


@pytest.mark.parametrize("why", ["paused", "its tenant's limit"])
def test_who_may_not_go_is_not_passed_over(why):
    limited = {} if why == "paused" else {"birch": TenantRules(max_in_flight=1)}
    scheduler = Scheduler(replace(POLICY, rescue_share=0, tenants=limited))
    if why == "paused":
        scheduler.apply([Pause("batch", True)], 0)
    else:
        scheduler.apply([SetBackend("other", 1, 0), Submit("b", "batch", "birch", 100)], 0)
    *_, (_, seen) = overload(scheduler, 700)

    assert "batch" not in seen


def test_a_dead_pool_passes_nobody_over():
    scheduler = Scheduler(POLICY)
    scheduler.apply([Submit("b", "batch", "birch", 100)], 0)
    scheduler.apply([], 1_000_000)

    assert overdue.watch(scheduler, 1_000_000)["batch"] == (0, 0.0)


def test_a_request_that_goes_ends_it():
    scheduler = Scheduler(replace(POLICY, rescue_share=0))
    *_, (second, seen) = overload(scheduler, 400)
    assert seen["batch"].passed_over_ms > 0
    scheduler.apply([SetBackend("more", 1000, 0)], second * 1000)

    assert overdue.watch(scheduler, second * 1000) == {}


@pytest.mark.parametrize("seed", [0, 2, 3])
def test_random_traffic_never_passes_the_bound(seed):
    """Boosts, pauses, limits, servers that come and go: what the promise does not rest on."""
    draw = Random(seed)
    policy = replace(random_policy(draw), rescue_share=0.1)
    scheduler, traffic = Scheduler(policy), Traffic(draw, policy)
    used = []
    for _ in range(1500):
        ops = [op for op in traffic.operations() if not isinstance(op, Edit | Retry)]
        traffic.policy = policy
        ops = [op._replace(arrived_ms=None) if isinstance(op, Submit) else op for op in ops]
        ops = [op for op in ops if not hasattr(op, "tier") or policy.tier(op.tier)]
        traffic.hear(scheduler.apply(ops, traffic.now_ms))
        used += [one.bound_used for one in overdue.watch(scheduler, traffic.now_ms).values()]

    assert len(used) > 50
    assert 0 < max(used) <= 1
