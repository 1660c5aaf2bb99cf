"""Finished requests of a while, as the what-if replays them: rows in, arrivals and servers out."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from statistics import fmean

from django.db.models import Count
from django.db.models.functions import TruncHour

from dashboard.policies.whatif import Machine, Recorded
from gateway.core.engine import EngineConfig
from gateway.models import Backend, UsageRecord

MOST = 10_000  # arrivals; a longer record is cut at its start
KEPT = timedelta(days=7)  # in which the busiest hour is looked for
ASKED = ("priority", "pinned", "service_tier:", "alias:")  # reasons of those that chose themselves
WAITED_S = 0.5  # a request that waited longer found no slot
USUAL = (500, 100)  # tokens, where nothing at all is known
COLUMNS = (
    "arrived_at", "tenant__slug", "task_type", "tier", "priority", "reason", "outcome", "backend",
    "queue_wait_s", "e2e_s", "prompt_tokens", "completion_tokens",
)  # fmt: skip


def window(name: str, now: datetime) -> tuple[datetime, datetime]:
    """Of the last quarter, hour, or the busiest one, to whole minutes."""
    until = now.replace(second=0, microsecond=0) + timedelta(minutes=1)
    if name == "busiest":
        hours = (
            UsageRecord.objects.since(now - KEPT)
            .annotate(hour=TruncHour("arrived_at"))
            .values_list("hour")
            .annotate(n=Count("id"))
            .order_by("-n", "-hour")
        )
        first = hours.first()
        if first:
            return first[0], first[0] + timedelta(hours=1)
    return until - timedelta(minutes=15 if name == "15m" else 60), until


def many(since: datetime, until: datetime) -> int:
    return UsageRecord.objects.since(since).older_than(until).count()


def arrivals(since: datetime, until: datetime) -> list[Recorded]:
    """In order of time.  A request that never ran told no tokens: it is taken for one like those of
    its tenant and task."""
    rows = (
        UsageRecord.objects.since(since)
        .older_than(until)
        .exclude(tier="")
        .order_by("-arrived_at")
        .values_list(*COLUMNS)[:MOST]
    )
    found = list(rows)[::-1]
    like: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for row in found:
        if row[10] is not None and row[11] is not None:
            like.setdefault((row[1], row[2]), []).append((row[10], row[11]))
    every = [pair for pairs in like.values() for pair in pairs] or [USUAL]
    means = {key: _mean(pairs) for key, pairs in like.items()} | {("", ""): _mean(every)}
    first = found[0][0] if found else since
    return [
        _recorded(row, (row[0] - first).total_seconds(), means.get((row[1], row[2]), means["", ""]))
        for row in found
    ]


def _mean(pairs: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return round(fmean(p for p, _ in pairs)), max(1, round(fmean(c for _, c in pairs)))


def _recorded(row: tuple, at_s: float, like: tuple[int, int]) -> Recorded:  # type: ignore[type-arg] # of COLUMNS
    _, tenant, task, tier, number, reason, outcome, _, wait_s, e2e_s, prompt, output = row
    chose = any(part.strip().startswith(ASKED) for part in reason.split(","))
    return Recorded(
        at_s=at_s,
        tenant=tenant,
        task_type=task,
        prompt_tokens=like[0] if prompt is None else prompt,
        output_tokens=max(1, like[1] if output is None else output),
        stated=number if chose else None,
        tier=tier,
        wait_s=e2e_s if outcome == "expired" else wait_s,
        served_s=e2e_s - wait_s if outcome == "completed" and wait_s is not None else None,
    )


def machine(found: Sequence[Recorded]) -> Machine:
    """The servers as far as they are known; how fast they are is found by replaying.

    Where requests had to wait, as many as ever ran at once is what the servers can run: taken from
    there, waits were reproduced within 9 to 21 %, and within 20 to 82 % by the law's own search.
    """
    backends = list(Backend.objects.filter(enabled=True))
    engines = {
        one.name: EngineConfig(
            scheduling_policy="fcfs" if one.scheduling_policy == "fcfs" else "priority"
        )
        for one in backends
    } or {"server": EngineConfig()}
    limits = {one.max_in_flight for one in backends}
    fixed = limits.pop() if len(limits) == 1 else None
    at_once = _most_at_once(found)
    each = max(1, at_once // len(engines)) if at_once else None
    if any(one.wait_s is not None and one.wait_s > WAITED_S for one in found):
        fixed = fixed or each
    return Machine(engines, fixed, each)


def _most_at_once(found: Sequence[Recorded]) -> int:
    moments: list[tuple[float, int]] = []
    for one in found:
        if one.served_s is not None:
            start_s = one.at_s + (one.wait_s or 0.0)
            moments += [(start_s, 1), (start_s + one.served_s, -1)]
    most = now = 0
    for _, change in sorted(moments):
        now += change
        most = max(most, now)
    return most
