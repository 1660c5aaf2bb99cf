"""Tells the pages that this gateway runs, and by which revision it decides.

At once after a change, else every other second.  A database that hangs makes this gateway look
silent, and slows nothing.
"""

import logging
import os
import secrets
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime

from django.db import Error

from gateway.aside import Aside
from gateway.auth import Directory
from gateway.core.snapshot import Frame
from gateway.models import TOLD_EVERY_S, GatewayState

logger = logging.getLogger(__name__)

Told = tuple[int, int]  # revision, version of the policy


class Presence:
    """A listener of the ticker: hand in ``tell``; ``leave`` and ``close`` it at the end."""

    def __init__(self, directory: Directory, now: Callable[[], float] = time.time) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(2)}"[:150]
        self._directory = directory
        self._now = now
        self._told: tuple[Told, float] = ((-1, -1), 0.0)
        self._aside = Aside("presence")

    async def tell(self, frame: Frame) -> None:
        """The frame was made before the ticker took changes over: what counts is the directory."""
        state, at = self._directory.state, self._now()
        word = (state.revision, state.newest_version)
        told, told_at = self._told
        if word != told or at - told_at >= TOLD_EVERY_S:
            await self._aside.run(self._write, word, at)

    async def leave(self) -> None:
        """Take its row away: it is gone, not silent."""
        await self._aside.run(self._leave)

    def close(self) -> None:
        self._aside.close()

    def _write(self, word: Told, at: float) -> None:
        seen_at = datetime.fromtimestamp(at, UTC)
        values = {
            "pid": os.getpid(),
            "revision": word[0],
            "policy_version": word[1],
            "seen_at": seen_at,
        }
        try:
            if not GatewayState.objects.filter(name=self.name).update(**values):
                GatewayState.objects.gone(seen_at).delete()
                GatewayState.objects.create(name=self.name, **values)
        except Error as error:
            logger.warning("pages do not hear how far changes have come: %s", error)
        else:
            self._told = (word, at)

    def _leave(self) -> None:
        try:
            GatewayState.objects.filter(name=self.name).delete()
        except Error as error:
            logger.warning("this gateway is counted for some seconds more: %s", error)
