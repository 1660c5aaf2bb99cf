"""What the policy does by itself, once a second: the gateway's ticker calls with each frame.

The site hands this to the data plane (``dashboard/asgi.py``); with several gateways each asks, and
rows are claimed by conditional updates, so that a thing is done once.
"""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from asgiref.sync import sync_to_async
from django.db import close_old_connections

from dashboard.policies import timed
from gateway.core.snapshot import Frame


class Ticker:
    def __init__(self) -> None:
        # A thread of its own: Django's shared one may be busy with somebody's page.
        thread = ThreadPoolExecutor(1, thread_name_prefix="policies")
        self._in_thread = sync_to_async(self._look, thread_sensitive=False, executor=thread)

    async def __call__(self, frame: Frame) -> None:
        await self._in_thread(datetime.fromtimestamp(frame.at, UTC))

    def _look(self, now: datetime) -> None:
        close_old_connections()
        timed.publish_due(now)
