"""Work beside the event loop: in turn, off the loop, and no hang keeps the process."""

import asyncio
import subprocess
import sys
import threading

import pytest

from gateway.aside import Aside

HANGS_AT_ITS_END = """
import asyncio, threading
from django.conf import settings
settings.configure()
from gateway.aside import Aside

async def main():
    hang = asyncio.create_task(Aside("hangs").run(threading.Event().wait))
    await asyncio.sleep(0.05)
    hang.cancel()

asyncio.run(main())
"""


@pytest.fixture
def aside():
    aside = Aside("work")
    yield aside
    aside.close()


async def test_it_runs_in_turn_on_one_thread_and_hands_back_what_came_of_it(aside):
    done = []

    def work(n: int) -> str:
        done.append(n)
        if n == 2:
            raise LookupError("two")
        return threading.current_thread().name

    found = await asyncio.gather(*(aside.run(work, n) for n in range(4)), return_exceptions=True)

    assert done == [0, 1, 2, 3]
    assert (found[:2], found[3], str(found[2])) == (["work"] * 2, "work", "two")


async def test_what_nobody_waits_for_any_more_is_not_begun(aside):
    go, done = threading.Event(), []
    first = asyncio.create_task(aside.run(go.wait, 5))
    second = asyncio.create_task(aside.run(done.append, 2))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.sleep(0)
    go.set()

    assert await first
    await aside.run(done.append, 3)
    assert done == [3]


async def test_a_closed_one_ends_its_thread_and_begins_another_when_it_is_asked(aside):
    first = await aside.run(threading.current_thread)
    aside.close()
    await asyncio.to_thread(first.join, 5)

    assert not first.is_alive()
    assert await aside.run(threading.current_thread) is not first


def test_what_hangs_keeps_no_process_from_ending():
    subprocess.run([sys.executable, "-c", HANGS_AT_ITS_END], check=True, timeout=20)
