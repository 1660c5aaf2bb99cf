"""What people order, as running gateways do it: from rows, within a tick, also after a restart."""

import json
from datetime import timedelta
from itertools import count

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from gateway.auth import Directory
from gateway.backends import Fleet
from gateway.core.ops import SetBackend, Submit
from gateway.core.outlook import look
from gateway.core.policy import default_policy
from gateway.inquiry import Register
from gateway.models import APIKey, Backend, Override, PolicyVersion
from gateway.overrides import Overrides
from gateway.publisher import Publisher
from gateway.records import Recorder
from tests.support.clock import until

pytestmark = pytest.mark.django_db(transaction=True)
KEYS = count(1)


def row(verb, *, minutes=15.0, ago_s=0.0, **fields) -> Override:
    begun = timezone.now() - timedelta(seconds=ago_s)
    ends = begun + timedelta(minutes=minutes) if verb in ("pause", "drain", "move") else None
    fields = {"pool": "default", "owner": "otto", "reason": "upgrade"} | fields
    return Override(
        verb=verb,
        scope=f"test {verb}",
        begun_at=begun,
        ends_at=ends,
        changed_at=begun,
        changed_by="otto",
        key=f"key-{next(KEYS)}",
        **fields,
    )


async def order(verb, **fields) -> Override:
    one = row(verb, **fields)
    await one.asave()
    return one


async def answer_of(one: Override) -> tuple[int | None, int]:
    await one.arefresh_from_db()
    return one.applied, one.gateways


async def started() -> Publisher:
    """A gateway as it starts: it knows nothing yet."""
    publisher = Publisher(Directory(), Fleet(), Recorder(), Register())
    await publisher.take_over()
    return publisher


@pytest.fixture
async def live():
    await sync_to_async(PolicyVersion.objects.publish)(default_policy(), "first")
    await Backend.objects.acreate(name="gpu-1", url="http://127.0.0.1:9", max_in_flight=1)
    publisher = await started()
    yield publisher
    await publisher.fleet.close()


def queue_of(publisher: Publisher):
    return publisher.fleet.pools["default"].queue


def scheduler_of(publisher: Publisher):
    return queue_of(publisher).scheduler


def line_up(publisher: Publisher, *waiting: tuple[str, str]) -> None:
    """One request runs, these wait: pairs of id and tier, all of acme."""
    queue = queue_of(publisher)
    running = Submit("running", "standard", "acme", 1)
    queue.apply([SetBackend("gpu-1", 1, 0), running])
    queue.apply([Submit(id, tier, "acme", 1, task_type="summarize") for id, tier in waiting])


# What lasts


async def test_a_pause_of_another_process_holds_after_one_tick_and_is_shown(live):
    line_up(live, ("a", "batch"), ("b", "batch"))

    one = await order("pause", tier="batch")
    await live.tick()

    tiers = scheduler_of(live).line.tiers
    assert tiers["batch"].paused
    assert not tiers["standard"].paused
    assert await answer_of(one) == (2, 1)
    (shown,) = live.frame().overrides
    assert (shown.verb, shown.tier, shown.by, shown.reason) == ("pause", "batch", "otto", "upgrade")
    assert shown.ends_at == one.ends_at.timestamp()
    assert live.frame().pools[0].tiers[3].state == "paused"


async def test_a_pause_ends_when_a_person_ends_it(live):
    one = await order("pause", tier="batch")
    await live.tick()
    one.ended_at, one.ended_by = timezone.now(), "ada"
    await one.asave()

    await live.tick()

    assert not scheduler_of(live).line.tiers["batch"].paused
    assert live.frame().overrides == ()


async def test_a_pause_ends_by_itself_and_the_row_says_so(live, monkeypatch):
    one = await order("pause", tier="batch", minutes=1)
    await live.tick()
    later = timezone.now().timestamp() + 61
    monkeypatch.setattr("gateway.overrides.time.time", lambda: later)

    await live.tick()

    assert not scheduler_of(live).line.tiers["batch"].paused
    await one.arefresh_from_db()
    assert one.ended_at == one.ends_at
    assert one.ended_by == ""


async def test_overrides_survive_a_restart_and_hold_before_the_first_request(live):
    await order("pause", tier="batch")
    await order("drain", tier="standard", minutes=30)
    await live.tick()

    again = await started()

    try:
        tiers = scheduler_of(again).line.tiers
        assert tiers["batch"].paused
        assert tiers["standard"].draining
        assert [one.tier for one in again.overrides.views()] == ["batch", "standard"]
    finally:
        await again.fleet.close()


async def test_what_ran_its_term_while_no_gateway_was_there_is_closed_at_the_start(live):
    one = await order("pause", tier="batch", ago_s=3600)

    again = await started()

    try:
        assert not scheduler_of(again).line.tiers["batch"].paused
        await one.arefresh_from_db()
        assert one.ended_at == one.ends_at
    finally:
        await again.fleet.close()


async def test_every_process_holds_it_and_each_answers_once(live):
    other = await started()
    try:
        one = await order("pause", tier="batch")
        for publisher in (live, other, live, other):
            await publisher.tick()

        assert scheduler_of(other).line.tiers["batch"].paused
        assert await answer_of(one) == (0, 2)
    finally:
        await other.fleet.close()


async def test_a_new_policy_keeps_the_pause(live):
    await order("pause", tier="batch")
    await live.tick()
    policy = default_policy()
    without = tuple(tier for tier in policy.tiers if tier.name != "batch")
    tasks = {task: name for task, name in policy.task_types.items() if name != "batch"}
    changed = type(policy)(
        tiers=without, default_tier="standard", task_types=tasks, service_tiers={}
    )
    await sync_to_async(PolicyVersion.objects.publish)(changed, "without batch")
    await live.tick()
    await sync_to_async(PolicyVersion.objects.publish)(policy, "batch again")

    await live.tick()

    assert scheduler_of(live).line.tiers["batch"].paused


# What is done once


async def test_a_boost_reaches_what_the_filter_means_and_says_how_many(live):
    line_up(live, ("a", "batch"), ("b", "standard"), ("c", "batch"))

    one = await order("boost", by=2, selection={"tier": ["batch"]}, seen=2)
    await live.tick()
    await live.tick()

    boosts = {r.id: r.boost for r in look(scheduler_of(live), queue_of(live).now_ms()).head}
    assert boosts == {"a": 2, "b": 0, "c": 2}
    assert await answer_of(one) == (2, 1)


async def test_an_undone_boost_puts_back_those_it_reached_and_no_others(live):
    line_up(live, ("a", "batch"), ("b", "batch"))
    first = await order("boost", by=2, selection={"ids": ["a"]})
    await live.tick()
    second = await order("boost", by=-3, selection={"ids": ["b"]})
    await live.tick()

    await order("boost", undoes=first, selection={})
    await live.tick()

    boosts = {r.id: r.boost for r in look(scheduler_of(live), queue_of(live).now_ms()).head}
    assert boosts == {"a": 0, "b": -3}
    assert await answer_of(second) == (1, 1)


async def test_ids_that_ran_or_left_meanwhile_are_not_counted(live):
    line_up(live, ("a", "batch"))

    one = await order("evict", selection={"ids": ["a", "running", "gone"]}, seen=3)
    await live.tick()

    assert await answer_of(one) == (1, 1)
    assert scheduler_of(live).slots.in_flight == 1


async def test_what_was_to_be_done_once_is_not_done_again_by_the_next_gateway(live):
    await order("evict", selection={"tier": ["batch"]})
    await live.tick()

    again = await started()
    try:
        line_up(again, ("new", "batch"))
        await again.tick()

        assert scheduler_of(again).waits("new")
    finally:
        await again.fleet.close()


async def test_an_order_for_a_pool_that_is_not_there_reaches_nobody(live):
    one = await order("boost", by=1, pool="other", selection={})

    await live.tick()

    assert await answer_of(one) == (0, 1)


# Moved


async def test_a_moved_tenants_callers_carry_the_tier_until_the_term_ends(live, acme):
    _, key = await sync_to_async(APIKey.objects.issue)(acme, "prod")
    await order("move", pool="", tenant="acme", tier="critical", minutes=60)
    await live.tick()
    headers = {"authorization": f"Bearer {key}"}

    moved = live.directory.authenticate(headers, "/v1/models")
    live.directory._now = lambda: timezone.now().timestamp() + 3601
    later = live.directory.authenticate(headers, "/v1/models")

    assert (moved.moved_to, later.moved_to) == ("critical", "")


# Marks


async def test_marks_tell_who_did_what_oldest_first(live):
    one = await order("pause", tier="batch", ago_s=5)
    one.ended_at, one.ended_by = timezone.now(), "ada"
    await one.asave()
    await order("boost", by=2, selection={"tier": ["standard"]})
    await live.tick()

    told = [(mark.kind, mark.text, mark.by) for mark in live.frame().marks]
    assert sorted(told) == [
        ("override", "boosted all that wait (tier standard) by +2", "otto"),
        ("override", "paused batch", "otto"),
        ("override_ended", "paused batch: ended", "ada"),
        ("policy", "policy v1", ""),
    ]
    moments = [mark.at for mark in live.frame().marks]
    assert moments == sorted(moments)


async def test_a_mark_stays_short_however_long_its_filter(live):
    await order("boost", by=2, selection={"tenant": [f"tenant-{n}" for n in range(500)]})
    await live.tick()

    assert max(len(mark.text) for mark in live.frame().marks) == 100


# As callers meet them


def hold(gateway, *rows: Override) -> Overrides:
    """The gateway's own parts, with orders put in by hand."""
    directory = gateway.proxy.directory
    values = tuple(one.as_row()._replace(id=n, answered=True) for n, one in enumerate(rows, 1))
    directory.state = directory.state._replace(overrides=values)
    return Overrides(directory, gateway.proxy.fleet, gateway.proxy.register)


async def test_a_drained_tier_answers_503_with_its_reason_and_when_to_come_back(gateway):
    await hold(gateway, row("drain", tier="batch", reason="engine upgrade")).keep()

    async with gateway.chat("batch_inference") as call:
        await call.done()
    async with gateway.chat("summarize") as other:
        await until(lambda: gateway.vllm.generations)
        gateway.vllm.generations[0].finish()
        await other.done()

    assert call.status == 503
    error = call.json()["error"]
    assert (error["code"], error["type"]) == ("tier_draining", "service_unavailable_error")
    assert "engine upgrade" in error["message"]
    assert 1 <= int(call.headers["retry-after"]) <= 60
    assert "x-should-retry" not in call.headers
    assert other.status == 200


async def test_what_waits_in_a_drained_tier_is_still_served(gateway):
    async with gateway.chat("batch_inference"):
        await until(lambda: gateway.vllm.generations)
        async with gateway.chat("batch_inference") as waits:
            await until(lambda: gateway.waiting == 1)
            await hold(gateway, row("drain", tier="batch")).keep()
            gateway.vllm.generations[0].finish()
            await until(lambda: len(gateway.vllm.generations) == 2)
            gateway.vllm.generations[1].finish()
            await waits.done()

    assert waits.status == 200


async def test_a_paused_tiers_caller_waits_and_may_hang_up(gateway):
    await hold(gateway, row("pause", tier="batch")).keep()

    async with gateway.chat("batch_inference"):
        await until(lambda: gateway.waiting == 1)
        assert gateway.in_flight == 0

    await until(lambda: gateway.waiting == 0)
    assert not gateway.vllm.generations


@pytest.mark.parametrize("slots", [1])
async def test_the_evicted_are_told_the_reason_and_to_give_up(gateway):
    overrides = hold(gateway)
    await overrides.keep()
    async with gateway.chat("batch_inference"):
        await until(lambda: gateway.vllm.generations)
        async with gateway.chat("batch_inference") as one, gateway.chat("summarize") as other:
            await until(lambda: gateway.waiting == 2)
            evict = row("evict", selection={"task_type": ["batch_inference"]}, reason="wrong file")
            state = gateway.proxy.directory.state
            gateway.proxy.directory.state = state._replace(
                overrides=(evict.as_row()._replace(id=9),)
            )
            await overrides.keep()
            await one.done()
            assert gateway.waiting == 1
            assert not other.ended

    assert one.status == 503
    assert one.json()["error"]["code"] == "evicted"
    assert "wrong file" in one.json()["error"]["message"]
    assert one.headers["x-should-retry"] == "false"


async def test_an_aborted_request_ends_its_stream_with_the_reason_and_frees_its_slot(gateway):
    overrides = hold(gateway)
    await overrides.keep()
    async with gateway.chat("chat") as call:
        await until(lambda: gateway.vllm.generations)
        gateway.vllm.generations[0].token("one ")
        await until(lambda: b"one " in call.content)
        (journey,) = gateway.proxy.register.journeys.values()
        order = row("abort", selection={"ids": [journey.id, "gone"]}, reason="runs for ever")
        state = gateway.proxy.directory.state
        gateway.proxy.directory.state = state._replace(overrides=(order.as_row()._replace(id=9),))
        await overrides.keep()
        await call.done()

    assert json.loads(call.events[-2].removeprefix("data: "))["error"]["code"] == "evicted"
    assert "runs for ever" in call.events[-2]
    assert call.events[-1] == "data: [DONE]"
    assert gateway.in_flight == 0


async def test_what_waits_is_not_aborted(gateway):
    overrides = hold(gateway, row("pause", tier="batch"))
    await overrides.keep()
    async with gateway.chat("batch_inference") as call:
        await until(lambda: gateway.waiting == 1)
        (journey,) = gateway.proxy.register.journeys.values()
        order = row("abort", selection={"ids": [journey.id]}).as_row()._replace(id=9)
        state = gateway.proxy.directory.state
        gateway.proxy.directory.state = state._replace(overrides=(*state.overrides, order))
        await overrides.keep()

        assert gateway.waiting == 1
        assert not call.ended


async def test_a_moved_tenants_answer_says_that_it_was_moved(gateway):
    gateway.proxy.directory._now = lambda: timezone.now().timestamp()
    await hold(gateway, row("move", pool="", tenant="acme", tier="critical")).keep()

    async with gateway.chat("batch_inference", stream=False) as call:
        await until(lambda: gateway.vllm.generations)
        gateway.vllm.generations[0].finish()
        await call.done()

    assert call.headers["x-laneway-tier"] == "critical"
    assert call.headers["x-laneway-reason"] == "moved:critical"
