"""How many alerts are open: for the badge on every page, without a query for each of them.

The evaluator puts the counts into the cache with every round; a page that finds none there, as in
another process without Redis, counts the rows and keeps them for a few seconds.
"""

from datetime import datetime
from typing import NamedTuple

from django.core.cache import cache
from django.utils import timezone

from dashboard.alerts.models import Incident

KEY = "laneway.alerts.open"
KEPT_S = 5


class Counts(NamedTuple):
    crit: int = 0
    warn: int = 0
    acked: int = 0

    @property
    def open(self) -> int:
        return self.crit + self.warn + self.acked


def remember(at: datetime) -> Counts:
    rows = list(Incident.objects.open().only("severity", "acked_at", "acked_until"))
    acked = [row for row in rows if row.acked(at)]
    loud = [row.severity for row in rows if row not in acked]
    counts = Counts(loud.count("crit"), loud.count("warn"), len(acked))
    cache.set(KEY, tuple(counts), KEPT_S)
    return counts


def counts() -> Counts:
    known = cache.get(KEY)
    return Counts(*known) if known is not None else remember(timezone.now())
