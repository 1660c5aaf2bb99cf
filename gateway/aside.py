"""Beside the event loop: work that may hang, where a hang holds nothing else.

Django's own thread for such work is one for the whole process, so a page whose query hangs would
hold the ticker too.  Here each kind of work has its own.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import ParamSpec, TypeVar

from django.db import close_old_connections, connection

logger = logging.getLogger(__name__)

PATIENCE_S = 0.25  # a look for changes; a query of the ticker takes some milliseconds
P = ParamSpec("P")
T = TypeVar("T")


Jobs = SimpleQueue[Callable[[], None] | None]


class Aside:
    """A thread for one kind of work.  What is asked of it runs in turn.

    It is a daemon: Python waits at its end for the threads of an executor, however long they hang.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: Jobs | None = None

    async def run(self, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        result: Future[T] = Future()

        def job() -> None:
            if not result.set_running_or_notify_cancel():
                return
            try:
                # No request does it for this thread: a broken connection would stay for ever.
                close_old_connections()
                result.set_result(work(*args, **options))
            except BaseException as error:  # noqa: BLE001 -- raised where it is waited for
                result.set_exception(error)

        if self._jobs is None:
            self._jobs = SimpleQueue()
            Thread(target=_do, args=(self._jobs,), name=self._name, daemon=True).start()
        self._jobs.put(job)
        return await asyncio.wrap_future(result)

    def close(self) -> None:
        """Let the thread and its connection go, when what runs there has ended."""
        if self._jobs is not None:
            self._jobs.put(None)
            self._jobs = None


def _do(jobs: Jobs) -> None:
    while (job := jobs.get()) is not None:
        job()
        del job  # and with it what it was asked with
    connection.close()


class Chore:
    """Something done over and over: never twice at a time, never waited for longer than
    ``PATIENCE_S``, and failing alone."""

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._task: asyncio.Task[None] | None = None

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do it, unless the last time is not over yet."""
        if self._task is not None and not self._task.done():
            return
        self._task = asyncio.create_task(self._alone(work))
        _, late = await asyncio.wait([self._task], timeout=PATIENCE_S)
        if late:
            logger.warning("%s takes long; everything else goes on", self._doing)

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _alone(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception:  # whatever it is, the next time must come
            logger.exception("%s failed; trying again in a second", self._doing)
