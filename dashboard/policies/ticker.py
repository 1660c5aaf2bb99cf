"""What the policy does by itself, once a second: the gateway's ticker calls with each frame.

The site hands this to the data plane (``dashboard/asgi.py``); with several gateways each asks, and
rows are claimed by conditional updates, so that a thing is done once.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime

from asgiref.sync import sync_to_async
from django.db import close_old_connections, connection

from dashboard.policies import canary, timed
from dashboard.policies.publish import BaseMoved
from gateway.core.snapshot import Frame

CANARY_EVERY_S = 2.0


class Ticker:
    def __init__(self) -> None:
        # A thread of its own: Django's shared one may be busy with somebody's page.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="policies")
        self._in_thread = sync_to_async(self._look, thread_sensitive=False, executor=self._thread)
        self._looked_at = 0.0

    async def __call__(self, frame: Frame) -> None:
        await self._in_thread(frame)

    def close(self) -> None:
        """Let the thread and its connection go."""
        self._thread.submit(lambda: connection.close())  # looked up there: each thread has its own
        self._thread.shutdown()

    def _look(self, frame: Frame) -> None:
        close_old_connections()
        now = datetime.fromtimestamp(frame.at, UTC)
        timed.publish_due(now)
        if frame.at - self._looked_at >= CANARY_EVERY_S:
            self._looked_at = frame.at
            groups = [group for pool in frame.pools for group in pool.groups]
            with suppress(BaseMoved):  # another gateway, or a person, was faster
                canary.look(now, groups)
