"""Is the notifier alive?  For the tile that watches the watchers."""

from datetime import datetime
from typing import NamedTuple

from dashboard.delivery.models import Channel, Delivery


class ChannelHealth(NamedTuple):
    name: str
    enabled: bool
    last_success_at: datetime | None
    last_failure_at: datetime | None

    @property
    def failing(self) -> bool:
        """Its newest try failed."""
        failed, went = self.last_failure_at, self.last_success_at
        return failed is not None and (went is None or went < failed)


class Health(NamedTuple):
    undelivered: int
    oldest_undelivered_s: float | None  # None: nothing waits
    channels: tuple[ChannelHealth, ...]


def health(now: datetime) -> Health:
    waiting = Delivery.objects.undelivered()
    oldest = waiting.order_by("created_at").values_list("created_at", flat=True).first()
    columns = ("name", "enabled", "last_success_at", "last_failure_at")
    return Health(
        undelivered=waiting.count(),
        oldest_undelivered_s=(now - oldest).total_seconds() if oldest else None,
        channels=tuple(ChannelHealth(*row) for row in Channel.objects.values_list(*columns)),
    )
