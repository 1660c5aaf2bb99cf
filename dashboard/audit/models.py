"""What people did: a chain of rows, each holding the hash of the one before.

Written by ``log.record`` alone.  Rows name people, tenants and keys in words, without foreign keys:
what is deleted elsewhere stays told here.
"""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.db import models
from django.db.models import Q

FIRST_PREV = "0" * 64


class AppendOnly(TypeError):
    """A row of the trail was about to change or to go."""


class Change(NamedTuple):
    name: str
    before: str | None
    after: str | None


class AuditRows(models.QuerySet["AuditEvent"]):
    def by(self, who: str) -> "AuditRows":
        return self.filter(actor__icontains=who)

    def about(self, text: str) -> "AuditRows":
        return self.filter(Q(object__icontains=text) | Q(tenant__iexact=text))

    def of_verb(self, verb: str) -> "AuditRows":
        """One verb, or all of a kind: ``key`` finds ``key.issued`` and ``key.revoked``."""
        return self.filter(Q(verb=verb) | Q(verb__startswith=verb + "."))

    def since(self, at: datetime) -> "AuditRows":
        return self.filter(at__gte=at)

    def until(self, at: datetime) -> "AuditRows":
        return self.filter(at__lt=at)

    def in_tenants(self, slugs: "models.QuerySet[Any] | list[str]") -> "AuditRows":
        return self.filter(tenant__in=slugs)

    def update(self, **values: Any) -> int:
        raise AppendOnly("The audit trail never changes.")

    def delete(self) -> tuple[int, dict[str, int]]:
        raise AppendOnly("The audit trail is never cut.")

    delete.queryset_only = True  # type: ignore[attr-defined]


class AuditEvent(models.Model):
    """One act.  ``hash`` is SHA-256 of ``prev`` and the row's canonical JSON."""

    number = models.PositiveBigIntegerField(unique=True)  # without gaps, from 1 on
    at = models.DateTimeField(db_index=True)
    actor = models.CharField(max_length=150)
    address = models.CharField(max_length=64, blank=True)
    request_id = models.CharField(max_length=128, blank=True)
    verb = models.CharField(max_length=64, db_index=True)
    object = models.CharField(max_length=200)
    tenant = models.CharField(max_length=63, blank=True, db_index=True)  # whose trail it is part of
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    reason = models.CharField(max_length=500, blank=True)
    prev = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)

    objects = AuditRows.as_manager()

    class Meta:
        ordering = ["-number"]

    def __str__(self) -> str:
        return f"{self.number}: {self.actor} {self.verb} {self.object}"

    def save(self, *args: Any, **options: Any) -> None:
        if not self._state.adding:
            raise AppendOnly("The audit trail never changes.")
        super().save(*args, **options)

    def delete(self, *args: Any, **options: Any) -> tuple[int, dict[str, int]]:
        raise AppendOnly("The audit trail is never cut.")

    def changes(self) -> list[Change]:
        """Field by field, for people; a field on one side alone has None on the other."""
        before, after = self.before or {}, self.after or {}
        names = list(dict.fromkeys([*after, *before]))
        return [Change(name, _text(before.get(name)), _text(after.get(name))) for name in names]

    def document(self) -> dict[str, Any]:
        """All that is hashed, as plain JSON values."""
        return {
            "number": self.number,
            "at": self.at.astimezone(UTC).isoformat(timespec="microseconds"),
            "actor": self.actor,
            "address": self.address,
            "request_id": self.request_id,
            "verb": self.verb,
            "object": self.object,
            "tenant": self.tenant,
            "before": self.before,
            "after": self.after,
            "reason": self.reason,
        }

    def sealed(self) -> str:
        """The hash this row must have where it stands."""
        text = json.dumps(
            self.document(), sort_keys=True, separators=(",", ":"), ensure_ascii=False
        )
        return hashlib.sha256(self.prev.encode() + text.encode()).hexdigest()


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return "; ".join(value)
    return json.dumps(value, ensure_ascii=False)


class AuditHead(models.Model):
    """The newest row's number and hash.  Its lock puts writers in a line; its number shows a cut."""

    number = models.PositiveBigIntegerField(default=0)
    hash = models.CharField(max_length=64, default=FIRST_PREV)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(pk=1), name="one_audit_head")]

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"


class AuditLook(models.Model):
    """What the newest recomputation of the chain found."""

    at = models.DateTimeField()
    rows = models.PositiveBigIntegerField()
    newest = models.CharField(max_length=90)  # number:hash of the last sound row
    broken = models.CharField(max_length=500, blank=True)  # a sentence; "" when all is well

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(pk=1), name="one_audit_look")]

    def __str__(self) -> str:
        return self.broken or f"{self.rows} rows, all sound"
