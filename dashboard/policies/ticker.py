"""What the policy does by itself, once a second: the gateway's ticker calls with each frame.

The site hands this to the data plane (``dashboard/asgi.py``); with several gateways each asks, and
rows are claimed by conditional updates, so that a thing is done once.
"""

from contextlib import suppress
from datetime import UTC, datetime

from dashboard.policies import canary, timed
from dashboard.policies.publish import BaseMoved
from gateway.aside import Aside
from gateway.core.snapshot import Frame

CANARY_EVERY_S = 2.0


class Ticker:
    def __init__(self) -> None:
        self._aside = Aside("policies")
        self._looked_at = 0.0

    async def __call__(self, frame: Frame) -> None:
        await self._aside.run(self._look, frame)

    def close(self) -> None:
        self._aside.close()

    def _look(self, frame: Frame) -> None:
        now = datetime.fromtimestamp(frame.at, UTC)
        timed.publish_due(now)
        if frame.at - self._looked_at >= CANARY_EVERY_S:
            self._looked_at = frame.at
            groups = [group for pool in frame.pools for group in pool.groups]
            with suppress(BaseMoved):  # another gateway, or a person, was faster
                canary.look(now, groups)
