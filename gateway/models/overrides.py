"""What people order against the policy for a while, or once: pause, drain, move; boost, evict, abort.

The row is the order.  Running gateways see it within a second, do it, and write their answer back.
An order that lasts is in force until ``ends_at``, whatever restarts in between.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Coalesce
from msgspec import convert

from gateway.core.selection import Selection
from gateway.models.announced import Announced, AnnouncedRows

MOST_BOOST = 5
LASTING = ("pause", "drain", "move")
ONCE_WITHIN = timedelta(seconds=30)  # a gateway that was away longer met another line


class OverrideRow(NamedTuple):
    """An order as the gateway works from it.  Moments are unix seconds."""

    id: int
    verb: str
    pool: str
    tier: str
    tenant: str
    selection: Selection
    by: int
    undoes: int | None
    owner: str
    reason: str
    begun_at: float
    ends_at: float | None  # None: done once
    answered: bool  # by some gateway

    def holds(self, now: float) -> bool:
        return self.ends_at is not None and now < self.ends_at


class OverrideRows(AnnouncedRows["Override"]):
    def in_force(self, at: datetime) -> "OverrideRows":
        return self.filter(ended_at=None, ends_at__gt=at)

    def current(self, at: datetime) -> "OverrideRows":
        """What a gateway has to hold or to do."""
        asked = Q(ends_at=None, begun_at__gt=at - ONCE_WITHIN)
        return self.filter(asked | Q(ended_at=None, ends_at__gt=at)).order_by("pk")

    def newest_about(self, scope: str) -> "Override | None":
        return self.filter(scope=scope).order_by("-pk").first()

    def between(self, since: datetime, until: datetime) -> "OverrideRows":
        """Those that a chart of this span has to mark: begun or ended within it."""
        span = (since, until)
        return self.filter(Q(begun_at__range=span) | Q(ended_at__range=span)).order_by("begun_at")

    def lasting(self, since: datetime, until: datetime) -> "OverrideRows":
        """Those that were in force at some moment of this span, in the order of their begin."""
        over = Q(ended_at=None) | Q(ended_at__gte=since)
        found = self.filter(over, begun_at__lte=until, ends_at__gte=since)
        return found.order_by("begun_at")

    def of_tenant_alone(self, slug: str) -> "OverrideRows":
        """What was done to waiting requests of this tenant and of nobody else."""
        return self.filter(selection__tenant=[slug])

    def end_due(self, at: datetime) -> int:
        """Close what has run its term; two gateways that try close it once."""
        due = self.filter(ended_at=None, ends_at__lte=at)
        return due.update(ended_at=F("ends_at")) if due.exists() else 0

    def ran_out(self) -> "OverrideRows":
        """Those that ran their term and that no trail tells of yet."""
        return self.filter(ended_at__isnull=False, ended_by="", end_recorded=False)

    def claim_end(self, pk: int) -> bool:
        """Whether it is this caller's to record.  Not announced, as an answer is not."""
        return bool(models.QuerySet.update(self.ran_out().filter(pk=pk), end_recorded=True))

    def forget(self, before: datetime) -> None:
        """Delete what was over by then.  Not announced: no gateway knows of it any more."""
        over = Q(ends_at=None, begun_at__lt=before) | Q(ended_at__lt=before)
        told = over & (~Q(ended_by="") | Q(end_recorded=True) | Q(ends_at=None))
        undoing = self.filter(told, undoes__isnull=False)
        models.QuerySet.delete(undoing)
        undone = self.filter(undoes__isnull=False).values("undoes")
        models.QuerySet.delete(self.filter(told).exclude(pk__in=undone))

    def answer(self, pk: int, applied: int, at: datetime) -> None:
        """Add one gateway's answer.  Not announced: no gateway has anything to do about it."""
        models.QuerySet.update(
            self.filter(pk=pk),
            applied=Coalesce(F("applied"), 0) + applied,
            gateways=F("gateways") + 1,
            answered_at=at,
        )


class Override(Announced):
    """One order of one person.  Written by ``dashboard.live.overrides`` alone."""

    class Verb(models.TextChoices):
        PAUSE = "pause"
        DRAIN = "drain"
        BOOST = "boost"
        EVICT = "evict"
        MOVE = "move"
        ABORT = "abort"

    verb = models.CharField(max_length=8, choices=Verb)
    pool = models.CharField(max_length=63, blank=True)  # "" for a move: it holds in all pools
    tier = models.CharField(max_length=32, blank=True)  # paused or drained; where to move to
    tenant = models.CharField(max_length=63, blank=True)  # moved
    selection = models.JSONField(default=dict)  # which requests: a core ``Selection``
    by = models.SmallIntegerField(default=0)  # levels of a boost
    undoes = models.ForeignKey("self", models.PROTECT, null=True, related_name="+")
    scope = models.CharField(max_length=120, db_index=True)  # orders about one thing follow another
    owner = models.CharField(max_length=150)
    reason = models.CharField(max_length=200)
    begun_at = models.DateTimeField(db_index=True)
    ends_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    ended_by = models.CharField(max_length=150, blank=True)  # "" while ended: it ran its term
    end_recorded = models.BooleanField(
        default=False
    )  # of one that ran its term: in the audit trail
    edits = models.PositiveIntegerField(default=0)
    changed_at = models.DateTimeField()
    changed_by = models.CharField(max_length=150)
    key = models.CharField(max_length=64, unique=True)  # of idempotency: a form sent twice is one
    seen = models.PositiveIntegerField(null=True)  # how many waited, as the person was shown
    applied = models.PositiveIntegerField(null=True)  # to how many, as the gateways say
    gateways = models.PositiveIntegerField(default=0)  # how many of them answered
    answered_at = models.DateTimeField(null=True)

    objects = OverrideRows.as_manager()

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(by__gte=-MOST_BOOST, by__lte=MOST_BOOST), name="override_boost_in_reach"
            ),
            models.CheckConstraint(
                condition=Q(verb__in=LASTING, ends_at__isnull=False)
                | (~Q(verb__in=LASTING) & Q(ends_at=None)),
                name="override_lasting_ends",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.verb} {self.scope} by {self.owner}"

    @property
    def lasts(self) -> bool:
        return self.verb in LASTING

    def runs(self, at: datetime) -> bool:
        return self.ends_at is not None and self.ended_at is None and at < self.ends_at

    def chosen(self) -> Selection:
        """Whom it means.

        Raises:
            ValueError: it cannot be read.
        """
        return convert(self.selection, Selection)

    def as_row(self) -> OverrideRow:
        """Raises ValueError as ``chosen`` does."""
        return OverrideRow(
            self.pk,
            self.verb,
            self.pool,
            self.tier,
            self.tenant,
            self.chosen(),
            self.by,
            self.undoes_id,
            self.owner,
            self.reason,
            self.begun_at.timestamp(),
            self.ends_at.timestamp() if self.ends_at else None,
            self.answered_at is not None,
        )
