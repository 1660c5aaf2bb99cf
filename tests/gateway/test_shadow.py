"""A policy decided beside the real one: it counts what would differ and touches nothing."""

import time

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone
from msgspec.structs import replace

from gateway.core.policy import KeyRules, Limits, TenantRules, default_policy, dump
from gateway.models import Shadow, ShadowCount, ShadowRow
from tests.support.clock import until

QUOTA = Limits(requests_per_min=3)
REAL = replace(default_policy(), tenants={"acme": TenantRules(limits=QUOTA)})
# Chat further down and never above standard, and one request a minute for birch.
BESIDE = replace(
    default_policy(),
    task_types={"chat": "batch"},
    tenants={"birch": TenantRules(limits=Limits(requests_per_min=1))},
)
STATUSES = [200, 429, 429, 429, 429, *[200] * 5]  # of the real one: a request in twenty seconds


@pytest.fixture
def policy():
    return REAL


def cast_on(gateway, policy=BESIDE, ends_in_s=60.0):
    directory = gateway.proxy.directory
    shadow = ShadowRow(7, policy, time.time() + ends_in_s)
    directory.state = directory.state._replace(shadow=shadow)


async def five_each(gateway):
    """What callers get, and every counter of the real policy after it."""
    gateway.vllm.automatic = True
    answers = []
    for key in ("acme", "birch"):
        for _ in range(5):
            async with gateway.chat("chat", key=key, stream=False) as call:
                await call.done()
                told = {
                    name: value
                    for name, value in call.headers.items()
                    if name.startswith(("x-ratelimit-rem", "x-laneway-tier", "x-laneway-pri"))
                }
                answers.append((call.status, told))
    scheduler = gateway.pool.queue.scheduler
    quotas = gateway.proxy.quotas
    ledgers = {
        name: (tier.waiting, tier.in_flight, tier.ledger.last_minute(gateway.pool.queue.now_ms()))
        for name, tier in scheduler.line.tiers.items()
    }
    return answers, sorted(quotas._tats), ledgers


async def test_with_and_without_a_shadow_every_answer_and_counter_is_the_same(gateway):
    cast_on(gateway)
    beside = await five_each(gateway)
    counted = dict(gateway.proxy.shadow.counts)

    assert [status for status, _ in beside[0]] == STATUSES
    assert "tenant:birch" not in str(beside[1])  # the shadow's quota has its own buckets
    assert counted == {
        (7, "acme", "realtime", "batch"): 1,
        (7, "acme", "", "batch"): 4,
        (7, "birch", "standard", "batch"): 1,
        (7, "birch", "standard", ""): 4,
    }


async def test_without_one_nothing_is_counted(gateway):
    alone = await five_each(gateway)

    assert not gateway.proxy.shadow.counts
    assert [status for status, _ in alone[0]] == STATUSES
    assert {tier: told[0:2] for tier, told in alone[2].items()} == dict.fromkeys(alone[2], (0, 0))


async def test_a_shadow_ends_at_its_moment_and_a_new_one_starts_with_full_buckets(gateway):
    gateway.vllm.automatic = True
    cast_on(gateway, ends_in_s=-1)
    async with gateway.chat("chat", key="birch", stream=False) as call:
        await call.done()
    assert not gateway.proxy.shadow.counts

    for pk in (7, 8):
        cast_on(gateway)
        directory = gateway.proxy.directory
        directory.state = directory.state._replace(shadow=directory.state.shadow._replace(pk=pk))
        async with gateway.chat("chat", key="birch", stream=False) as call:
            await call.done()

    assert dict(gateway.proxy.shadow.counts) == {
        (7, "birch", "standard", "batch"): 1,
        (8, "birch", "standard", "batch"): 1,
    }


@pytest.mark.parametrize("key_rules", [{"acme": KeyRules(limits=Limits(max_in_flight=1))}])
async def test_what_a_key_may_have_at_once_is_no_difference_between_policies(gateway):
    cast_on(gateway)
    async with gateway.chat(stream=False) as first:
        await until(lambda: gateway.vllm.generations)
        async with gateway.chat(stream=False) as second:
            await second.done()
        gateway.vllm.generations[0].finish()
        await first.done()

    assert (first.status, second.status) == (200, 429)
    assert sum(gateway.proxy.shadow.counts.values()) == 1


async def test_counts_of_several_gateways_add_up_in_the_database(transactional_db, gateway):
    row = await Shadow.objects.acreate(
        document=dump(BESIDE), base=1, message="m", author="ada", ends_at=timezone.now()
    )
    shadow = gateway.proxy.shadow
    for _ in range(2):
        shadow.counts[row.pk, "acme", "realtime", "batch"] += 3
        await shadow.write()
    await shadow.write()

    counted = await sync_to_async(lambda: [(c.tenant, c.n) for c in ShadowCount.objects.all()])()
    assert counted == [("acme", 6)]


async def loaded_with(document):
    from gateway.auth import Directory

    directory = Directory()
    await Shadow.objects.acreate(
        document=document, base=1, message="m", author="ada",
        ends_at=timezone.now() + timezone.timedelta(hours=1),
    )  # fmt: skip
    assert await directory.refresh()
    directory.close()
    return directory.state.shadow


async def test_the_current_one_is_loaded_with_the_keys(transactional_db):
    shadow = await loaded_with(dump(BESIDE))

    assert shadow.policy == BESIDE


async def test_one_that_cannot_be_read_is_left_out_and_keys_are_loaded(transactional_db, caplog):
    assert await loaded_with({"tiers": "of another version"}) is None
    assert "left out" in caplog.text
