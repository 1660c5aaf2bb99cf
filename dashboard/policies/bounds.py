"""How long a tier's request may wait at worst, in seconds: the starvation bound under a draft.

It is G1 of docs/scheduling.md, W + (B + c_max) / (rescue share x rate).  A draft has no line, so B
is what would be overdue if the arrivals of the last hour came again and everything waited as long
as it may; the rate is that of the hour's busiest minute, which the engines have shown to take.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import Count, F, Max, Sum
from django.db.models.functions import TruncMinute

from gateway.core.estimate import DECODE_WEIGHT, cost
from gateway.core.policy import Policy, Tier
from gateway.models import UsageRecord

HOUR_S = 3600


class Seen(NamedTuple):
    """What the last hour brought, in tokens of cost."""

    arrived: Mapping[str, int]  # by tier
    each: int  # of a request, in the mean
    largest: int
    rate_per_s: float


class LongestWait(NamedTuple):
    tier: Tier
    seconds: float
    gives_up: bool  # its max wait is over by then


def longest_waits(policy: Policy, seen: Seen) -> list[LongestWait]:
    """By urgency; empty where nothing is promised, since no share is kept for rescue."""
    if not policy.rescue_share or seen.rate_per_s <= 0:
        return []
    overdue = sum(_overdue(tier, seen) for tier in policy.tiers)
    rescue_s = (overdue + seen.largest) / (policy.rescue_share * seen.rate_per_s)
    return [
        LongestWait(tier, min(tier.target_wait_s + rescue_s, tier.max_wait_s), gives_up)
        for tier in policy.by_urgency
        for gives_up in [tier.target_wait_s + rescue_s >= tier.max_wait_s]
    ]


def _overdue(tier: Tier, seen: Seen) -> float:
    """The most of one tier that can stand past its target at one moment."""
    arrived_per_s = seen.arrived.get(tier.name, 0) / HOUR_S
    by_time = arrived_per_s * max(0.0, tier.max_wait_s - tier.target_wait_s)
    return min(by_time, tier.max_waiting * seen.each)


def last_hour(now: datetime) -> Seen | None:
    """None: nothing was answered, so nothing is known."""
    rows = (
        UsageRecord.objects.since(now - timedelta(seconds=HOUR_S))
        .exclude(tier="")
        .annotate(minute=TruncMinute("arrived_at"))
        .values_list("tier", "minute")
        .annotate(
            n=Count("id"),
            told=Count("completion_tokens"),
            prompt=Sum("prompt_tokens", default=0),
            output=Sum("completion_tokens", default=0),
            most=Max(F("prompt_tokens") + DECODE_WEIGHT * F("completion_tokens"), default=0),
        )
    )
    came: dict[str, int] = {}
    minutes: dict[datetime, int] = {}
    known = spent = largest = 0
    for tier, minute, n, told, prompt, output, most in rows:
        came[tier] = came.get(tier, 0) + n
        work = cost(prompt, output) if told else 0
        minutes[minute] = minutes.get(minute, 0) + work
        known, spent, largest = known + told, spent + work, max(largest, most)
    if not known:
        return None
    each = max(1, spent // known)
    arrived = {tier: n * each for tier, n in came.items()}
    return Seen(arrived, each, largest, max(minutes.values()) / 60)
