"""The websocket of the live page: authorise, join, pass on.

Frames arrive as text, encoded once for everybody.  Nothing is computed here; all that a connection
remembers is how far its page is behind, for Daphne holds no sender back: what a stalled page does
not read would pile up in memory.
"""

import asyncio
import json
import re
import time
from collections import Counter
from functools import lru_cache
from typing import Any

import msgspec
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.utils import timezone

from dashboard.accounts.permissions import may_watch
from dashboard.accounts.sessions import person_now
from dashboard.live import history
from dashboard.live.boards import COOKIE
from dashboard.live.models import WallBoard
from dashboard.live.release import release
from gateway.core.snapshot import Frame, encode, for_tenant

GROUP = "live"
SKIP_AFTER = 3  # unanswered frames
CLOSE_AFTER_S = 30.0
RECHECK_S = 10.0

SOCKETS_MOST = 10  # of one person, in one process

SIGNED_OUT, FORBIDDEN, SLOW, TOO_MANY = 4401, 4403, 4408, 4429
_open: Counter[str] = Counter()  # sockets by whose they are


class LiveConsumer(AsyncWebsocketConsumer):
    joined = False
    whose = ""
    unanswered = 0
    skipped_since: float | None = None  # unix seconds
    answered_at = 0.0
    checked_at = 0.0

    async def refusal(self) -> int:
        """0, or the code to close with: who it is, as things stand at this moment."""
        person = await person_now(self.scope["session"].session_key)
        self.whose = f"person {person.pk}"
        return await _refusal(person)

    def cut(self, text: str) -> str:
        """What of a frame this connection may see."""
        return text

    async def connect(self) -> None:
        refused = await self.refusal()
        if not refused and _open[self.whose] >= SOCKETS_MOST:
            refused = TOO_MANY
        if refused:
            # Accepted first: a page can read a close code, but not a handshake that failed.
            await self.accept()
            await self.close(code=refused)
            return
        self.answered_at = self.checked_at = _now()
        await self.channel_layer.group_add(GROUP, self.channel_name)  # no stranger comes this far
        self.joined = True
        _open[self.whose] += 1
        await self.accept()
        await self.send(text_data=json.dumps({"k": "hello", "release": release()}))
        # Frames that arrive meanwhile are handled after it.
        await self._send_history(_since(self.scope["query_string"]))

    async def disconnect(self, code: int) -> None:
        if self.joined:
            _open[self.whose] -= 1
            await self.channel_layer.group_discard(GROUP, self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Every message of a page answers one frame; what it says besides does not matter."""
        self.answered_at = _now()
        self.unanswered = max(0, self.unanswered - 1)
        if self.skipped_since is not None and not self.unanswered:
            since_s, self.skipped_since = self.skipped_since, None
            await self._send_history(since_s)

    async def live_frame(self, message: dict[str, Any]) -> None:
        now = _now()
        if now - self.checked_at > RECHECK_S:
            self.checked_at = now
            refused = await self.refusal()
            if refused:
                await self.close(code=refused)
                return
        if self.unanswered == 0:
            self.answered_at = now
        elif now - self.answered_at > CLOSE_AFTER_S:
            await self.close(code=SLOW)
            return
        if self.unanswered >= SKIP_AFTER:
            if self.skipped_since is None:
                self.skipped_since = time.time() - 1  # frames are a second apart
            return
        self.unanswered += 1
        await self.send(text_data='{"k":"snap",' + self.cut(message["text"]).lstrip()[1:])

    async def _send_history(self, since_s: float) -> None:
        for past in await _histories(since_s):
            await self.send(text_data=json.dumps(past, separators=(",", ":")))


class BoardConsumer(LiveConsumer):
    """The same for a screen on a wall, which is nobody: its cookie is all it has."""

    async def refusal(self) -> int:
        cookie = self.scope["cookies"].get(COOKIE, "")
        self.whose = f"board {cookie}"
        return await _board_refusal(cookie)

    def cut(self, text: str) -> str:
        return _for_boards(text)


@lru_cache(maxsize=1)  # all boards of this process share one cut of each frame
def _for_boards(text: str) -> str:
    """No request, no tenant, no address: whoever passes a wall is nobody's tenant."""
    return encode(for_tenant(msgspec.json.decode(text, type=Frame), "")).decode()


@database_sync_to_async
def _board_refusal(cookie: str) -> int:
    return 0 if WallBoard.objects.by_cookie(cookie, timezone.now()) else SIGNED_OUT


@database_sync_to_async
def _refusal(person: Any) -> int:
    if not person.is_authenticated:
        return SIGNED_OUT
    return 0 if may_watch(person) else FORBIDDEN


@database_sync_to_async
def _histories(since_s: float) -> list[dict[str, Any]]:
    now = timezone.now()
    return [history.recent(pool, now, since_s) for pool in history.pools(now)]


def _since(query: bytes) -> float:
    """Until when the page knows the past already, in unix seconds; 0 for a fresh one."""
    found = re.search(rb"(?:^|&)since=([0-9]{1,11})(?:&|$)", query)
    return float(found[1]) if found else 0.0


def _now() -> float:
    return asyncio.get_running_loop().time()
