"""The virtual clock itself: what all tests on it rely on."""

import asyncio
import socket

import pytest

from tests.support.clock import (
    Deadlock,
    VirtualClockLoop,
    VirtualClockPolicy,
    on_virtual_time,
    run,
    until,
)


@on_virtual_time
async def test_an_hour_passes_at_once_and_is_an_hour():
    loop = asyncio.get_running_loop()
    started_at = loop.time()

    await asyncio.sleep(3600)

    assert loop.time() - started_at == pytest.approx(3600)


@on_virtual_time
async def test_timers_go_off_in_their_order_at_their_times():
    loop = asyncio.get_running_loop()
    went_off = []
    for delay_s in (30, 10, 20):
        loop.call_later(delay_s, lambda delay_s=delay_s: went_off.append((delay_s, loop.time())))

    await asyncio.sleep(25)

    assert went_off == [(10, pytest.approx(10)), (20, pytest.approx(20))]


@on_virtual_time
async def test_no_time_passes_while_there_is_work():
    loop = asyncio.get_running_loop()
    loop.call_later(1, lambda: None)

    for _ in range(1000):
        await asyncio.sleep(0)

    assert loop.time() == 0


def test_waiting_for_what_cannot_happen_is_an_error_and_no_hang():
    async def wait_for_nobody() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock):
        run(wait_for_nobody())


@on_virtual_time
async def test_sockets_carry_bytes_without_time_passing():
    loop = asyncio.get_running_loop()
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        there.setblocking(False)
        reading = loop.create_task(loop.sock_recv(there, 100))
        loop.call_later(60, reading.cancel)

        await loop.sock_sendall(here, b"hello")

        assert await reading == b"hello"
    assert loop.time() == 0


@on_virtual_time
async def test_until_returns_as_soon_as_its_condition_holds():
    loop = asyncio.get_running_loop()

    await until(lambda: loop.time() >= 2)

    assert loop.time() == pytest.approx(2, abs=0.002)


@on_virtual_time
async def test_until_gives_up_after_its_time():
    with pytest.raises(AssertionError, match="not within 3 s"):
        await until(lambda: False, timeout_s=3)

    assert asyncio.get_running_loop().time() == pytest.approx(3, abs=0.002)


async def test_until_works_on_real_time():
    happened = asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, happened.set)

    await until(happened.is_set)


def test_the_policy_makes_such_loops():
    loop = VirtualClockPolicy().new_event_loop()
    try:
        assert isinstance(loop, VirtualClockLoop)
    finally:
        loop.close()
