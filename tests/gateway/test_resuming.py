"""A restart does not forget who waited too long in the last six hours."""

import time

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError

from gateway.asgi import DataPlane
from gateway.core.buckets import judged
from gateway.core.policy import default_policy
from gateway.models import Backend, PolicyVersion
from gateway.resuming import Past, resume, tell
from tests.support.buckets import bucket, store
from tests.support.clock import until


def burn_of(fleet, tier="standard"):
    pool = fleet.pools["default"]
    return pool.view().tiers[[one.name for one in pool.view().tiers].index(tier)].burn


@pytest.fixture
async def database(transactional_db):
    await sync_to_async(PolicyVersion.objects.publish)(default_policy(), "first")
    await sync_to_async(Backend.objects.create)(name="gpu-1", url="http://127.0.0.1:9")


@pytest.fixture
async def plane(database):
    plane = DataPlane()
    await plane.start()
    yield plane
    await plane.stop()


async def test_a_restart_goes_on_with_the_burn_of_six_hours(database):
    target_ms = default_policy().tier("standard").target_wait_s * 1000
    now_s = int(time.time()) // 10 * 10
    late = bucket(now_s - 2 * 3600, [10, 20, 30, round(target_ms * 2)])
    longer_ago = bucket(now_s - 7 * 3600, [round(target_ms * 2)])
    await sync_to_async(store)(late, longer_ago)
    plane = DataPlane()

    await plane.start()
    await until(lambda: burn_of(plane.fleet).h6 is not None)
    burn = burn_of(plane.fleet)
    await plane.stop()

    assert burn.h6 == pytest.approx(25.0)
    assert (burn.m30, burn.h1) == (None, None)


async def test_a_tier_or_pool_that_is_no_more_is_left_out(plane):
    waits = bucket(0, [5]).waits
    rows = [Past("gone", "standard", 0, waits, ""), Past("default", "gone", 0, waits, "")]

    tell(plane.fleet, rows, 60.0)

    assert burn_of(plane.fleet).h6 is None


async def test_without_a_database_it_says_so_and_goes_on(plane, monkeypatch, caplog):
    def away(now_s):
        raise OperationalError("away")

    monkeypatch.setattr("gateway.resuming._stored", away)

    await resume(plane.fleet)

    assert "begins anew" in caplog.text
    assert burn_of(plane.fleet).h6 is None


def test_who_expired_missed_the_target_and_who_hung_up_was_not_judged():
    waits = bucket(0, [100, 5000]).waits

    assert judged(waits, "queue_timeout:2 client_disconnected:3 queue_full:1", 1000) == (4, 3)
