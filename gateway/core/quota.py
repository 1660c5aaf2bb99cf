"""Who has spent too much: GCRA buckets per minute.

A bucket is one integer, its theoretical arrival time (TAT, in µs of the core's clock), kept in a
plain mapping from a rule's key.  Integers alone, so that a script in Redis can do the same sums on
the same hash.  What happens on excess is written in the rule and done by the caller; concurrency
is the scheduler's, which knows who is in flight.
"""

from collections.abc import Iterable, MutableMapping, Sequence
from typing import Literal, NamedTuple

from msgspec import Struct

from gateway.core.policy import OnExcess

MINUTE_US = 60_000_000
IDLE_US = 3_600_000_000  # a TAT this old is forgotten: every request it could settle is over

Unit = Literal["requests", "tokens"]


class Rule(Struct, frozen=True, kw_only=True):
    """``per_min`` of ``unit``, with at most ``burst`` at once (0: ten seconds of the limit)."""

    key: str  # names the bucket, e.g. "tenant:acme:tokens"
    unit: Unit
    per_min: int
    burst: int = 0
    on_excess: OnExcess = "reject"

    @property
    def depth(self) -> int:
        """The most that can be spent at once, never less than one."""
        return self.burst or max(1, self.per_min // 6)

    def spread_us(self, amount: int) -> int:
        """How long the limit takes to earn ``amount``, rounded up."""
        return -(-amount * MINUTE_US // self.per_min)


class Charge(NamedTuple):
    rule: Rule
    amount: int


class Answer(NamedTuple):
    """Either every rule was charged, or ``exceeded`` names those in the way and none was."""

    charges: tuple[Charge, ...]
    exceeded: tuple[Rule, ...] = ()
    retry_after_ms: int = 0


class Standing(NamedTuple):
    """For the x-ratelimit headers: ``remaining`` may be spent at once, a burst in ``reset_ms``."""

    limit: int  # per minute
    remaining: int
    reset_ms: int


Tats = MutableMapping[str, int]


def rules_of(
    scope: str,
    *,
    requests_per_min: int | None,
    tokens_per_min: int | None,
    on_excess: OnExcess = "reject",
) -> list[Rule]:
    """The rules of one tenant, key, or tier of a tenant: ``scope``, such as "key:ab12cd34"."""
    limits: list[tuple[Unit, int | None]] = [
        ("requests", requests_per_min),
        ("tokens", tokens_per_min),
    ]
    return [
        Rule(key=f"{scope}:{unit}", unit=unit, per_min=per_min, on_excess=on_excess)
        for unit, per_min in limits
        if per_min is not None
    ]


def spend(tats: Tats, rules: Sequence[Rule], now_ms: int, *, tokens: int) -> Answer:
    """Charge one request of ``tokens`` estimated cost to every rule, or to none.

    The generic cell rate algorithm in its virtual-scheduling form (ITU-T I.371): a refused request
    leaves no trace, so nobody digs himself deeper by asking.  A cost above a rule's burst could
    never pass: it is charged as a burst, and the rest at settlement.
    """
    now_us = now_ms * 1000
    charges, tat_after, exceeded, wait_us = [], {}, [], 0
    for rule in rules:
        amount = min(tokens, rule.depth) if rule.unit == "tokens" else 1
        tat = max(tats.get(rule.key, 0), now_us) + rule.spread_us(amount)
        excess_us = tat - now_us - rule.spread_us(rule.depth)
        if excess_us > 0:
            exceeded.append(rule)
            wait_us = max(wait_us, excess_us)
        charges.append(Charge(rule, amount))
        tat_after[rule.key] = tat
    if exceeded:
        return Answer((), tuple(exceeded), -(-wait_us // 1000))
    tats.update(tat_after)
    return Answer(tuple(charges))


def settle(tats: Tats, charges: Iterable[Charge], now_ms: int, *, tokens: int) -> None:
    """Replace the estimate by the real cost, in either direction."""
    for rule, amount in charges:
        if rule.unit == "tokens":
            _move(tats, rule, tokens - amount, now_ms)


def refund(tats: Tats, charges: Iterable[Charge], now_ms: int) -> None:
    """Take all of it back: the request left the line without reaching an engine."""
    for rule, amount in charges:
        _move(tats, rule, -amount, now_ms)


def _move(tats: Tats, rule: Rule, amount: int, now_ms: int) -> None:
    tat = tats.get(rule.key, now_ms * 1000)
    tats[rule.key] = tat + amount * MINUTE_US // rule.per_min


def standing(tats: Tats, rule: Rule, now_ms: int) -> Standing:
    now_us = now_ms * 1000
    behind_us = max(0, tats.get(rule.key, 0) - now_us)
    room_us = max(0, rule.spread_us(rule.depth) - behind_us)
    remaining = min(rule.depth, room_us * rule.per_min // MINUTE_US)
    return Standing(rule.per_min, remaining, -(-behind_us // 1000))


def tightest(tats: Tats, rules: Iterable[Rule], unit: Unit, now_ms: int) -> Standing | None:
    """The rule with the least room, which is the one a client should hear of."""
    found = [standing(tats, rule, now_ms) for rule in rules if rule.unit == unit]
    return min(found, key=lambda stands: (stands.remaining, -stands.reset_ms), default=None)


def forget_idle(tats: Tats, now_ms: int) -> None:
    """Drop buckets that have been full for an hour; an absent bucket is a full one."""
    for key in [key for key, tat in tats.items() if tat < now_ms * 1000 - IDLE_US]:
        del tats[key]
