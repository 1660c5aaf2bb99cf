"""Requests that left the line without a slot, one by one: what the live page counts as lost.

Those refused before they joined a line (a limit, a key, a model) are none of these.
"""

from collections import Counter
from datetime import datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlencode

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from dashboard.accounts.gate import open_to
from dashboard.accounts.permissions import may_watch
from gateway import newest
from gateway.core.buckets import LOSS_OF
from gateway.core.ledger import Loss
from gateway.models import PolicyVersion, UsageRecord

SPANS = {"1": "1 min", "15": "15 min", "60": "1 h", "1440": "24 h"}
USUAL = "15"
LOOKED_AT = 5000  # the newest arrivals that went without a slot
PER_PAGE = 50
WORDS: dict[Loss, str] = {
    "rejected": "rejected",
    "expired": "expired",
    "evicted": "evicted",
    "cancelled": "hung up",
}


class Lost(NamedTuple):
    row: UsageRecord
    left_at: datetime
    how: str


@open_to(may_watch)
@require_safe
def lost(request: HttpRequest) -> HttpResponse:
    asked = {name: text.replace("\0", "") for name, text in request.GET.dict().items()}
    tier, how, pool = (asked.get(name, "") for name in ("tier", "how", "pool"))
    minutes = asked.get("minutes", USUAL)
    if minutes not in SPANS:
        minutes = USUAL
    policy = PolicyVersion.objects.newest_policy()
    longest_s = max((one.max_wait_s for one in policy.tiers), default=0.0)
    since = timezone.now() - timedelta(minutes=int(minutes))
    found = [one for one in _newest(since, longest_s, tier, pool) if one.left_at >= since]
    found.sort(key=lambda one: one.left_at, reverse=True)
    counts = Counter(one.how for one in found)
    shown = [one for one in found if how in ("", one.how)]
    context = {
        "tiers": policy.by_urgency,
        "spans": SPANS,
        "asked": {"tier": tier, "how": how, "minutes": minutes, "pool": pool},
        "counts": [(word, counts[word]) for word in WORDS.values() if counts[word]],
        "total": len(found),
        "matching": len(shown),
        "part": Paginator(shown, PER_PAGE).get_page(asked.get("page")),
        "span": SPANS[minutes],
        "query": urlencode({"tier": tier, "pool": pool, "minutes": minutes, "how": how}),
    }
    return render(request, "live/lost.html", context)


def _newest(since: datetime, longest_s: float, tier: str, pool: str) -> list[Lost]:
    """Arrivals that may have left since then: whoever expires came as much earlier as it may wait."""
    rows = UsageRecord.objects.since(since - timedelta(seconds=longest_s)).filter(
        queue_wait_s=None, code__in=LOSS_OF
    )
    if tier:
        rows = rows.filter(tier=tier)
    models = _models_of(pool)
    if models:
        rows = rows.filter(model__in=models)
    newest_first = rows.select_related("tenant").order_by("-arrived_at")[:LOOKED_AT]
    return [
        Lost(row, row.arrived_at + timedelta(seconds=row.e2e_s), WORDS[LOSS_OF[row.code]])
        for row in newest_first
    ]


def _models_of(pool: str) -> tuple[str, ...]:
    """A record has its model, not its pool.  Empty where that tells nothing apart."""
    frame = newest.frame()
    if frame is None or len(frame.pools) < 2:
        return ()
    return next((tuple(one.models) for one in frame.pools if one.name == pool), ())
