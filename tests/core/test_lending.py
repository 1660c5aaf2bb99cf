"""Reserved slots: lent while idle, back at the next release, and never in the way of urgency."""

import pytest
from msgspec.structs import replace

from gateway.core.ops import Dispatch, Op, Pause, Release, SetBackend, Submit
from gateway.core.policy import Limits, Policy, TenantRules, default_policy
from gateway.core.scheduler import Scheduler
from tests.core.driving import steady


def reserving(share: float = 0, **slots: int) -> Policy:
    tenants = {slug: TenantRules(reserved=count) for slug, count in slots.items()}
    return steady(replace(default_policy(), tenants=tenants, ageing=None, rescue_share=share))


def pool(limit: int, policy: Policy, held_back: int = 0) -> Scheduler:
    scheduler = Scheduler(policy)
    scheduler.apply([SetBackend("gpu", limit, held_back)], 0)
    return scheduler


def many(tenant: str, tier: str, count: int) -> list[Op]:
    return [Submit(f"{tenant}-{tier}-{n}", tier, tenant, 100) for n in range(count)]


def went(scheduler: Scheduler, ops: list[Op], now_ms: int = 1) -> list[tuple[str, str]]:
    decisions = scheduler.apply(ops, now_ms)
    return [(one.id, one.lane) for one in decisions if isinstance(one, Dispatch)]


def test_an_idle_reservation_is_lent_whole():
    scheduler = pool(4, reserving(acme=3))

    assert len(went(scheduler, many("birch", "standard", 6))) == 4


def test_a_lent_slot_comes_back_at_the_next_release():
    scheduler = pool(4, reserving(acme=2))
    went(scheduler, many("birch", "standard", 9))
    assert went(scheduler, many("acme", "batch", 3)) == []

    releases = [went(scheduler, [Release(f"birch-standard-{n}")]) for n in range(3)]

    assert releases == [
        [("acme-batch-0", "reserved")],
        [("acme-batch-1", "reserved")],
        [("birch-standard-4", "strict")],
    ]


def test_only_as_many_slots_are_kept_as_the_owner_has_requests_for():
    scheduler = pool(5, reserving(acme=4))
    scheduler.apply([Pause("batch"), *many("acme", "batch", 1)], 0)

    sent = went(scheduler, [Pause("batch", paused=False), *many("birch", "standard", 9)])

    assert [id.split("-")[0] for id, _ in sent] == ["birch"] * 4 + ["acme"]


def test_an_urgent_request_never_asks():
    scheduler = pool(2, reserving(acme=1), held_back=0)
    went(scheduler, many("birch", "standard", 2))
    went(scheduler, many("acme", "batch", 1))

    sent = went(scheduler, [*many("birch", "critical", 1), Release("birch-standard-0")])

    assert sent == [("birch-critical-0", "strict")]


def test_an_overdue_request_never_asks():
    scheduler = pool(2, reserving(share=0.1, acme=1))
    went(scheduler, many("birch", "standard", 3))
    went(scheduler, many("acme", "batch", 1), 59_000)

    sent = went(scheduler, [Release("birch-standard-0")], 60_001)

    assert sent == [("birch-standard-2", "rescue")]


@pytest.mark.parametrize(
    ("slots", "split"),
    [
        ({"acme": 1000}, {"acme": 8, "birch": 0, "cedar": 2}),
        ({"acme": 30, "birch": 10}, {"acme": 6, "birch": 2, "cedar": 2}),
        ({"acme": 2, "birch": 1}, {"acme": 2, "birch": 1, "cedar": 7}),
    ],
    ids=["one for all", "cut in proportion", "as reserved"],
)
def test_four_fifths_of_the_slots_can_be_owed_at_most(slots, split):
    scheduler = pool(10, reserving(**slots))
    running = [id for id, _ in went(scheduler, many("cedar", "standard", 60))]
    ops = [*many("acme", "batch", 60), *many("birch", "batch", 60)]
    went(scheduler, ops)

    for _ in range(30):
        running += [id for id, _ in went(scheduler, [Release(running.pop(0))])]

    held = [id.split("-")[0] for id in running]
    assert {slug: held.count(slug) for slug in split} == split


@pytest.mark.parametrize(
    ("rules", "ops"),
    [
        (TenantRules(reserved=4), [Pause("batch")]),
        (TenantRules(reserved=4, max_in_flight=1), []),
        (TenantRules(reserved=4, tier_limits={"batch": Limits(max_in_flight=1)}), []),
    ],
    ids=["paused", "tenant full", "tier full"],
)
def test_nothing_is_kept_for_who_could_not_take_it(rules, ops):
    scheduler = pool(5, replace(reserving(), tenants={"acme": rules}))
    went(scheduler, [*ops, *many("acme", "batch", 4)])

    assert len(went(scheduler, many("birch", "standard", 9))) >= 4
    assert scheduler.slots.in_flight == 5
