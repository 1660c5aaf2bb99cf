"""A policy decided beside the real one for a while, and what it would have done otherwise."""

from datetime import datetime
from typing import NamedTuple

from django.db import IntegrityError, models, transaction
from django.db.models import F

from gateway.core import policy as core
from gateway.core.policy import Policy
from gateway.models.announced import Announced, AnnouncedRows


class ShadowRow(NamedTuple):
    """A shadow as the gateway works from it."""

    pk: int
    policy: Policy
    ends_at: float  # unix seconds


class ShadowRows(AnnouncedRows["Shadow"]):
    def current(self, now: datetime) -> "Shadow | None":
        return self.filter(ends_at__gt=now).order_by("-pk").first()


class Shadow(Announced):
    """Counts only: it enforces nothing and touches no counter of the real policy."""

    document = models.JSONField()
    base = models.PositiveIntegerField()  # the version in force when it began
    message = models.CharField(max_length=500)
    author = models.CharField(max_length=150)
    started_at = models.DateTimeField(auto_now_add=True)
    ends_at = models.DateTimeField()

    objects = ShadowRows.as_manager()

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.author}'s shadow until {self.ends_at:%Y-%m-%d %H:%M}"

    def as_row(self) -> ShadowRow:
        return ShadowRow(self.pk, core.load(self.document), self.ends_at.timestamp())


class ShadowCounts(models.QuerySet["ShadowCount"]):
    def add(self, shadow: int, tenant: str, was: str, would: str, n: int) -> None:
        """Count on top of what other gateways counted."""
        row = self.filter(shadow_id=shadow, tenant=tenant, was=was, would=would)
        if row.update(n=F("n") + n):
            return
        try:
            with transaction.atomic():
                self.create(shadow_id=shadow, tenant=tenant, was=was, would=would, n=n)
        except IntegrityError:  # another gateway was first
            row.update(n=F("n") + n)


class ShadowCount(models.Model):
    """So many requests of a tenant went to the tier ``was`` and would have gone to ``would``; ""
    is refused at the door."""

    shadow = models.ForeignKey(Shadow, models.CASCADE, related_name="counts")
    tenant = models.CharField(max_length=63)
    was = models.CharField(max_length=32)
    would = models.CharField(max_length=32)
    n = models.PositiveBigIntegerField()

    objects = ShadowCounts.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["shadow", "tenant", "was", "would"], name="one_shadow_count"
            )
        ]

    def __str__(self) -> str:
        return f"{self.tenant}: {self.was or 'refused'} → {self.would or 'refused'}: {self.n}"
