"""What is stored of a metric: the one place that knows where samples lie."""

from datetime import datetime, timedelta

from dashboard.alerts.would import Point
from gateway.core.buckets import FINEST_S
from gateway.core.policy import Policy, Tier
from gateway.models import QueueBucket, QueueSample

KEPT = timedelta(hours=1)  # second by second; before that in steps of 10 s
COLUMNS = ("at", "waiting", "oldest_s", "wait_p50_s", "wait_p95_s", "in_per_s", "out_per_s")
STEPS = ("start", "waiting_max", "oldest_max_s", "wait_p95_max_s", "arrived", "dispatched")
STORED = frozenset({"oldest", "wait_p50", "wait_p95", "queue", "time_to_full"})


def points(metric: str, pool: str, tier: Tier, since: datetime, until: datetime) -> list[Point]:
    """One tier in the order of time; empty for a metric that is not stored.

    Of ten seconds it is the worst second.
    """
    if metric not in STORED:
        return []
    samples = [
        Point(at.timestamp(), _value(metric, tier, *rest))
        for at, *rest in QueueSample.objects.since(since, pool)
        .filter(tier=tier.name, at__lte=until)
        .values_list(*COLUMNS)
    ]
    begin = samples[0].at if samples else until.timestamp()
    if begin - since.timestamp() < FINEST_S:
        return samples
    rows = QueueBucket.objects.of_pool(pool).between(FINEST_S, int(since.timestamp()), int(begin))
    steps = [
        Point(
            start,
            _value(metric, tier, waiting, oldest, None, p95, come / FINEST_S, gone / FINEST_S),
        )
        for start, waiting, oldest, p95, come, gone in rows.filter(tier=tier.name).values_list(
            *STEPS
        )
    ]
    return steps + samples


def pools(since: datetime) -> list[str]:
    """The pools that something is stored of."""
    samples = QueueSample.objects.filter(at__gte=since).order_by("pool")
    return list(samples.values_list("pool", flat=True).distinct())


def reaches_back(since: datetime, now: datetime) -> timedelta:
    """How much of the time since then is stored."""
    step = QueueBucket.objects.filter(step_s=FINEST_S, start__gte=int(since.timestamp()))
    begun = step.order_by("start").values_list("start", flat=True).first()
    if begun is not None:
        return timedelta(seconds=now.timestamp() - begun)
    first = QueueSample.objects.filter(at__gte=since).order_by("at").values_list("at", flat=True)
    oldest = first.first()
    return now - oldest if oldest else timedelta(0)


def judged_tiers(policy: Policy, wanted: str, most_urgent: str) -> list[Tier]:
    tiers = policy.by_urgency
    if wanted == most_urgent:
        return tiers[:1]
    return [tier for tier in tiers if wanted in ("", tier.name)]


def _value(
    metric: str,
    tier: Tier,
    waiting: int,
    oldest_s: float | None,
    p50_s: float | None,
    p95_s: float | None,
    in_per_s: float,
    out_per_s: float,
) -> float | None:
    if metric == "queue":
        return waiting / tier.max_waiting
    if metric == "time_to_full":
        growth = in_per_s - out_per_s
        growing = waiting and growth > 0.01
        return max(0, tier.max_waiting - waiting) / growth if growing else None
    return {"oldest": oldest_s, "wait_p50": p50_s, "wait_p95": p95_s}[metric]
