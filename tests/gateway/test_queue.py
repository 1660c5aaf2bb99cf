"""The line, awaited: what a refused caller is told."""

import asyncio

import pytest
from msgspec.structs import replace

from gateway import errors
from gateway.core.ops import SetBackend, Submit
from gateway.core.policy import default_policy
from gateway.queue import Queue
from tests.support.clock import on_virtual_time


def short_line() -> Queue:
    policy = default_policy()
    tiers = tuple(replace(tier, max_waiting=1) for tier in policy.tiers)
    queue = Queue(replace(policy, tiers=tiers), 1)
    queue.apply([SetBackend("gpu", 1, 0)])
    return queue


async def refused_s(queue: Queue, id: str) -> float:
    turn = queue.turn(Submit(id, "standard", "acme", 100))
    with pytest.raises(errors.GatewayError) as refused:
        await turn.taken()
    turn.leave(0)
    assert refused.value.code == "queue_full"
    assert refused.value.retry_after_s is not None
    return refused.value.retry_after_s


async def fill(queue: Queue) -> asyncio.Task[None]:
    """One runs, one waits: the tier takes no more."""
    running = queue.turn(Submit("running", "standard", "acme", 100))
    await running.taken()
    waiting = asyncio.create_task(queue.turn(Submit("waiting", "standard", "acme", 100)).taken())
    await asyncio.sleep(0)
    return waiting


@on_virtual_time
async def test_those_refused_at_one_moment_are_told_different_waits():
    queue = short_line()
    for number in range(20):  # one in four seconds drains
        turn = queue.turn(Submit(f"r{number}", "standard", "acme", 100))
        await turn.taken()
        await asyncio.sleep(4)
        turn.leave(100)
    waiting = await fill(queue)

    waits = [await refused_s(queue, f"late-{number}") for number in range(50)]

    assert len(set(waits)) > 40
    assert max(waits) / min(waits) <= 1.5
    assert 2.5 <= min(waits) < max(waits) <= 6.5
    waiting.cancel()


@on_virtual_time
async def test_a_line_that_stands_still_says_a_minute():
    queue = short_line()
    waiting = await fill(queue)
    await asyncio.sleep(60)

    assert await refused_s(queue, "late") == 60
    waiting.cancel()
