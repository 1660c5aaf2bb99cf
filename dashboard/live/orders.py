"""Reads an order out of an address, and looks up what it is about in the newest frame.

``/live/actions/evict/?pool=default&tier=batch&tenant=acme``: the address says what is meant, in the
words that filter the live page; the form says the rest.
"""

from collections.abc import Callable
from datetime import UTC
from typing import NamedTuple

import msgspec
from django.http import QueryDict
from django.utils import timezone

from dashboard.live import impact
from dashboard.live.impact import Impact, Running
from dashboard.live.line import FIELDS, Filter
from dashboard.live.overrides import Order
from gateway import newest, questions
from gateway.core.policy import Policy
from gateway.core.selection import Selection
from gateway.core.snapshot import Frame, HeadRow, PoolView, TierView
from gateway.models import Override, PolicyVersion, Tenant

MOST_IDS = 500
SILENT = "The gateway has said nothing for 5 s: nothing can be counted or done until it is back."


class Unknown(ValueError):
    """The address names something that is not there."""


class Scene(NamedTuple):
    """What is known at one moment."""

    policy: Policy
    frame: Frame | None

    def pool(self, name: str) -> PoolView | None:
        pools = self.frame.pools if self.frame else ()
        return next((pool for pool in pools if pool.name == name), None)

    def tier(self, pool: str, name: str) -> TierView | None:
        view = self.pool(pool)
        return next((tier for tier in view.tiers if tier.name == name), None) if view else None


def scene() -> Scene:
    return Scene(PolicyVersion.objects.newest_policy(), newest.frame())


def order_of(verb: str, asked: QueryDict, now: Scene) -> Order:
    """What an address means.

    Raises:
        Unknown: it names a pool, tier or tenant that is not there, or too many requests.
    """
    if any("\0" in text for text in asked.values()):
        raise Unknown("The address has a character that no name has.")
    pools = [pool.name for pool in now.frame.pools] if now.frame else []
    pool = asked.get("pool", "") or (pools[0] if pools else "default")
    if pools and pool not in pools and verb != "move":
        raise Unknown(f"There is no pool {pool!r}. There is {', '.join(pools)}.")
    if verb == "move":
        tenant = asked.get("tenant", "")
        if not Tenant.objects.filter(slug=tenant).exists():
            raise Unknown(f"There is no tenant {tenant!r}." if tenant else "Say which tenant.")
        return Order(verb, tenant=tenant)
    if verb in ("pause", "drain"):
        tier = asked.get("tier", "")
        if now.policy.tier(tier) is None:
            tiers = ", ".join(one.name for one in now.policy.by_urgency)
            raise Unknown(f"There is no tier {tier!r}. There is {tiers}.")
        return Order(verb, pool, tier)
    chosen = _selection(asked)
    if verb == "abort" and not chosen.ids:
        raise Unknown("Say which requests, by their ids.")
    return Order(verb, pool, selection=chosen)


def _selection(asked: QueryDict) -> Selection:
    ids = _values(asked.get("ids", ""))
    if len(ids) > MOST_IDS:
        raise Unknown(f"At most {MOST_IDS} requests can be chosen one by one: use a filter.")
    if ids:
        return Selection(ids=ids)
    return Selection(**{field: _values(asked.get(name, "")) for name, field in FIELDS.items()})


def _values(text: str) -> tuple[str, ...]:
    return tuple(sorted({part.strip() for part in text.split(",") if part.strip()}))


def look(order: Order, now: Scene) -> tuple[Impact, int | None]:
    """The effect of an order, and how many waiting requests it is about, where it is about some."""
    running = _running(order)
    if order.verb == "move":
        waiting = sum(_crowd(lambda pool, tier, tenant: tenant == order.tenant))
        return impact.move(now.policy, order.tenant, order.tier, waiting, running), None
    if order.verb in ("pause", "drain"):
        tier = now.tier(order.pool, order.tier)
        if tier is None:
            return _unseen(order), None
        judge = impact.pause if order.verb == "pause" else impact.drain
        return judge(tier, running), tier.waiting
    if now.frame is None:
        return Impact((), 1, cannot=SILENT), None
    touched, exactly = count(order, now)
    if order.verb == "abort":
        return impact.abort(touched), touched
    if order.verb == "boost":
        return impact.boost(touched, exactly=exactly), touched
    return impact.evict(touched, exactly=exactly), touched


def _unseen(order: Order) -> Impact:
    """What lasts may be ordered while the gateway is away: it is held as soon as it is back."""
    said = "The gateway is silent, so the effect cannot be counted. It holds as soon as it is back."
    return Impact((said,), 1 if order.verb == "pause" else 2, order.tier)


def count(order: Order, now: Scene) -> tuple[int, bool]:
    """How many waiting requests are meant; and whether that is exact or at most."""
    chosen, pool = order.selection, now.pool(order.pool)
    if chosen.ids:
        return len(chosen.ids), True
    whole = _whole_line(order.pool, pool.waiting if pool else 0)
    if whole is not None:
        takes = Filter(
            {f: frozenset(v) for f in FIELDS.values() if (v := getattr(chosen, f))}
        ).takes
        return sum(takes(row) for row in whole), True
    at_most = sum(
        _crowd(
            lambda pool, tier, tenant: (
                pool == order.pool
                and (not chosen.tier or tier in chosen.tier)
                and (not chosen.tenant or tenant in chosen.tenant)
            )
        )
    )
    return at_most, not (chosen.task_type or chosen.key or chosen.model)


def _whole_line(pool: str, waiting: int) -> tuple[HeadRow, ...] | None:
    """Everybody who waits, where somebody looks at the line and it is short enough."""
    answer = questions.ask_line()
    if answer is None:
        return None
    line = msgspec.json.decode(answer, type=dict[str, tuple[HeadRow, ...]]).get(pool, ())
    return line if line and len(line) >= waiting else None


def _crowd(takes: Callable[[str, str, str], bool]) -> list[int]:
    return [waiting for place, waiting in newest.crowds().items() if takes(*place)]


def _running(order: Order) -> Running | None:
    """By the rows: a frame is a second old."""
    row = Override.objects.in_force(timezone.now()).filter(scope=order.scope).first()
    if row is None or row.ends_at is None:
        return None
    return Running(row.verb, row.owner, row.tier, f"{row.ends_at.astimezone(UTC):%H:%M} UTC")
