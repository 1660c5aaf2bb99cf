"""Beside the event loop: work that may hang, where a hang holds nothing else.

Django's own thread for such work is one for the whole process, so a page whose query hangs would
hold the ticker too.  Here each kind of work has its own.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from django.db import close_old_connections, connection

logger = logging.getLogger(__name__)

PATIENCE_S = 0.25  # a look for changes; a query of the ticker takes some milliseconds
P = ParamSpec("P")
T = TypeVar("T")


class Aside:
    """A thread for one kind of work.  What is asked of it runs in turn."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        def whole() -> T:
            # No request does it for this thread: a broken connection would stay for ever.
            close_old_connections()
            return work(*args, **options)

        return await asyncio.get_running_loop().run_in_executor(self._thread, whole)

    def close(self) -> None:
        """Let the thread and its connection go, when what runs there has ended."""
        self._thread.submit(lambda: connection.close())  # looked up there: each thread has its own
        self._thread.shutdown(wait=False)


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
