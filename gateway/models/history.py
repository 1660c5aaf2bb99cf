"""What happened: finished requests, and the line second by second.  Written by ``records`` alone."""

from collections.abc import Iterable
from datetime import date, datetime
from typing import Literal, NamedTuple

from django.db import models
from django.db.models import Count, Max, Q, Sum
from django.db.models.functions import Coalesce, TruncDate

from gateway.models.tenants import Tenant

Grouping = Literal["tenant", "key", "model", "day"]
_COLUMNS: dict[Grouping, str] = {
    "tenant": "tenant__slug",
    "key": "key_id8",
    "model": "model",
    "day": "day",
}


class Used(NamedTuple):
    """What one tenant, key, model or day (of UTC) came to.  Tokens count where they are known."""

    name: str
    requests: int
    refused: int
    failed: int
    prompt_tokens: int
    completion_tokens: int

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class UsedInADay(NamedTuple):
    day: date
    name: str
    requests: int
    tokens: int


class UsedFor(NamedTuple):
    endpoint: str
    model: str
    requests: int
    last_at: datetime


class UsageRows(models.QuerySet["UsageRecord"]):
    def older_than(self, at: datetime) -> "UsageRows":
        return self.filter(arrived_at__lt=at)

    def since(self, at: datetime) -> "UsageRows":
        return self.filter(arrived_at__gte=at)

    def of_tenants(self, tenants: "models.QuerySet[Tenant] | Iterable[Tenant]") -> "UsageRows":
        return self.filter(tenant__in=tenants)

    def latest_of_key(self, tenant: Tenant, id8: str) -> "UsageRecord | None":
        return self.filter(tenant=tenant, key_id8=id8).order_by("-arrived_at").first()

    def uses_of_key(self, tenant: Tenant, id8: str) -> list[UsedFor]:
        """What a key asked for, the latest first."""
        rows = (
            self.filter(tenant=tenant, key_id8=id8)
            .values_list("endpoint", "model")
            .annotate(requests=Count("id"), last_at=Max("arrived_at"))
            .order_by("-last_at")
        )
        return [UsedFor(*row) for row in rows]

    def requests_by_key(self) -> dict[str, int]:
        return dict(self.values_list("key_id8").annotate(Count("id")).order_by())

    def requests_by_tenant(self) -> dict[int, int]:
        return dict(self.values_list("tenant_id").annotate(Count("id")).order_by())

    def used_by(self, grouping: Grouping) -> list[Used]:
        """These records added up: the newest day first, else the heaviest user."""
        rows = (
            self.annotate(day=TruncDate("arrived_at"))
            .values_list(_COLUMNS[grouping])
            .annotate(
                requests=Count("id"),
                refused=Count("id", filter=Q(outcome__in=["rejected", "expired", "evicted"])),
                failed=Count("id", filter=Q(outcome="failed")),
                prompt=Coalesce(Sum("prompt_tokens"), 0),
                completion=Coalesce(Sum("completion_tokens"), 0),
            )
            .order_by("-day" if grouping == "day" else "-requests", _COLUMNS[grouping])
        )
        return [Used(str(row[0]), *row[1:]) for row in rows]

    def used_per_day(self, grouping: Grouping) -> list[UsedInADay]:
        """The same by day, for charts; days without a request are absent."""
        column = "endpoint" if grouping == "day" else _COLUMNS[grouping]
        rows = (
            self.annotate(day=TruncDate("arrived_at"))
            .values_list("day", column)
            .annotate(
                requests=Count("id"),
                tokens=Coalesce(Sum("prompt_tokens"), 0) + Coalesce(Sum("completion_tokens"), 0),
            )
            .order_by("day", column)
        )
        return [UsedInADay(*row) for row in rows]


class UsageRecord(models.Model):
    """One finished request.  Written in bulk by ``records.Recorder``, never by ``save``."""

    request_id = models.CharField(max_length=128)
    arrived_at = models.DateTimeField()
    # No constraint in the database: one row of a tenant just deleted must not spoil a whole batch.
    tenant = models.ForeignKey(Tenant, models.PROTECT, db_constraint=False, related_name="+")
    key_id8 = models.CharField(max_length=8)
    endpoint = models.CharField(max_length=64)
    model = models.CharField(max_length=200)
    task_type = models.CharField(max_length=64)
    tier = models.CharField(max_length=32)
    priority = models.SmallIntegerField(null=True)  # of the tier, if it came that far
    effective_priority = models.SmallIntegerField(null=True)  # at dispatch
    reason = models.CharField(max_length=200)
    policy_version = models.PositiveIntegerField()
    backend = models.CharField(max_length=63)
    outcome = models.CharField(max_length=16)
    code = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField()
    stream = models.BooleanField()
    queue_wait_s = models.FloatField(null=True)
    ttft_s = models.FloatField(null=True)
    e2e_s = models.FloatField()
    prompt_tokens = models.PositiveIntegerField(null=True)
    completion_tokens = models.PositiveIntegerField(null=True)
    cached_tokens = models.PositiveIntegerField(null=True)

    objects = UsageRows.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["arrived_at"], name="usage_arrived_at"),
            models.Index(fields=["tenant", "arrived_at"], name="usage_tenant_arrived_at"),
        ]

    def __str__(self) -> str:
        return f"{self.request_id}: {self.outcome}"


class SampleRows(models.QuerySet["QueueSample"]):
    def since(self, at: datetime, pool: str = "default") -> "SampleRows":
        return self.filter(pool=pool, at__gte=at).order_by("at")

    def older_than(self, at: datetime) -> "SampleRows":
        return self.filter(at__lt=at)


class QueueSample(models.Model):
    """One tier in one second, so that charts have a past when a page opens."""

    pool = models.CharField(max_length=63)
    tier = models.CharField(max_length=32)
    at = models.DateTimeField()
    waiting = models.PositiveIntegerField()
    in_flight = models.PositiveIntegerField()
    oldest_s = models.FloatField(null=True)
    wait_p50_s = models.FloatField(null=True)
    wait_p95_s = models.FloatField(null=True)
    in_per_s = models.FloatField()
    out_per_s = models.FloatField()

    objects = SampleRows.as_manager()

    class Meta:
        indexes = [models.Index(fields=["pool", "at"], name="sample_pool_at")]

    def __str__(self) -> str:
        return f"{self.pool}/{self.tier} at {self.at:%H:%M:%S}"
