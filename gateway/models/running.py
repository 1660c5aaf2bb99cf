"""Which gateways run, and by which revision each decides.  Written by ``presence`` alone."""

from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import models
from django.db.models import Count, Q

TOLD_EVERY_S = 2.0
LIVE_FOR = timedelta(seconds=6)  # three times that: one late word makes nobody dead


class InForce(NamedTuple):
    """How many gateways run, and on how many of them a change is in force."""

    gateways: int
    on_it: int

    @property
    def everywhere(self) -> bool:
        return 0 < self.gateways == self.on_it


class GatewayRows(models.QuerySet["GatewayState"]):
    def alive(self, at: datetime) -> "GatewayRows":
        return self.filter(seen_at__gt=at - LIVE_FOR)

    def gone(self, at: datetime) -> "GatewayRows":
        return self.filter(seen_at__lte=at - LIVE_FOR)

    def of_revision(self, number: int, at: datetime) -> InForce:
        """How far a change of keys, tenants or policy has come that moved the revision there."""
        return self._reached(Q(revision__gte=number), at)

    def of_policy(self, version: int, at: datetime) -> InForce:
        """The same by the number of a policy, for a version somebody names."""
        return self._reached(Q(policy_version__gte=version), at)

    def _reached(self, there: Q, at: datetime) -> InForce:
        counts = {"gateways": Count("pk"), "on_it": Count("pk", filter=there)}
        return InForce(**self.alive(at).aggregate(**counts))


class GatewayState(models.Model):
    """One gateway process, as it last told of itself."""

    name = models.CharField(max_length=150, unique=True)
    pid = models.PositiveIntegerField()
    revision = models.BigIntegerField()  # -1: it has loaded nothing yet
    policy_version = models.PositiveIntegerField()
    seen_at = models.DateTimeField()

    objects = GatewayRows.as_manager()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return f"{self.name} at {self.revision}"
