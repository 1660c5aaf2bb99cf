"""What is stored of a metric: the one place that knows where samples lie."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from dashboard.alerts import rolling
from dashboard.alerts.would import Point
from gateway.core.buckets import FINEST_S
from gateway.core.policy import Policy, Tier
from gateway.models import Override, QueueBucket, QueueSample

KEPT = timedelta(hours=1)  # second by second; before that in steps of 10 s
COLUMNS = ("at", "waiting", "oldest_s", "wait_p50_s", "wait_p95_s", "in_per_s", "out_per_s")
STEPS = ("start", "waiting_max", "oldest_max_s", "wait_p95_max_s", "arrived", "dispatched")
SEEN = frozenset({"oldest", "wait_p50", "wait_p95", "queue", "time_to_full"})  # by the second
COUNTED = frozenset({"wait_p99", "refused", "refused_share", "burn", "burn_6h"})  # from the steps
TERM = "override_term"
STORED = SEEN | COUNTED | {TERM}
ENDED = "It is told from waits that ended; whoever still waited then is not in it."
CAVEATS = {"wait_p50": f"Older than an hour: {ENDED[0].lower()}{ENDED[1:]}", "wait_p99": ENDED}
CAVEATS |= {"burn": ENDED, "burn_6h": ENDED}
NOT_KEPT = {
    "bound_used": "Who went before whom in the line is not kept, only the line's length and waits.",
    "passed_over": "Who went before whom in the line is not kept, only the line's length and waits.",
    "backends_down": "The state of each server is not kept by the second; History has when this fired.",
    "engine_queue": "What waited inside vLLM is not kept; Prometheus has it (vllm:num_requests_waiting).",
    "priority_ignored": "The order that each server kept is not kept by the second.",
    "heartbeat": "Only the last time that the rules were judged is kept.",
    "notifier": "Only messages and their tries are kept, not who was there to try.",
}


class Told(NamedTuple):
    """What is stored of one instance.  ``tier`` None: it is of no tier, or of one that is gone."""

    name: str
    tier: Tier | None
    points: list[Point]


def of_metric(
    metric: str, chosen_pools: list[str], tiers: list[Tier], since: datetime, until: datetime
) -> Iterator[Told]:
    """Each instance that a rule judges."""
    if metric == TERM:
        yield from _terms(chosen_pools, since, until)
        return
    for tier in tiers:
        for pool in chosen_pools:
            yield Told(tier.name, tier, points(metric, pool, tier, since, until))


def points(metric: str, pool: str, tier: Tier, since: datetime, until: datetime) -> list[Point]:
    """One tier in the order of time; empty for a metric that is not stored.

    Of ten seconds it is the worst second.
    """
    if metric in COUNTED:
        return _counted(metric, pool, tier, since, until)
    if metric not in SEEN:
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
    if metric == "wait_p50":  # a step has the worst p95 of its seconds, of the others the waits
        return [
            point
            for point in _counted(metric, pool, tier, since, until)
            if point.at + FINEST_S <= begin
        ] + samples
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


def _counted(metric: str, pool: str, tier: Tier, since: datetime, until: datetime) -> list[Point]:
    start = int(since.timestamp())
    rows = QueueBucket.objects.of_pool(pool).between(
        FINEST_S, start - rolling.reach_s(metric), int(until.timestamp())
    )
    steps = [
        rolling.Step(*row) for row in rows.filter(tier=tier.name).values_list(*rolling.Step._fields)
    ]
    found = rolling.points(metric, steps, tier.target_wait_s)
    return [point for point in found if point.at >= start]


def _terms(chosen_pools: list[str], since: datetime, until: datetime) -> Iterator[Told]:
    """How much of its time each order had run.  One that was extended counts by its last end."""
    rows = Override.objects.lasting(since, until)
    shares: dict[tuple[str, str], dict[float, float | None]] = {}
    for row in rows:
        if row.ends_at is None or (row.pool and row.pool not in chosen_pools):
            continue
        begun_s, term_s = row.begun_at.timestamp(), (row.ends_at - row.begun_at).total_seconds()
        last = min(row.ended_at or until, until).timestamp()
        known = shares.setdefault((row.pool, row.tier), {})
        at = max(begun_s, since.timestamp()) // FINEST_S * FINEST_S
        while at <= last:
            known[at] = max(known.get(at) or 0.0, min(1.0, (at - begun_s) / max(1.0, term_s)))
            at += FINEST_S
        known.setdefault(at, None)
    for (_, tier_name), values in shares.items():
        yield Told(tier_name, None, [Point(at, values[at]) for at in sorted(values)])


def pools(since: datetime) -> list[str]:
    """The pools that something is stored of."""
    samples = QueueSample.objects.filter(at__gte=since).order_by()
    steps = QueueBucket.objects.filter(
        step_s=FINEST_S, start__gte=int(since.timestamp())
    ).order_by()
    found = (rows.values_list("pool", flat=True).distinct() for rows in (samples, steps))
    return sorted({pool for names in found for pool in names})


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
