"""Who is served, and what proves it."""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import models, transaction
from django.db.models import F, Q
from msgspec import convert, to_builtins

from gateway import keys
from gateway.core.policy import KeyRules
from gateway.models.announced import Announced, AnnouncedRows, is_slug


class AlreadyRotated(ValueError):
    """A key gets one successor: the second form that was sent makes none."""


class TenantRows(AnnouncedRows["Tenant"]):
    pass


class Tenant(Announced):
    class Status(models.TextChoices):
        ACTIVE = "active"
        SUSPENDED = "suspended"

    slug = models.CharField(max_length=63, unique=True, validators=[is_slug])
    name = models.CharField(max_length=200)
    status = models.CharField(max_length=16, choices=Status, default=Status.ACTIVE)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = TenantRows.as_manager()

    class Meta:
        ordering = ["slug"]
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=["active", "suspended"]), name="tenant_status"
            )
        ]

    def __str__(self) -> str:
        return self.slug


class KeyRows(AnnouncedRows["APIKey"]):
    def in_use(self) -> "KeyRows":
        return self.exclude(status=APIKey.Status.REVOKED)

    def by_service(self) -> "KeyRows":
        """Services in the order of their names; in each the keys of now before those of once."""
        return self.order_by("service", "status", "-created_at")  # active, disabled, revoked

    def issue(
        self,
        tenant: Tenant,
        name: str,
        *,
        kind: keys.Kind = "live",
        rules: KeyRules | None = None,
        expires_at: datetime | None = None,
        service: str = "",
        replaces: "APIKey | None" = None,
    ) -> "tuple[APIKey, str]":
        """Make a key.  The text returned beside its row exists nowhere else: show it once.

        Raises:
            IntegrityError: the tenant has a key of that name in use.
        """
        minted = keys.mint(kind)
        pepper_id, pepper = next(iter(settings.LANEWAY_PEPPERS.items()))
        row = self.create(
            id8=minted.id8,
            tenant=tenant,
            name=name,
            kind=kind,
            digest=keys.digest(minted.whole, pepper),
            pepper_id=pepper_id,
            rules=to_builtins(rules or KeyRules()),
            expires_at=expires_at,
            service=service,
            replaces=replaces,
        )
        return row, minted.whole

    def touch(self, used_at: dict[str, datetime]) -> None:
        """Note when keys were last used.  Not announced: no gateway decides by it."""
        for id8, at in used_at.items():
            models.QuerySet.update(self.filter(id8=id8), last_used_at=at)


class APIKey(Announced):
    """A key's public part and the digest of its whole.  The key itself is nowhere."""

    class Kind(models.TextChoices):
        LIVE = "live"
        TEST = "test"
        ADMIN = "admin"

    class Status(models.TextChoices):
        ACTIVE = "active"
        DISABLED = "disabled"
        REVOKED = "revoked"

    id8 = models.CharField(max_length=8, unique=True)
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="keys")
    name = models.CharField(max_length=100)
    service = models.CharField(max_length=100, blank=True)  # what uses it; outlives rotations
    kind = models.CharField(max_length=8, choices=Kind, default=Kind.LIVE)
    digest = models.BinaryField(max_length=32)
    pepper_id = models.CharField(max_length=16)
    rules = models.JSONField(default=dict, blank=True)  # a KeyRules document
    not_before = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    status = models.CharField(max_length=16, choices=Status, default=Status.ACTIVE)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    replaces = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="+")
    rotated_at = models.DateTimeField(null=True, blank=True)  # when its successor was made
    retires_at = models.DateTimeField(null=True, blank=True)  # until then both are valid

    objects = KeyRows.as_manager()

    class Meta:
        verbose_name = "API key"
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=["active", "disabled", "revoked"]), name="key_status"
            ),
            models.CheckConstraint(
                condition=Q(kind__in=["live", "test", "admin"]), name="key_kind"
            ),
            models.CheckConstraint(
                condition=Q(not_before=None)
                | Q(expires_at=None)
                | Q(expires_at__gt=F("not_before")),
                name="key_expires_after_it_begins",
            ),
            models.UniqueConstraint(
                fields=["tenant", "name"],
                condition=~Q(status="revoked"),
                name="key_name_in_use_once",
                violation_error_message="This tenant has a key of that name in use.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.id8} ({self.name})"

    def rotate(
        self, at: datetime, overlap: timedelta, name: str, expires_at: datetime | None
    ) -> "tuple[APIKey, str]":
        """Make this key's successor, with the same rights.  Both are valid until ``at + overlap``.

        Without an overlap this key is revoked, so that no worker's clock matters.

        Raises:
            AlreadyRotated: it has a successor, or is out of use.
            IntegrityError: the tenant has a key of that name in use.
        """
        leaving: dict[str, Any] = {"rotated_at": at, "retires_at": at + overlap}
        if not overlap:
            leaving["status"] = self.Status.REVOKED
        with transaction.atomic():
            claimed = APIKey.objects.filter(
                pk=self.pk, rotated_at=None, status=self.Status.ACTIVE
            ).update(**leaving)
            if not claimed:
                raise AlreadyRotated(f"The key {self.id8} has a successor or is out of use.")
            for column, value in leaving.items():
                setattr(self, column, value)
            return APIKey.objects.issue(
                self.tenant,
                name,
                kind=self.kind,  # type: ignore[arg-type] # the column's choices are these kinds
                rules=self.as_rules(),
                expires_at=expires_at,
                service=self.service,
                replaces=self,
            )

    def revoke(self) -> None:
        """For good; gateways refuse it within a second."""
        self.status = self.Status.REVOKED
        self.save()

    def as_rules(self) -> KeyRules:
        return convert(self.rules, KeyRules)
