"""How a key stands at a moment, in a word and a sign.  Pure: the moment is passed in."""

from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from gateway.models import APIKey

SOON = timedelta(days=14)
QUIET = timedelta(hours=6)  # a retiring key that was not used so long may be ended early
Tone = Literal["ok", "warn", "off", "crit"]


class KeyState(NamedTuple):
    words: str
    icon: str
    tone: Tone
    until: datetime | None = None  # the moment that the words end with

    @property
    def usable(self) -> bool:
        return self.tone in ("ok", "warn")


def state_of(key: APIKey, now: datetime) -> KeyState:
    if key.status == APIKey.Status.REVOKED:
        return KeyState("revoked", "ban", "off")
    if key.status == APIKey.Status.DISABLED:
        return KeyState("disabled", "player-pause", "crit")
    if key.retires_at and key.retires_at <= now:
        return KeyState("retired", "x", "off", key.retires_at)
    if key.expires_at and key.expires_at <= now:
        return KeyState("expired", "x", "off", key.expires_at)
    if key.not_before and key.not_before > now:
        return KeyState("starts", "clock", "off", key.not_before)
    if key.retires_at:
        return KeyState("retiring until", "clock", "warn", key.retires_at)
    if key.expires_at and key.expires_at - now <= SOON:
        return KeyState(f"expires in {_span(key.expires_at - now)}", "alert-triangle", "warn")
    return KeyState("active", "check", "ok")


def may_end_now(key: APIKey, now: datetime) -> bool:
    """Its successor is there and nobody has missed it: neither used nor replaced just now."""
    if not key.rotated_at or not key.retires_at or key.retires_at <= now:
        return False
    last = max(key.rotated_at, key.last_used_at or key.rotated_at)
    return key.status == APIKey.Status.ACTIVE and now - last >= QUIET


def _span(left: timedelta) -> str:
    return f"{left.days} d" if left.days else f"{max(1, left.seconds // 3600)} h"
