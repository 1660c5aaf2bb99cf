"""Is the notifier alive?  For the tile that watches the watchers."""

from datetime import datetime
from typing import NamedTuple

from dashboard.delivery.models import Channel, Delivery


class ChannelHealth(NamedTuple):
    name: str
    enabled: bool
    failing: bool  # its newest try failed
    last_success_at: datetime | None


class Health(NamedTuple):
    undelivered: int
    oldest_undelivered_s: float | None  # None: nothing waits
    idle_s: float  # a message is due for so long that no worker tries
    channels: tuple[ChannelHealth, ...]


def idle_s_of_notifier(now: datetime) -> float:
    """For how long a message is due that no worker tries.  One behind another of its channel,
    which a worker sends just now, waits for that one."""
    busy = Delivery.objects.in_hands(now).values("channel")
    due = Delivery.objects.due(now).exclude(channel__in=busy)
    oldest = due.values_list("next_try_at", flat=True).first()
    return (now - oldest).total_seconds() if oldest else 0.0


def health(now: datetime) -> Health:
    waiting = Delivery.objects.undelivered()
    oldest = waiting.order_by("created_at").values_list("created_at", flat=True).first()
    channels = Channel.objects.all()
    return Health(
        undelivered=waiting.count(),
        oldest_undelivered_s=(now - oldest).total_seconds() if oldest else None,
        idle_s=idle_s_of_notifier(now),
        channels=tuple(
            ChannelHealth(row.name, row.enabled, row.failing, row.last_success_at)
            for row in channels
        ),
    )
