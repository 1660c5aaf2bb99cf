"""Is the gateway itself short of CPU?  Told by how late its event loop comes round.

Everything here waits for the loop, urgent requests too; so when it is late for seconds, tiers below
0 are refused at the door (``proxy``) instead of making everybody late.
"""

import asyncio

EVERY_S = 0.05
# Late enough to be felt in a first token. A burst of 1,000 requests, taken in, holds the loop for
# 0.1-0.2 s once (docs/gpu); a machine that is merely busy rarely does so again within a second.
LATE_S = 0.25
FOR_S = 2.0
GAP_S = 1.0  # without a late round: it has ended


class Lateness:
    def __init__(self) -> None:
        self.short_of_cpu = False
        self._since_s = float("-inf")  # of the late rounds that go on
        self._last_s = float("-inf")

    def saw(self, late_s: float, now_s: float) -> None:
        """A round of the loop came so late."""
        if late_s > LATE_S:
            # What the round took counts as late too: two rounds of 2 s are no gap.
            if now_s - late_s - self._last_s > GAP_S:
                self._since_s = now_s
            self._last_s = now_s
        goes_on = now_s - self._last_s <= GAP_S
        self.short_of_cpu = goes_on and self._last_s - self._since_s >= FOR_S

    async def watch(self) -> None:
        """Forever."""
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + EVERY_S
            await asyncio.sleep(EVERY_S)
            now_s = loop.time()
            self.saw(now_s - due_s, now_s)
