"""The data plane as one application: which paths are its own, its probes, its start and end."""

import asyncio
import threading
from threading import Event

import pytest
from asgiref.sync import sync_to_async
from django.db.backends.utils import CursorWrapper

from gateway.asgi import DataPlane
from gateway.core.policy import default_policy
from gateway.models import APIKey, PolicyVersion
from gateway.records import Sample
from tests.support.caller import Call
from tests.support.clock import until

WRITERS = {"presence", "recorder", "directory"}


@pytest.fixture
async def plane(transactional_db):
    """Started on a real database with a policy in it."""
    await sync_to_async(PolicyVersion.objects.publish)(default_policy(), "first")
    plane = DataPlane()
    yield plane
    await plane.stop()


async def get(plane: DataPlane, path: str, **how) -> Call:
    async with Call(plane, path, method="GET", **how) as call:
        return await call.done()


@pytest.mark.parametrize(
    ("path", "served"),
    [
        ("/v1/chat/completions", True),
        ("/v1/anything", True),
        ("/rerank", True),
        ("/livez", True),
        ("/metrics", True),
        ("/api/v1/requests/req_1/explain", True),
        ("/api/v1/live", False),
        ("/live/", False),
        ("/v2/embed", False),
        ("/", False),
    ],
)
def test_only_its_own_paths_are_the_data_planes(path, served):
    assert DataPlane.serves(path) is served


async def test_it_starts_with_the_first_request_and_is_ready_when_the_ticker_ticks(plane):
    alive = await get(plane, "/livez")
    await plane.publisher.tick()
    ready = await get(plane, "/readyz")

    assert (alive.status, ready.status) == (200, 200)
    assert ready.json()["checks"] == {"policy": True, "ticker": True, "not_draining": True}


async def test_it_is_not_ready_without_a_policy(transactional_db):
    plane = DataPlane()
    call = await get(plane, "/readyz")
    await plane.stop()

    assert (call.status, call.json()["checks"]["policy"]) == (503, False)


async def test_it_is_not_ready_while_it_drains(plane):
    await plane.start()
    plane.proxy.draining = True

    call = await get(plane, "/readyz")

    assert (call.status, call.json()["checks"]["not_draining"]) == (503, False)


async def test_metrics_are_for_listed_addresses_and_admin_keys(plane, acme):
    _, admin = await sync_to_async(APIKey.objects.issue)(acme, "ops", kind="admin")
    _, live = await sync_to_async(APIKey.objects.issue)(acme, "prod")
    listed = await get(plane, "/metrics")
    through_a_proxy = {"x-forwarded-for": "10.0.0.1"}
    stranger = await get(plane, "/metrics", headers=through_a_proxy)
    tenant = await get(plane, "/metrics", headers=through_a_proxy, key=live)
    ops = await get(plane, "/metrics", headers=through_a_proxy, key=admin)

    assert [call.status for call in (listed, stranger, tenant, ops)] == [200, 401, 403, 200]
    assert b"laneway_request_queue_time_seconds" in listed.content


async def test_the_lifespan_starts_and_ends_it(plane):
    heard = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    said = []

    async def receive():
        return next(heard)

    async def send(message):
        said.append(message["type"])

    await plane({"type": "lifespan"}, receive, send)

    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert not plane.running


async def test_a_listener_hears_every_frame(transactional_db):
    plane, heard = DataPlane(), []

    async def listener(frame):
        heard.append(frame.seq)

    plane.listen(listener)
    await plane.start()
    await plane.publisher.tick()
    await plane.stop()

    assert heard


async def test_a_database_that_hangs_does_not_keep_it_from_ending(plane, monkeypatch, caplog):
    monkeypatch.setattr("gateway.asgi.LAST_WRITE_S", 0.05)
    monkeypatch.setattr("gateway.records.LAST_FLUSH_S", 0.05)
    others = set(threading.enumerate())  # of earlier tests
    await plane.start()
    await until(lambda: plane.publisher.ticked_at)
    answering, execute = Event(), CursorWrapper.execute
    writers = [one for one in set(threading.enumerate()) - others if one.name in WRITERS]

    def patient(self, *args):
        answering.wait(20)
        return execute(self, *args)

    with monkeypatch.context() as patched:
        patched.setattr(CursorWrapper, "execute", patient)
        patched.setattr("gateway.records._write", lambda rows: answering.wait(20))
        plane.recorder.append(Sample("default", "batch", 0.0, 1, 1, None, None, None, 0.0, 0.0))
        async with asyncio.timeout(5):
            await plane.stop()
        answering.set()

    assert "the last records may be lost" in caplog.text
    assert len(writers) == len(WRITERS)
    assert all(thread.daemon for thread in writers)
    for thread in writers:
        await asyncio.to_thread(thread.join, 5)
