"""A gateway short of CPU refuses what can wait, and says so."""

import asyncio
import time

import pytest

from gateway.lateness import EVERY_S, FOR_S, GAP_S, LATE_S, Lateness
from tests.support.clock import until


def rounds(lateness, *late_s, start_s=100.0):
    """Each round of the loop begins where the one before ended; the last one's end."""
    now_s = start_s
    for late in late_s:
        now_s += EVERY_S + late
        lateness.saw(late, now_s)
    return now_s


def test_rounds_that_stay_late_for_seconds_are_a_lack_of_cpu():
    lateness = Lateness()

    rounds(lateness, *[LATE_S + 0.05] * 5)
    assert not lateness.short_of_cpu

    rounds(lateness, *[LATE_S + 0.05] * 3, start_s=100 + 5 * (EVERY_S + LATE_S + 0.05))
    assert lateness.short_of_cpu


@pytest.mark.parametrize(
    "late_s",
    [
        [10.0],  # stopped and continued
        [LATE_S - 0.01] * 100,
        [LATE_S + 0.1, *[0.0] * 25] * 20,  # once in a while
    ],
)
def test_a_stall_or_a_hiccup_is_none(late_s):
    lateness = Lateness()

    rounds(lateness, *late_s)

    assert not lateness.short_of_cpu


def test_two_long_rounds_are_no_gap():
    lateness = Lateness()

    rounds(lateness, FOR_S + 1, FOR_S + 1)

    assert lateness.short_of_cpu


def test_it_ends_a_second_after_the_last_late_round():
    lateness = Lateness()
    ended_s = rounds(lateness, *[1.0] * 4)

    rounds(lateness, 0.0, start_s=ended_s + GAP_S)

    assert not lateness.short_of_cpu


async def test_the_running_loop_is_watched():
    lateness = Lateness()
    seen = []
    lateness.saw = lambda late_s, now_s: seen.append(late_s)
    watching = asyncio.create_task(lateness.watch())

    await until(lambda: seen)
    time.sleep(3 * EVERY_S)  # noqa: ASYNC251 - the very thing to be seen
    before = len(seen)
    await until(lambda: len(seen) > before)

    watching.cancel()
    assert max(seen) >= EVERY_S


async def test_only_tiers_below_0_are_refused(gateway):
    gateway.proxy.lateness.short_of_cpu = True

    async with gateway.chat("batch_inference") as refused, gateway.chat("chat") as served:
        await refused.done()
        await until(lambda: gateway.vllm.generations)
        gateway.vllm.generations[0].finish()
        await served.done()

    error = refused.json()["error"]
    assert (refused.status, error["code"]) == (503, "overloaded")
    assert error["type"] == "service_unavailable_error"
    assert "batch" in error["message"]
    assert refused.headers["retry-after"] == "2"
    assert served.status == 200
    assert (gateway.waiting, gateway.in_flight) == (0, 0)


async def test_what_runs_already_is_served(gateway):
    async with gateway.chat("batch_inference") as call:
        await until(lambda: gateway.vllm.generations)
        gateway.proxy.lateness.short_of_cpu = True
        gateway.vllm.generations[0].finish()
        await call.done()

    assert call.status == 200
