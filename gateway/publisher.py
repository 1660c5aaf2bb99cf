"""The 1 Hz ticker: what changed comes in, one whole frame goes out.

In: policy, keys and backends, when their revision moved.  Out: a frame of every pool, as one
string, to whoever watches; the same frame to listeners that the site hands in.  Whole frames and
never changes: a lost one costs a second, and a page that reconnects needs nothing but the next.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from itertools import count

import msgspec
from channels.layers import get_channel_layer

from gateway import inquiry, newest, questions
from gateway.auth import Directory
from gateway.backends import Fleet
from gateway.core.snapshot import Frame
from gateway.inquiry import Register
from gateway.overrides import Overrides
from gateway.reclassify import reclassify
from gateway.records import Recorder, Sample

logger = logging.getLogger(__name__)

GROUP = "live"
TICK_S = 1.0
LOOKS = 4  # for changes, in a tick: with one, a revoked key was served for up to 1.01 s
Listener = Callable[[Frame], Awaitable[None]]


class Publisher:
    def __init__(
        self, directory: Directory, fleet: Fleet, recorder: Recorder, register: Register
    ) -> None:
        self.directory = directory
        self.fleet = fleet
        self.recorder = recorder
        self.register = register
        self.overrides = Overrides(directory, fleet, register)
        self.listeners: list[Listener] = []
        self.ticked_at: float | None = None  # loop time of the last whole tick
        self._epoch = secrets.token_hex(8)
        self._seq = 0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        for n in count():
            if n % LOOKS:
                await _alone("taking over changes", self.take_over())
            else:
                await self.tick()
            due = max(due + TICK_S / LOOKS, loop.time())
            await asyncio.sleep(due - loop.time())

    async def tick(self) -> None:
        """One second's work.  Its parts fail alone: without a database the line is still shown,
        without a channel layer a new policy still arrives."""
        frame = self.frame()
        await _alone("taking over changes", self.take_over())
        await _alone("showing the line", self._show(frame))
        await _alone("answering pages", self._answer())
        self._remember(frame)
        for listener in self.listeners:
            await _alone("telling a listener", listener(frame))
        self.ticked_at = asyncio.get_running_loop().time()

    async def take_over(self) -> None:
        """Bring keys, policy and backends up to date, if any of them changed; then do what people
        ordered."""
        before = self.directory.state
        if await self.directory.refresh():
            state = self.directory.state
            rules = (state.policy, state.policy_version, state.canary)
            if (state.policy_version, state.canary) != (before.policy_version, before.canary):
                self.fleet.edit(*rules)
                await reclassify(self.register.journeys, state.entries)
            self.fleet.configure(state.backends, *rules)
        await self.overrides.keep()

    def frame(self) -> Frame:
        self._seq += 1
        return Frame(
            seq=self._seq,
            at=time.time(),
            epoch=self._epoch,
            policy_version=self.directory.state.newest_version,
            pools=tuple(self.fleet.views()),
            overrides=self.overrides.views(),
            marks=self.directory.state.marks,
        )

    async def _show(self, frame: Frame) -> None:
        text = await newest.leave(frame, self.fleet.crowds())
        layer = get_channel_layer()
        if layer is not None:
            await layer.group_send(GROUP, {"type": "live.frame", "text": text})

    async def _answer(self) -> None:
        """What pages asked for beside the frame."""
        line_wanted, ids = await questions.asked()
        if line_wanted:
            line = {pool.name: pool.head for pool in self.fleet.views(questions.LINE_MOST)}
            await questions.answer_line(msgspec.json.encode(line))
        for id in ids:
            one = self.register.known_by(id)
            document = inquiry.why(one) if one else {}
            await questions.answer_why(id, msgspec.json.encode(document))

    def _remember(self, frame: Frame) -> None:
        for pool in frame.pools:
            for tier in pool.tiers:
                self.recorder.sample(
                    Sample(
                        pool=pool.name,
                        tier=tier.name,
                        at=frame.at,
                        waiting=tier.waiting,
                        in_flight=tier.in_flight,
                        oldest_s=tier.oldest_s,
                        wait_p50_s=tier.wait.p50.value_s if tier.wait.p50 else None,
                        wait_p95_s=tier.wait.p95.value_s if tier.wait.p95 else None,
                        in_per_s=tier.in_per_s,
                        out_per_s=tier.out_per_s,
                    )
                )


async def _alone(doing: str, part: Awaitable[None]) -> None:
    try:
        await part
    except Exception:  # whatever it is, the next second must come
        logger.exception("%s failed; trying again in a second", doing)
