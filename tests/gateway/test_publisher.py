"""The ticker: frames out, changes in, and each part failing alone."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from threading import Event

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.core.cache import cache
from django.db.backends.utils import CursorWrapper
from django.utils import timezone
from msgspec.structs import replace

from gateway import questions
from gateway.aside import Aside
from gateway.auth import Directory
from gateway.backends import Fleet
from gateway.core.canary import place
from gateway.core.policy import TenantRules, default_policy
from gateway.inquiry import Register
from gateway.models import APIKey, Backend, Override, PolicyVersion, Revision, Rollout
from gateway.newest import FRAME
from gateway.publisher import GROUP, LOOKS, Publisher
from gateway.records import Recorder, Sample
from tests.support.clock import until


@pytest.fixture(autouse=True)
def nothing_asked():
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
async def publisher(gateway) -> AsyncIterator[Publisher]:
    proxy = gateway.proxy
    publisher = Publisher(proxy.directory, proxy.fleet, proxy.recorder, proxy.register)
    publisher.look = nothing_changed  # type: ignore[method-assign] # no database here
    yield publisher
    publisher.close()


async def nothing_changed() -> None:
    return


async def test_a_frame_goes_to_watchers_and_stays_as_the_latest(publisher):
    layer = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add(GROUP, channel)

    await publisher.tick()

    message = await layer.receive(channel)
    frame = json.loads(message["text"])
    assert message["type"] == "live.frame"
    assert (frame["v"], frame["seq"], frame["policy_version"]) == (1, 1, 1)
    assert frame["pools"][0]["tiers"][0]["name"] == "realtime"
    assert await cache.aget(FRAME) == message["text"]
    assert len(message["text"]) < 16_000


async def test_changes_are_looked_for_several_times_a_tick(publisher, monkeypatch):
    monkeypatch.setattr("gateway.publisher.TICK_S", 0.02)
    looks = []

    async def look() -> None:
        looks.append(publisher._seq)

    publisher.look = look
    running = asyncio.create_task(publisher.run())
    await until(lambda: publisher._seq == 3)
    running.cancel()

    assert (looks.count(1), looks.count(2)) == (LOOKS, LOOKS)


async def test_every_tick_leaves_a_sample_of_every_tier(publisher, gateway):
    before = gateway.proxy.recorder.buffered

    await publisher.tick()

    assert gateway.proxy.recorder.buffered == before + 5
    assert isinstance(gateway.proxy.recorder._rows[-1], Sample)


async def test_a_listener_that_fails_stops_neither_the_others_nor_the_next_second(
    publisher, caplog
):
    heard = []

    async def broken(frame):
        raise RuntimeError("no")

    async def fine(frame):
        heard.append(frame.seq)

    publisher.listeners += [broken, fine]
    await publisher.tick()
    await publisher.tick()

    assert heard == [1, 2]
    assert "broken failed; trying again" in caplog.text


@pytest.fixture
async def live(transactional_db):
    """A publisher on a real database, with nothing in front of it."""
    fleet = Fleet()
    publisher = Publisher(Directory(), fleet, Recorder(), Register())
    yield publisher
    publisher.close()
    publisher.directory.close()
    await fleet.close()


@pytest.fixture
def answering(monkeypatch) -> Iterator[Event]:
    """Clear it, and the database hangs until it is set again."""
    monkeypatch.setattr("gateway.aside.PATIENCE_S", 0.02)
    answering = Event()
    answering.set()
    execute = CursorWrapper.execute

    def patient(self, *args):
        answering.wait(10)
        return execute(self, *args)

    monkeypatch.setattr(CursorWrapper, "execute", patient)
    yield answering
    answering.set()


async def test_a_database_that_hangs_holds_back_only_what_needs_it(live, answering, monkeypatch):
    heard, aside = [], Aside("asks")

    async def asks_it(frame):
        await aside.run(Revision.current)

    async def hears(frame):
        heard.append(frame.seq)

    live.listeners += [asks_it, hears]
    await sync_to_async(PolicyVersion.objects.publish)(default_policy(), "first")
    await Backend.objects.acreate(name="gpu-1", url="http://127.0.0.1:9", max_in_flight=4)
    order = pause("batch")
    await order.asave()
    await live.take_over()
    batch = live.fleet.pools["default"].queue.scheduler.line.tiers["batch"]
    assert batch.paused

    answering.clear()
    page = asyncio.create_task(sync_to_async(Revision.current)())  # takes Django's own thread
    over = time.time() + 3601
    monkeypatch.setattr("gateway.overrides.time.time", lambda: over)
    layer = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add(GROUP, channel)
    async with asyncio.timeout(5):
        for _ in range(4):
            await live.tick()
        shown = [await layer.receive(channel) for _ in range(4)]

    assert heard == [1, 2, 3, 4]
    answering.set()
    await page
    assert await cache.aget(FRAME) == shown[-1]["text"]
    assert not batch.paused
    await until(lambda: live.overrides._writing._task.done())  # perhaps begun before its end
    await live.overrides.keep()
    await until(lambda: live.overrides._writing._task.done())
    await order.arefresh_from_db()
    assert order.ended_at == order.ends_at
    aside.close()


async def test_what_changed_while_the_database_hung_is_in_force_when_it_answers(live, answering):
    await sync_to_async(PolicyVersion.objects.publish)(default_policy(), "first")
    await live.take_over()
    await Backend.objects.acreate(name="gpu-1", url="http://127.0.0.1:9", max_in_flight=4)

    answering.clear()
    await live.tick()
    assert not live.fleet.pools
    answering.set()

    await until(lambda: "default" in live.fleet.pools)


def pause(tier: str) -> Override:
    at = timezone.now()
    who = {"owner": "otto", "changed_by": "otto", "scope": "", "key": tier, "reason": ""}
    ends_at = at + timedelta(hours=1)
    return Override(
        verb="pause", pool="default", tier=tier, begun_at=at, changed_at=at, ends_at=ends_at, **who
    )


async def test_a_revoked_key_is_refused_after_the_next_tick(live, acme):
    await sync_to_async(PolicyVersion.objects.publish)(default_policy(), "first")
    row, key = await sync_to_async(APIKey.objects.issue)(acme, "prod")
    headers = {"authorization": f"Bearer {key}"}
    await live.tick()
    live.directory.authenticate(headers, "/v1/models")
    started = time.perf_counter()

    row.status = APIKey.Status.REVOKED
    await row.asave()
    await live.tick()

    with pytest.raises(Exception, match="revoked"):
        live.directory.authenticate(headers, "/v1/models")
    assert time.perf_counter() - started < 1.0


async def test_a_published_policy_and_a_new_backend_are_in_force_after_the_next_tick(live):
    await sync_to_async(PolicyVersion.objects.publish)(default_policy(), "first")
    await Backend.objects.acreate(name="gpu-1", url="http://127.0.0.1:9", max_in_flight=4)
    await live.tick()
    pool = live.fleet.pools["default"]

    policy = default_policy()
    policy = type(policy)(
        tiers=policy.tiers, default_tier="batch", tenants={"acme": TenantRules(weight=7)}
    )
    await sync_to_async(PolicyVersion.objects.publish)(policy, "second")
    await live.tick()

    assert pool.queue.scheduler.line.version == 2
    assert live.directory.state.policy.default_tier == "batch"
    assert live.frame().policy_version == 2


async def test_a_policy_is_the_callers_no_sooner_than_the_line_s(live, monkeypatch):
    """A request placed in a tier that its line has never heard of could not be answered."""
    await sync_to_async(PolicyVersion.objects.publish)(default_policy(), "first")
    await Backend.objects.acreate(name="gpu-1", url="http://127.0.0.1:9", max_in_flight=4)
    await live.take_over()
    await sync_to_async(PolicyVersion.objects.publish)(default_policy(), "second")
    line = live.fleet.pools["default"].queue.scheduler.line
    run, seen = live.directory._aside.run, []

    async def as_on_a_busy_loop(*work):
        answer = await run(*work)
        seen.append((live.directory.state.policy_version, line.version))  # others run meanwhile
        return answer

    monkeypatch.setattr(live.directory._aside, "run", as_on_a_busy_loop)
    await live.take_over()

    assert seen == [(1, 1)]
    assert (live.directory.state.policy_version, line.version) == (2, 2)


async def test_a_page_that_asks_for_the_line_gets_all_of_it_and_an_explanation(publisher, gateway):
    async with gateway.chat("chat"), gateway.chat("chat"):
        await until(lambda: len(gateway.vllm.generations) == 2)
        async with gateway.chat("batch_inference") as low:
            await until(lambda: gateway.waiting == 1)
            (waiting,) = [id for id, one in gateway.proxy.register.journeys.items() if one.pool][2:]
            assert await sync_to_async(questions.ask_line)() is None
            assert await sync_to_async(questions.ask_why)(waiting) is None
            await sync_to_async(questions.ask_why)("req_nobody")

            await publisher.tick()

            line = json.loads(await sync_to_async(questions.ask_line)())
            why = json.loads(await sync_to_async(questions.ask_why)(waiting))
            unknown = json.loads(await sync_to_async(questions.ask_why)("req_nobody"))
            low.hang_up()

    assert [row[1] for row in line["default"]] == [waiting]
    assert line["default"][0][4] == "batch_inference"
    assert len(line["default"][0][5]) == 8  # the key's id
    assert why["explanation"]["binds"] == "limit"
    assert unknown == {}


async def test_nobody_who_asks_costs_nobody_anything(publisher):
    await publisher.tick()

    assert await cache.aget(questions.LINE) is None


async def test_a_canary_is_live_in_the_line_for_its_tenants_and_gone_after_its_end(
    live, acme, birch
):
    await sync_to_async(PolicyVersion.objects.publish)(default_policy(), "first")
    policy = replace(default_policy(), task_types={"chat": "batch"})
    await sync_to_async(PolicyVersion.objects.publish)(policy, "second")
    bar = max(place(acme.pk), place(birch.pk))
    row = await Rollout.objects.acreate(version=2, base=1, percent=50, bar=bar)
    keys = {t: (await sync_to_async(APIKey.objects.issue)(t, "prod"))[1] for t in (acme, birch)}
    await Backend.objects.acreate(name="gpu-1", url="http://127.0.0.1:9", max_in_flight=4)

    await live.tick()

    def versions():
        callers = [
            live.directory.authenticate({"authorization": f"Bearer {key}"}, "/v1/models")
            for key in keys.values()
        ]
        assert all(c.policy.task_types["chat"] == "batch" for c in callers if c.policy_version == 2)
        return sorted(caller.policy_version for caller in callers)

    line = live.fleet.pools["default"].queue.scheduler.line
    assert versions() == [1, 2]
    assert (line.version, line.canary.version, len(line.canary.tenants)) == (1, 2, 1)
    assert live.frame().policy_version == 2

    await sync_to_async(Rollout.objects.filter(pk=row.pk).update)(state="promoted")
    await live.tick()

    assert versions() == [2, 2]
    assert (line.version, line.canary) == (2, None)
