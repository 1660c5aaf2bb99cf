"""The database of a running gateway is locked, read-only or gone: what is served, said and kept."""

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connections

from gateway.asgi import DataPlane
from gateway.core.policy import default_policy
from gateway.models import APIKey, Backend, PolicyVersion, Tenant, UsageRecord
from tests.support.caller import Call
from tests.support.clock import until
from tests.support.fake_vllm import FakeVLLM, fake_vllm

pytestmark = pytest.mark.skipif(
    "sqlite3" not in settings.DATABASES["default"]["ENGINE"], reason="about SQLite's file"
)


class Site:
    """A data plane on the test's database, with a model server behind it."""

    def __init__(self, plane: DataPlane, vllm: FakeVLLM, key: str) -> None:
        self.plane = plane
        self.vllm = vllm
        self.key = key

    def ask(self) -> Call:
        body = {"model": "qwen", "messages": [], "stream": False}
        return Call(self.plane, "/v1/chat/completions", body, key=self.key)

    async def status(self) -> int:
        async with self.ask() as call:
            await call.done()
        return call.status

    async def readyz(self) -> tuple[int, Any]:
        async with Call(self.plane, "/readyz", method="GET") as call:
            await call.done()
        return call.status, call.json()


def issue(url: str) -> str:
    PolicyVersion.objects.publish(default_policy(), "first")
    Backend.objects.create(name="gpu-1", url=url, max_in_flight=2)
    return APIKey.objects.issue(Tenant.objects.create(slug="acme", name="Acme"), "prod")[1]


@pytest.fixture
async def site(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    # Whoever meets a lock waits 5 s for it; the same happens in 0.05.
    options = connections.settings["default"]["OPTIONS"]
    monkeypatch.setitem(options, "timeout", 0.05)
    monkeypatch.setattr("gateway.records.FLUSH_S", 0.05)
    monkeypatch.setattr("gateway.records.LAST_TRY_EVERY_S", 0.05)
    async with fake_vllm() as vllm:
        vllm.automatic = True
        plane = DataPlane()
        key = await sync_to_async(issue)(vllm.url)
        await plane.start()
        await until(lambda: "qwen" in plane.fleet.pools["default"].models())
        yield Site(plane, vllm, key)
        await plane.stop()


def file() -> Path:
    return Path(connections.settings["default"]["NAME"])


@contextmanager
def locked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Somebody writes and does not come to an end, as a copy of the whole might."""
    with closing(sqlite3.connect(file(), isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        yield
        writer.execute("ROLLBACK")


@contextmanager
def read_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a disk that was mounted so.  Every look of the gateway opens the file anew."""
    with monkeypatch.context() as patched:
        patched.setitem(connections.settings["default"], "NAME", f"file:{file()}?mode=ro")
        yield


@contextmanager
def gone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whoever opens it finds an empty one in its place."""
    with monkeypatch.context() as patched:
        empty = file().with_name(f"empty-{file().name}")
        patched.setitem(connections.settings["default"], "NAME", empty)
        yield
    for one in empty.parent.glob(f"{empty.name}*"):
        one.unlink()


WAIT = "[0-9]+ records wait for the database: "
SAID = {
    locked: re.compile(WAIT + "database is locked"),
    read_only: re.compile(WAIT + "attempt to write a readonly database"),
    gone: re.compile(WAIT + "no such table"),
}


@pytest.mark.parametrize("broken", SAID, ids=lambda broken: broken.__name__)
async def test_serving_goes_on_and_no_record_is_lost(site, broken, monkeypatch, caplog):
    recorder = site.plane.recorder
    assert await site.status() == 200
    await until(lambda: recorder.buffered == 0)

    with broken(monkeypatch):
        statuses = [await site.status() for _ in range(5)]
        await until(lambda: SAID[broken].search(caplog.text))
        status, told = await site.readyz()

    assert statuses == [200] * 5
    assert status == 200
    assert told["database"]["records_waiting"] >= 5
    await until(lambda: recorder.buffered == 0)
    assert await sync_to_async(UsageRecord.objects.count)() == 6
    assert recorder.lost == 0
    assert (await site.readyz())[1]["database"]["records_waiting"] == 0
    lines = [r for r in caplog.records if r.levelname == "ERROR" and r.name.startswith("gateway.")]
    assert lines == []


async def test_what_was_read_last_ages_in_sight_while_it_cannot_be_read(site, monkeypatch, caplog):
    with gone(monkeypatch):
        await until(lambda: "last known keys and policy stay in force" in caplog.text)
        before = (await site.readyz())[1]["database"]["read_s_ago"]
        metrics = site.plane.metrics.text().decode()
        async with site.ask() as call:
            await call.done()

    assert call.status == 200
    assert before >= 0
    assert "laneway_policy_age_seconds" in metrics
    assert "laneway_records_waiting" in metrics
    assert "laneway_records_lost_total 0.0" in metrics


async def test_a_lock_that_goes_during_the_stop_loses_nothing(site, monkeypatch):
    with locked(monkeypatch):
        assert await site.status() == 200
        stopping = asyncio.create_task(site.plane.stop())
        await until(lambda: site.plane.recorder._closing)
        await asyncio.sleep(0.1)
    await stopping

    assert await sync_to_async(UsageRecord.objects.count)() == 1


async def test_what_is_never_written_is_said(site, monkeypatch, caplog):
    monkeypatch.setattr("gateway.records.LAST_FLUSH_S", 0.2)
    writer = site.plane.recorder._thread
    with locked(monkeypatch):
        assert await site.status() == 200
        await site.plane.stop()
    await asyncio.to_thread(writer.join)  # else it would go on into the next test

    assert re.search("last [0-9]* ?records (are|may be) lost", caplog.text)
