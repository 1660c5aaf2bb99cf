"""What happened: finished requests, and the line second by second.  Written by ``records`` alone."""

from datetime import datetime

from django.db import models

from gateway.models.tenants import Tenant


class UsageRows(models.QuerySet["UsageRecord"]):
    def older_than(self, at: datetime) -> "UsageRows":
        return self.filter(arrived_at__lt=at)


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
