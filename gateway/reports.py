"""The daily report: finished requests counted by tenant and tier, and lines to show of it.

A day is counted as a whole and written over what was there, so it may run twice.  Percentiles are
merged from sketches, also those of several tenants together.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

from django.db.models import Case, Count, F, FloatField, IntegerField, Max, Q, Sum, Value, When
from django.db.models.functions import Cast, Coalesce, Floor, Ln

from gateway.core.buckets import text_of, total_counts
from gateway.core.ledger import LOG_RATIO
from gateway.core.policy import default_policy
from gateway.core.sketch import Sketch
from gateway.models import PolicyVersion, TierDay, UsageRecord, UsageRows

REFUSED = ("rejected", "expired", "evicted")
KEPT = timedelta(days=396)
WHERE = ("day", "tenant", "tier")
Key = tuple[int, str]  # of a tenant, and a tier


class Line(NamedTuple):
    """A line of the report.  Waits are seconds; None: too few to say."""

    tenant: str
    tier: str
    priority: int | None
    requests: int
    completed: int
    prompt_tokens: int
    completion_tokens: int
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    waited: int
    within_target: int
    refused: dict[str, int]

    @property
    def within_share(self) -> float | None:
        """Of those that joined the line; those refused at the door have no wait to judge."""
        return self.within_target / self.waited if self.waited else None

    @property
    def refused_total(self) -> int:
        return sum(self.refused.values())


COLUMNS = (
    *("tenant", "tier", "priority", "requests", "completed", "prompt_tokens", "completion_tokens"),
    *("wait_p50_s", "wait_p95_s", "wait_p99_s", "waited", "within_target", "refused", "reasons"),
)


def cells(line: Line) -> list[object]:
    """A line for a spreadsheet; the reasons as "queue_full:3 evicted:1"."""
    plain = line._asdict()
    reasons = plain.pop("refused")
    return [*plain.values(), line.refused_total, text_of(reasons)]


def make(day: date) -> int:
    """Count a day of UTC.  Returns how many lines it has."""
    begin = datetime.combine(day, time(), UTC)
    records = UsageRecord.objects.since(begin).older_than(begin + timedelta(days=1))
    records = records.exclude(tier="")
    sketches, refused = _waits(records), _refused(records)
    days = [
        TierDay(
            day=day,
            refused=text_of(refused.get((row["tenant_id"], row["tier"]), {})),
            waits=str(sketches.get((row["tenant_id"], row["tier"]), Sketch())),
            **row,
        )
        for row in _sums(records)
    ]
    what = [f.name for f in TierDay._meta.concrete_fields if f.name not in ("id", *WHERE)]
    TierDay.objects.bulk_create(
        days, update_conflicts=True, unique_fields=WHERE, update_fields=what
    )
    return len(days)


def lines(rows: Iterable[TierDay]) -> list[Line]:
    return [_line([row], row.tenant.slug) for row in rows]


def by_tier(rows: Iterable[TierDay]) -> list[Line]:
    """The same of all tenants together, the most urgent tier first."""
    tiers: dict[str, list[TierDay]] = {}
    for row in rows:
        tiers.setdefault(row.tier, []).append(row)
    found = [_line(of_tier, "all") for of_tier in tiers.values()]
    return sorted(found, key=lambda line: (-(line.priority or 0), line.tier))


def _line(rows: list[TierDay], tenant: str) -> Line:
    p50_s, p95_s, p99_s = Sketch.merged(row.waits for row in rows).told_s()
    refused = total_counts(row.refused for row in rows)
    return Line(
        tenant=tenant,
        tier=rows[0].tier,
        priority=rows[0].priority,
        requests=sum(row.requests for row in rows),
        completed=sum(row.completed for row in rows),
        prompt_tokens=sum(row.prompt_tokens for row in rows),
        completion_tokens=sum(row.completion_tokens for row in rows),
        p50_s=p50_s,
        p95_s=p95_s,
        p99_s=p99_s,
        waited=sum(row.waited for row in rows),
        within_target=sum(row.within_target for row in rows),
        refused=dict(sorted(refused.items(), key=lambda item: -item[1])),
    )


def _sums(records: UsageRows) -> Iterable[Any]:
    """A dict of columns for each tenant and tier."""
    within = [
        When(policy_version=version, tier=tier, queue_wait_s__lte=target_s, then=1)
        for version, tier, target_s in _targets(records)
    ]
    return (
        records.order_by()
        .values("tenant_id", "tier")
        .annotate(
            priority=Max("priority"),
            requests=Count("id"),
            completed=Count("id", filter=Q(outcome="completed")),
            prompt_tokens=Coalesce(Sum("prompt_tokens"), 0),
            completion_tokens=Coalesce(Sum("completion_tokens"), 0),
            waited=Count(
                "id",
                filter=Q(queue_wait_s__isnull=False) | Q(outcome__in=("expired", "evicted")),
            ),
            within_target=Coalesce(Sum(Case(*within, default=0, output_field=IntegerField())), 0),
        )
    )


def _targets(records: UsageRows) -> Iterable[tuple[int, str, float]]:
    """The target wait of each tier in each version that was in force; before the first publication
    that was 0, the default."""
    numbers = records.order_by().values_list("policy_version", flat=True).distinct()
    versions = PolicyVersion.objects.filter(number__in=list(numbers))
    policies = [(0, default_policy()), *((one.number, one.as_policy()) for one in versions)]
    for number, policy in policies:
        for tier in policy.tiers:
            yield number, tier.name, tier.target_wait_s


def _refused(records: UsageRows) -> dict[Key, dict[str, int]]:
    rows = (
        records.filter(outcome__in=REFUSED)
        .order_by()
        .values_list("tenant_id", "tier", "code")
        .annotate(n=Count("id"))
    )
    found: dict[Key, dict[str, int]] = {}
    for tenant, tier, code, n in rows:
        found.setdefault((tenant, tier), {})[code] = n
    return found


def _waits(records: UsageRows) -> dict[Key, Sketch]:
    """Sketches, put into buckets by the database: a busy day has a million rows."""
    wait_ms = Cast(Floor(F("queue_wait_s") * 1000.0), FloatField())
    bucket = Case(
        When(queue_wait_s__lt=0.001, then=Value(0)),
        default=Cast(1 + Floor(Ln(wait_ms) / Value(LOG_RATIO)), IntegerField()),
        output_field=IntegerField(),
    )
    rows = (
        records.filter(queue_wait_s__isnull=False)
        .order_by()
        .annotate(bucket=bucket)
        .values_list("tenant_id", "tier", "bucket")
        .annotate(n=Count("id"))
    )
    found: dict[Key, Sketch] = {}
    for tenant, tier, number, n in rows:
        found.setdefault((tenant, tier), Sketch()).merge([number, n])
    return found
