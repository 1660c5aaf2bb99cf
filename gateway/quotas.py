"""The buckets of this process, and how many requests a key has at once: charged at the door,
settled when a request is over.

Which limits apply and what happens on excess is ``core.admission``'s.
"""

import asyncio
from dataclasses import dataclass

from gateway import errors
from gateway.auth import Caller
from gateway.core import quota
from gateway.core.admission import Door, admit
from gateway.core.policy import Placement

FORGET_EVERY_MS = 600_000


@dataclass(slots=True)
class Charged:
    """What one request was charged, and what its caller is told of it."""

    placement: Placement
    charges: tuple[quota.Charge, ...]
    headers: dict[str, str]
    counted_for: str = ""  # the key among whose requests at once it is one


class Quotas:
    def __init__(self) -> None:
        self._tats: quota.Tats = {}
        self._at_once: dict[str, int] = {}  # by id8 of those keys that have a limit
        self._forgotten_ms = 0

    def refuse_too_many(self, caller: Caller) -> None:
        """What a key may have at once is its own: no policy decides it, so no shadow either.

        Raises:
            GatewayError: 429.
        """
        most = caller.key_rules.limits.max_in_flight
        if most is not None and self._at_once.get(caller.key_id8, 0) >= most:
            raise errors.too_many_at_once(most)

    def admit(self, caller: Caller, wanted: Placement, cost: int) -> Charged:
        """Charge ``cost``, perhaps in a lower tier than wanted.

        Raises:
            GatewayError: 429, with the wait until the request would fit.
        """
        door = Door(
            caller.policy, caller.tenant, caller.tenant_rules, caller.key_id8, caller.key_rules
        )
        now_ms = _now_ms()
        if now_ms - self._forgotten_ms > FORGET_EVERY_MS:
            quota.forget_idle(self._tats, now_ms)
            self._forgotten_ms = now_ms
        admission = admit(door, self._tats, wanted, cost=cost, now_ms=now_ms)
        headers: dict[str, str] = {}
        if admission.charges or admission.exceeded:  # else no limit applies
            headers = self._headers(door.rules(admission.placement.tier), now_ms)
        if admission.exceeded:
            rule = admission.exceeded[0]
            raise errors.rate_limited(
                rule.unit, rule.per_min, admission.retry_after_ms / 1000, headers
            )
        charged = Charged(admission.placement, admission.charges, headers)
        if caller.key_rules.limits.max_in_flight is not None:
            charged.counted_for = caller.key_id8
            self._at_once[caller.key_id8] = self._at_once.get(caller.key_id8, 0) + 1
        return charged

    def settle(self, charged: Charged, cost: int | None) -> None:
        """Replace the estimate by the real cost; None: nothing ran, so all of it goes back."""
        if charged.counted_for:
            self._one_less(charged.counted_for)
            charged.counted_for = ""
        if not charged.charges:
            return
        if cost is None:
            quota.refund(self._tats, charged.charges, _now_ms())
        else:
            quota.settle(self._tats, charged.charges, _now_ms(), tokens=cost)

    def _one_less(self, key_id8: str) -> None:
        self._at_once[key_id8] -= 1
        if not self._at_once[key_id8]:
            del self._at_once[key_id8]

    def _headers(self, rules: list[quota.Rule], now_ms: int) -> dict[str, str]:
        """OpenAI's x-ratelimit headers, of the limit with the least room."""
        told: dict[str, str] = {}
        units: tuple[quota.Unit, ...] = ("requests", "tokens")
        for unit in units:
            stands = quota.tightest(self._tats, rules, unit, now_ms)
            if stands is not None:
                told[f"x-ratelimit-limit-{unit}"] = str(stands.limit)
                told[f"x-ratelimit-remaining-{unit}"] = str(stands.remaining)
                told[f"x-ratelimit-reset-{unit}"] = go_duration(stands.reset_ms)
        return told


def go_duration(ms: int) -> str:
    """A wait as OpenAI writes it: ``120ms``, ``1.5s``, ``6m0s``."""
    if ms < 1000:
        return f"{ms}ms"
    minutes, seconds = divmod(ms / 1000, 60)
    shown = f"{seconds:.3f}".rstrip("0").rstrip(".")
    return f"{int(minutes)}m{shown}s" if minutes else f"{shown}s"


def _now_ms() -> int:
    return int(asyncio.get_running_loop().time() * 1000)
