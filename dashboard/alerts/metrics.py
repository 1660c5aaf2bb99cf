"""What can be judged, and how it is read from a frame: pure.

A reading belongs to a pool, or to a tier in a pool.  Values are seconds, shares (0 to 1) or counts.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

from dashboard.alerts.rules import Sample
from gateway.core.snapshot import Frame, PoolView, QuantileView, TierView

Unit = Literal["seconds", "share", "count", "times"]


class Reading(NamedTuple):
    pool: str
    tier: str  # "" where it is of the pool
    priority: int | None
    sample: Sample
    note: str = ""  # what a number alone does not say, such as which backend is down

    @property
    def instance(self) -> str:
        return f"{self.pool}/{self.tier}"


class Metric(NamedTuple):
    key: str
    label: str
    unit: Unit
    help: str
    of_tier: Callable[[TierView], Sample] | None = None
    of_pool: Callable[[PoolView], tuple[Sample, str]] | None = None
    of_frame: Callable[[Frame], list[Reading]] | None = None
    below: bool = False
    waits: bool = False  # hidden while its pool has no backend: the cause says it


def _quantile(view: QuantileView | None) -> Sample:
    return Sample(view.value_s, view.at_least) if view else Sample(None)


def _share(part: float, whole: float) -> Sample:
    return Sample(part / whole) if whole else Sample(None)


def _time_to_full(tier: TierView) -> Sample:
    growth = tier.in_per_s - tier.out_per_s
    if tier.waiting == 0 or growth <= 0.01:
        return Sample(None)
    return Sample(max(0, tier.max_waiting - tier.waiting) / growth)


def _refused_share(tier: TierView) -> Sample:
    """Of the last minute's arrivals.  Those refused never joined, so they count on top."""
    refused = tier.lost_per_min.rejected
    return _share(refused, refused + tier.in_per_s * 60)


def _burn(long: float | None, short: float | None) -> Sample:
    """The lower of two windows: high for long, and still high."""
    return Sample(None if long is None or short is None else min(long, short))


def backends_down(pool: PoolView) -> tuple[Sample, str]:
    down = [backend.name for backend in pool.backends if backend.state == "down"]
    if not pool.backends:
        return Sample(None), "no backend is configured"
    share = len(down) / len(pool.backends)
    names = ", ".join(down[:5]) + (f" and {len(down) - 5} more" if len(down) > 5 else "")
    return Sample(share), f"{names}: {len(down)} of {len(pool.backends)} down" if down else ""


def _engine_queue(pool: PoolView) -> tuple[Sample, str]:
    known = [b for b in pool.backends if b.state == "up" and b.engine_waiting is not None]
    if not known:
        return Sample(None), ""
    queued = sum(backend.engine_waiting or 0 for backend in known)
    allowed = sum(backend.lookahead for backend in known)
    return Sample(max(0, queued - allowed)), f"{queued} wait there, {allowed} allowed"


def _priority_ignored(pool: PoolView) -> tuple[Sample, str]:
    up = [backend for backend in pool.backends if backend.state == "up"]
    deaf = [backend.name for backend in up if backend.scheduling_policy == "fcfs"]
    if not up:
        return Sample(None), ""
    names = f"{', '.join(deaf)}: start with --scheduling-policy priority" if deaf else ""
    return Sample(len(deaf) / len(up)), names


def _terms(frame: Frame) -> list[Reading]:
    """How much of its term each order has run: the one of a tier that is nearest to its end."""
    nearest: dict[tuple[str, str], Reading] = {}
    numbers = {tier.name: tier.priority for pool in frame.pools for tier in pool.tiers}
    for order in frame.overrides:
        term_s = max(1.0, order.ends_at - order.begun_at)
        share = (frame.at - order.begun_at) / term_s
        what = (
            f"{order.tenant} moved to {order.tier}"
            if order.tenant
            else f"{order.verb} {order.tier}"
        )
        left_min = max(0, math.ceil((order.ends_at - frame.at) / 60))
        note = f"{what} by {order.by}, ends in {left_min} min: {order.reason}"
        found = nearest.get((order.pool, order.tier))
        if found is None or share > (found.sample.value or 0):
            sample = Sample(min(1.0, share))
            number = numbers.get(order.tier)
            nearest[order.pool, order.tier] = Reading(order.pool, order.tier, number, sample, note)
    return list(nearest.values())


METRICS: dict[str, Metric] = {
    metric.key: metric
    for metric in (
        Metric(
            "oldest",
            "oldest waiting",
            "seconds",
            "Age of the oldest request that waits",
            of_tier=lambda tier: Sample(tier.oldest_s),
            waits=True,
        ),
        Metric(
            "wait_p50",
            "wait p50",
            "seconds",
            "Half of the last 5 min waited less; judged from 5 requests on",
            of_tier=lambda tier: _quantile(tier.wait.p50),
            waits=True,
        ),
        Metric(
            "wait_p95",
            "wait p95",
            "seconds",
            "95 % of the last 5 min waited less; judged from 20 requests on",
            of_tier=lambda tier: _quantile(tier.wait.p95),
            waits=True,
        ),
        Metric(
            "wait_p99",
            "wait p99",
            "seconds",
            "99 % of the last 5 min waited less; judged from 100 requests on",
            of_tier=lambda tier: _quantile(tier.wait.p99),
            waits=True,
        ),
        Metric(
            "queue",
            "queue against its limit",
            "share",
            "Waiting requests as a share of the tier's queue limit",
            of_tier=lambda tier: _share(tier.waiting, tier.max_waiting),
            waits=True,
        ),
        Metric(
            "time_to_full",
            "time to full",
            "seconds",
            "When the queue reaches its limit if it goes on growing as now",
            of_tier=_time_to_full,
            below=True,
            waits=True,
        ),
        Metric(
            "refused",
            "refused a minute",
            "count",
            "Requests refused at the door in the last minute",
            of_tier=lambda tier: Sample(tier.lost_per_min.rejected),
        ),
        Metric(
            "refused_share",
            "refused share",
            "share",
            "Refused requests of all that came in the last minute",
            of_tier=_refused_share,
        ),
        Metric(
            "burn",
            "1 h burn",
            "times",
            "How many times faster than allowed requests miss the target wait, over the last hour "
            "and still over the last 5 min",
            of_tier=lambda tier: _burn(tier.burn.h1, tier.burn.m5),
            waits=True,
        ),
        Metric(
            "burn_6h",
            "6 h burn",
            "times",
            "How many times faster than allowed requests miss the target wait, over the last 6 hours "
            "and still over the last 30 min",
            of_tier=lambda tier: _burn(tier.burn.h6, tier.burn.m30),
            waits=True,
        ),
        Metric(
            "bound_used",
            "starvation bound used",
            "share",
            "What went before the longest overdue request, as a share of the most that the rescue "
            "share lets pass; over 100 % the guarantee is broken",
            of_tier=lambda tier: Sample(tier.bound_used),
        ),
        Metric(
            "passed_over",
            "passed over",
            "seconds",
            "For how long nothing of the tier went, though some of it is overdue and may go, while "
            "others of the pool went",
            of_tier=lambda tier: Sample(tier.passed_over_s),
        ),
        Metric(
            "backends_down",
            "backends down",
            "share",
            "Share of the pool's backends that are down",
            of_pool=backends_down,
        ),
        Metric(
            "engine_queue",
            "vLLM queueing",
            "count",
            "Requests that wait inside vLLM beyond the computed lookahead",
            of_pool=_engine_queue,
        ),
        Metric(
            "priority_ignored",
            "priority ignored",
            "share",
            "Share of the backends that start requests in order of arrival",
            of_pool=_priority_ignored,
        ),
        Metric(
            "override_term",
            "term of an order",
            "share",
            "How much of its time a pause, a drain or a move has run",
            of_frame=_terms,
        ),
        Metric(
            "heartbeat",
            "evaluator silent",
            "seconds",
            "Since the last time that the rules were judged; looked at by the Celery worker",
        ),
        Metric(
            "notifier",
            "notifier silent",
            "seconds",
            "For how long a message is due that no Celery worker tries to send",
        ),
    )
}
MOST_URGENT = "^"  # in place of a tier's name, which cannot begin so


def read(metric: Metric, frame: Frame, pool: str = "", tier: str = "") -> Iterator[Reading]:
    """What the frame says of a metric; ``pool`` and ``tier`` narrow it down, "" means each."""
    if metric.of_frame:
        yield from (
            one
            for one in metric.of_frame(frame)
            if pool in ("", one.pool) and tier in ("", one.tier)
        )
    for view in frame.pools:
        if pool and view.name != pool:
            continue
        if metric.of_pool:
            sample, note = metric.of_pool(view)
            yield Reading(view.name, "", None, sample, note)
        if metric.of_tier:
            for one in _tiers(view.tiers, tier):
                yield Reading(view.name, one.name, one.priority, metric.of_tier(one))


def _tiers(tiers: Iterable[TierView], wanted: str) -> Iterator[TierView]:
    """A frame has the most urgent tier first."""
    for rank, tier in enumerate(tiers):
        if wanted in ("", tier.name) or (wanted == MOST_URGENT and rank == 0):
            yield tier


def pool_of(frame: Frame | None, name: str) -> PoolView | None:
    return next((pool for pool in frame.pools if pool.name == name), None) if frame else None


def dark(pool: PoolView) -> bool:
    """No backend is up and one is known to be down: whoever waits there waits for that.

    Where none is configured nothing else is an alert, so the waiting is.
    """
    states = {backend.state for backend in pool.backends}
    return "down" in states and states.isdisjoint(("up", "draining"))


def target_waits(frame: Frame) -> dict[tuple[str, str], float]:
    return {(p.name, tier.name): tier.target_wait_s for p in frame.pools for tier in p.tiers}


def busiest(pool: PoolView, tier: str, most: int = 3) -> list[tuple[str, float]]:
    """Whose requests stand in the line: tenants and their shares of the rows that a frame has."""
    rows = [row.tenant for row in pool.head if tier in ("", row.tier)]
    counts = {tenant: rows.count(tenant) / len(rows) for tenant in dict.fromkeys(rows)}
    return sorted(counts.items(), key=lambda one: -one[1])[:most]
