"""The 1 Hz ticker: what changed comes in, one whole frame goes out.

In: policy, keys and backends, when their revision moved.  Out: a frame of every pool, as one
string, to whoever watches; the same frame to listeners that the site hands in.  Whole frames and
never changes: a lost one costs a second, and a page that reconnects needs nothing but the next.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count

import msgspec
from channels.layers import get_channel_layer

from gateway import inquiry, newest, questions
from gateway.aside import Aside, Chore
from gateway.auth import EMPTY, Directory
from gateway.backends import Fleet
from gateway.core.snapshot import Frame, encode
from gateway.inquiry import Register
from gateway.overrides import Overrides
from gateway.reclassify import reclassify
from gateway.records import Recorder, Sample

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
        self._in_force = EMPTY  # what the fleet was told last
        self._chores: dict[object, Chore] = {}
        self._cache = Aside("cache")
        self._epoch = secrets.token_hex(8)
        self._seq = 0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        for n in count():
            if n % LOOKS:
                await self.look()
            else:
                await self.tick()
            due = max(due + TICK_S / LOOKS, loop.time())
            await asyncio.sleep(due - loop.time())

    def close(self) -> None:
        for chore in self._chores.values():
            chore.stop()
        self.overrides.close()
        self._cache.close()

    async def tick(self) -> None:
        """One second's work.  Its parts fail alone and hang alone: without a database the line is
        still shown, without a channel layer a new policy still arrives."""
        frame = self.frame()
        await self.look()
        text = encode(frame).decode()
        await self._alone("showing the line", lambda: _show(text))
        await self._alone("keeping the frame", lambda: self._keep(text))
        await self._alone("answering pages", self._answer)
        self._remember(frame)
        await asyncio.gather(*(self._tell(listener, frame) for listener in self.listeners))
        self.ticked_at = asyncio.get_running_loop().time()

    async def look(self) -> None:
        """Take over what changed, do what people ordered; however long the database takes."""
        await self._alone("taking over changes", self._take_over)
        await self._alone("doing what people ordered", self.overrides.keep)

    async def take_over(self) -> None:
        """The same, once and waited for."""
        await self._take_over()
        await self.overrides.keep()

    async def _take_over(self) -> None:
        """Bring keys, policy and backends up to date, if any of them changed."""
        await self.directory.refresh()
        state, before = self.directory.state, self._in_force
        if state.revision == before.revision:
            return
        rules = (state.policy, state.policy_version, state.canary)
        if (state.policy_version, state.canary) != (before.policy_version, before.canary):
            self.fleet.edit(*rules)
            await reclassify(self.register.journeys, state.entries)
        self.fleet.configure(state.backends, *rules)
        self._in_force = state

    async def _alone(
        self, doing: str, work: Callable[[], Awaitable[None]], whose: object = None
    ) -> None:
        await self._chores.setdefault(whose or doing, Chore(doing)).run(work)

    async def _tell(self, listener: Listener, frame: Frame) -> None:
        name = getattr(listener, "__qualname__", type(listener).__qualname__)
        await self._alone(f"telling {name}", partial(listener, frame), listener)

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

    async def _keep(self, text: str) -> None:
        await self._cache.run(newest.leave, text, self.fleet.crowds())

    async def _answer(self) -> None:
        """What pages asked for beside the frame."""
        line_wanted, ids = await self._cache.run(questions.asked)
        line: bytes | None = None
        if line_wanted:
            views = self.fleet.views(questions.LINE_MOST)
            line = msgspec.json.encode({pool.name: pool.head for pool in views})
        known = {id: self.register.known_by(id) for id in ids}
        why = {
            id: msgspec.json.encode(inquiry.why(one) if one else {}) for id, one in known.items()
        }
        if line is not None or why:
            await self._cache.run(questions.answer, line, why)

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


async def _show(text: str) -> None:
    layer = get_channel_layer()
    if layer is not None:
        await layer.group_send(GROUP, {"type": "live.frame", "text": text})
