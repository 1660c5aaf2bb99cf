"""What the discipline promises, over simulated minutes, each with a control that must fail.

The server here is the simplest there is: a slot is busy for a time in proportion to cost.
"""

from bisect import bisect_left
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random

import pytest
from msgspec.structs import replace

from gateway.core.ops import Dispatch, Op, Release, SetBackend, Submit
from gateway.core.policy import Policy, TenantRules, Tier, default_policy
from gateway.core.scheduler import Scheduler
from tests.core.driving import steady

SLOTS = 8
MS_A_TOKEN = 4  # so the pool serves 2,000 tokens a second


@dataclass
class Sent:
    tier: str
    tenant: str
    cost: int
    arrived_ms: int
    dispatched_ms: int | None = None
    before: int = 0  # cost dispatched before it, since the start
    rescued: bool = False


def serve(
    policy: Policy, arrivals: list[Sent], until_ms: int, *, one_flow: bool = False
) -> list[Sent]:
    """Run the arrivals through a scheduler; ``one_flow`` makes it first in, first out."""
    scheduler = Scheduler(policy)
    scheduler.apply([SetBackend("gpu", SLOTS)], 0)
    ends: list[tuple[int, str]] = []
    queue = sorted(enumerate(arrivals), key=lambda pair: pair[1].arrived_ms)
    total = place = 0
    while place < len(queue) or ends:
        due = [ends[0][0]] if ends else []
        due += [queue[place][1].arrived_ms] if place < len(queue) else []
        now_ms = min(due)
        if now_ms > until_ms:
            break
        ops: list[Op] = []
        while ends and ends[0][0] == now_ms:
            ops.append(Release(heappop(ends)[1]))
        while place < len(queue) and queue[place][1].arrived_ms == now_ms:
            number, sent = queue[place]
            place += 1
            tenant = "everyone" if one_flow else sent.tenant
            ops.append(Submit(str(number), sent.tier, tenant, sent.cost))
        for decision in scheduler.apply(ops, now_ms):
            assert isinstance(decision, Dispatch)
            sent = arrivals[int(decision.id)]
            sent.dispatched_ms = now_ms
            sent.before = total
            sent.rescued = decision.lane == "rescue"
            total += sent.cost
            heappush(ends, (now_ms + sent.cost * MS_A_TOKEN, decision.id))
    return arrivals


def poisson(
    draw: Random, tier: str, tenant: str, per_s: float, mean_cost: int, for_s: int
) -> list[Sent]:
    sent, at_s = [], draw.expovariate(per_s)
    while at_s < for_s:
        cost = max(1, min(8 * mean_cost, round(draw.expovariate(1 / mean_cost))))
        sent.append(Sent(tier, tenant, cost, round(at_s * 1000)))
        at_s += draw.expovariate(per_s)
    return sent


# Starvation: an overdue request waits for at most (B + c_max) / share of cost


def worst_of_bound(
    policy: Policy, share: float, sent: list[Sent], until_ms: int
) -> tuple[int, float]:
    """How many became overdue, and the most cost one of them let pass, as a part of its bound."""
    target_ms = {tier.name: round(tier.target_wait_s * 1000) for tier in policy.tiers}
    largest = max(one.cost for one in sent)
    order = sorted((one for one in sent if one.dispatched_ms is not None), key=lambda o: o.before)
    moments = [one.dispatched_ms or 0 for one in order]
    total = order[-1].before + order[-1].cost
    overdue, worst = 0, 0.0
    for one in sent:
        due_ms = one.arrived_ms + target_ms[one.tier]
        if due_ms > until_ms or (one.dispatched_ms is not None and one.dispatched_ms < due_ms):
            continue
        overdue += 1
        start = bisect_left(moments, due_ms)
        passed = (one.before if one.dispatched_ms is not None else total) - (
            order[start].before if start < len(order) else total
        )
        earlier = sum(
            other.cost
            for other in sent
            if other.arrived_ms + target_ms[other.tier] <= due_ms
            and (other.dispatched_ms is None or other.dispatched_ms >= due_ms)
        )
        worst = max(worst, passed / ((earlier + largest) / share))
    return overdue, worst


def overload(seed: int) -> list[Sent]:
    """Urgent work alone is a little more than the pool serves; the rest comes on top."""
    draw = Random(seed)
    return [
        *poisson(draw, "realtime", "acme", 6, 175, 90),
        *poisson(draw, "critical", "birch", 6, 175, 90),
        *poisson(draw, "standard", "acme", 2, 150, 90),
        *poisson(draw, "standard", "cedar", 1, 300, 90),
        *poisson(draw, "batch", "birch", 1, 400, 90),
        *poisson(draw, "background", "dogwood", 0.5, 300, 90),
    ]


def impatient(share: float, *, ages: bool = True) -> Policy:
    policy = default_policy()
    targets = {"realtime": 2, "critical": 4, "standard": 10, "batch": 20, "background": 30}
    tiers = tuple(replace(tier, target_wait_s=targets[tier.name]) for tier in policy.tiers)
    ageing = policy.ageing if ages else None
    return steady(replace(policy, tiers=tiers, ageing=ageing, rescue_share=share))


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2])
@pytest.mark.parametrize("ages", [True, False], ids=["ageing", "no_ageing"])
def test_an_overdue_request_never_waits_past_its_bound(share, ages):
    policy = impatient(share, ages=ages)

    sent = serve(policy, overload(seed=3), 150_000)

    overdue, worst = worst_of_bound(policy, share, sent, 150_000)
    assert overdue > 100
    assert 0.3 < worst <= 1


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_the_bound_holds_beside_reservations(share):
    owners = {"acme": TenantRules(reserved=4), "dogwood": TenantRules(reserved=2)}
    policy = replace(impatient(share), tenants=owners)

    sent = serve(policy, overload(seed=3), 150_000)

    overdue, worst = worst_of_bound(policy, share, sent, 150_000)
    assert overdue > 100
    assert 0.3 < worst <= 1


def test_without_the_rescue_lane_the_bound_is_broken():
    policy = impatient(0)

    sent = serve(policy, overload(seed=3), 150_000)

    _, worst = worst_of_bound(policy, 0.1, sent, 150_000)
    assert worst > 1


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2])
def test_the_rescue_lane_takes_no_more_than_its_share(share):
    sent = serve(impatient(share), overload(seed=4), 90_000)

    gone = [one for one in sent if one.dispatched_ms is not None]
    rescued = sum(one.cost for one in gone if one.rescued)
    assert 0 < rescued <= share * sum(one.cost for one in gone) + max(one.cost for one in gone)


def test_rescue_leaves_the_most_urgent_their_slots():
    sent = serve(impatient(0.1), overload(seed=4), 90_000)

    urgent = [one for one in sent if one.tier == "realtime"]
    waits = sorted((one.dispatched_ms or 150_000) - one.arrived_ms for one in urgent)
    assert waits[len(waits) // 2] < 1_000


# Fairness between tenants inside one level


def flat(weights: dict[str, int] | None = None) -> Policy:
    tier = Tier(name="standard", priority=0, target_wait_s=600, max_wait_s=3600, max_waiting=1000)
    tenants = {slug: TenantRules(weight=weight) for slug, weight in (weights or {}).items()}
    policy = Policy(tiers=(tier,), default_tier="standard", ageing=None, tenants=tenants)
    return steady(policy)


def backlog(draw: Random) -> list[Sent]:
    """Four tenants who always want more; one asks often, one asks for much at once."""
    return [
        Sent("standard", tenant, max(1, round(draw.gauss(cost, cost / 5))), draw.randrange(3_000))
        for tenant, cost, count in (
            ("acme", 40, 1_000),
            ("birch", 150, 1_000),
            ("cedar", 400, 250),
            ("dogwood", 900, 300),
        )
        for _ in range(count)
    ]


def tokens_by_tenant(sent: list[Sent]) -> dict[str, int]:
    tokens: dict[str, int] = {}
    for one in sent:
        if one.dispatched_ms is not None:
            tokens[one.tenant] = tokens.get(one.tenant, 0) + one.cost
    return tokens


def jain(shares: list[float]) -> float:
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


def test_equal_tenants_get_equal_tokens():
    sent = serve(flat(), backlog(Random(1)), 60_000)

    tokens = tokens_by_tenant(sent)
    assert jain([float(count) for count in tokens.values()]) >= 0.99
    assert max(tokens.values()) - min(tokens.values()) <= 2 * max(one.cost for one in sent)


def test_first_in_first_out_is_not_fair():
    sent = serve(flat(), backlog(Random(1)), 60_000, one_flow=True)

    assert jain([float(count) for count in tokens_by_tenant(sent).values()]) < 0.98


def test_tokens_follow_weights():
    weights = {"acme": 100, "birch": 200, "cedar": 100, "dogwood": 300}

    sent = serve(flat(weights), backlog(Random(1)), 60_000)

    tokens = tokens_by_tenant(sent)
    assert jain([tokens[slug] / weight for slug, weight in weights.items()]) >= 0.98


def test_a_small_tenant_hardly_notices_a_flooder():
    def waits_beside_a_flood(*, one_flow: bool) -> float:
        draw = Random(5)
        few = poisson(draw, "standard", "tess", 1, 100, 60)
        flood = poisson(draw, "standard", "ben", 25, 100, 60)
        serve(flat(), [*few, *flood], 200_000, one_flow=one_flow)
        return sum((one.dispatched_ms or 0) - one.arrived_ms for one in few) / len(few)

    fair_ms = waits_beside_a_flood(one_flow=False)

    assert fair_ms <= 0.1 * waits_beside_a_flood(one_flow=True)
