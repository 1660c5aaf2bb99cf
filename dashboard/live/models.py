"""Screens on walls: who may show the live state without being anybody."""

import hashlib
import secrets
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models
from django.db.models import Q

LINK_TERM = timedelta(days=1)
TERM = timedelta(days=90)


class WallBoardRows(models.QuerySet["WallBoard"]):
    def working(self, now: datetime) -> "WallBoardRows":
        return self.filter(revoked_at__isnull=True, expires_at__gt=now)

    def make(self, name: str, by: User, now: datetime) -> "tuple[WallBoard, str]":
        """A board nobody shows yet, and the secret of the link that opens it once."""
        secret = secrets.token_urlsafe(32)
        board = self.create(
            name=name,
            created_by=by,
            created_at=now,
            expires_at=now + TERM,
            link_digest=digest(secret),
            link_expires_at=now + LINK_TERM,
        )
        return board, secret

    def by_link(self, secret: str, now: datetime) -> "WallBoard | None":
        """The board a link would open: not used yet, not too old."""
        rows = self.working(now).filter(link_expires_at__gt=now)
        return rows.filter(link_digest=digest(secret)).first()

    def by_cookie(self, secret: str, now: datetime) -> "WallBoard | None":
        return self.working(now).filter(digest=digest(secret)).first() if secret else None


class WallBoard(models.Model):
    """One screen.  Of its link and its cookie only digests are kept."""

    name = models.CharField(max_length=60)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    link_digest = models.CharField(max_length=64, blank=True)
    link_expires_at = models.DateTimeField()
    digest = models.CharField(max_length=64, blank=True)
    opened_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    objects = WallBoardRows.as_manager()

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["digest"], condition=~Q(digest=""), name="one_board_a_cookie"
            )
        ]

    def __str__(self) -> str:
        return self.name

    def open(self, now: datetime) -> str | None:
        """Use the link up; the secret for the cookie, or None where somebody was quicker."""
        secret = secrets.token_urlsafe(32)
        unused = WallBoard.objects.working(now).filter(pk=self.pk, link_digest=self.link_digest)
        used = unused.update(link_digest="", digest=digest(secret), opened_at=now)
        return secret if used else None

    def state(self, now: datetime) -> str:
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at <= now:
            return "expired"
        if self.opened_at is not None:
            return "open"
        return "not opened yet" if self.link_expires_at > now else "its link ran out"


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
