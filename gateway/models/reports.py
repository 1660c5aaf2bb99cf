"""What a day came to, by tenant and tier: kept longer than the requests it was counted from."""

from datetime import date

from django.db import models

from gateway.models.tenants import Tenant


class DayRows(models.QuerySet["TierDay"]):
    def of(self, day: date, tenant: Tenant | None = None) -> "DayRows":
        """In the order of tenants; within one, the most urgent tier first."""
        found = self.filter(day=day).select_related("tenant")
        found = found.filter(tenant=tenant) if tenant else found
        return found.order_by("tenant__slug", "-priority", "tier")


class TierDay(models.Model):
    """One tenant in one tier on one day of UTC.  Written by ``reports`` alone.

    ``waited`` joined the line and got a slot, expired or were evicted; of these ``within_target``
    got one within the tier's target wait in the policy of their time.
    """

    day = models.DateField()
    tenant = models.ForeignKey(Tenant, models.PROTECT, db_constraint=False, related_name="+")
    tier = models.CharField(max_length=32)
    priority = models.SmallIntegerField(null=True)
    requests = models.PositiveIntegerField()
    completed = models.PositiveIntegerField()
    prompt_tokens = models.PositiveBigIntegerField()
    completion_tokens = models.PositiveBigIntegerField()
    waited = models.PositiveIntegerField()
    within_target = models.PositiveIntegerField()
    refused = models.TextField(blank=True)  # "queue_full:3 queue_timeout:1"
    waits = models.TextField(blank=True)  # a ``Sketch``

    objects = DayRows.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["day", "tenant", "tier"], name="one_day_of_a_tier")
        ]

    def __str__(self) -> str:
        return f"{self.day}: {self.tenant_id}/{self.tier}"
