"""What somebody is still working on.  What is published lives in ``gateway.models``."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Self
from zoneinfo import ZoneInfo

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, models, transaction
from django.db.models import Q
from django.db.models.functions import Now

from dashboard.policies.fields import Document, filled
from dashboard.policies.fields import document as as_document
from gateway.models import PolicyVersion, policy_of


class StaleDraft(Exception):
    """The draft was saved from elsewhere since this page was made."""


def in_force() -> tuple[int, Document]:
    """Number and document of the newest version; 0 and the defaults before the first."""
    newest = PolicyVersion.objects.newest()
    return newest.number if newest else 0, as_document(policy_of(newest))


def document_of(number: int) -> Document:
    version = PolicyVersion.objects.filter(number=number).first()
    return as_document(policy_of(version))


class Drafts(models.QuerySet["Draft"]):
    def of(self, person: User) -> "Draft":
        """The person's draft; without one, an unsaved copy of what is in force."""
        kept = self.filter(person=person).first()
        if kept:
            return kept
        number, document = in_force()
        return self.model(person=person, base=number, document=document)


class Draft(models.Model):
    """One person's edited policy.  ``edit`` counts its saves: the lock of two open pages."""

    person = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, related_name="draft")
    document = models.JSONField()  # as ``fields.Document``; may not be publishable yet
    base = models.PositiveIntegerField()  # the number of the version it began from
    edit = models.PositiveIntegerField(default=0)
    saved_at = models.DateTimeField(auto_now_add=True)

    objects = Drafts.as_manager()

    class Meta:
        ordering = ["-saved_at"]

    def __str__(self) -> str:
        return f"{self.person}'s draft on v{self.base}"

    @classmethod
    def from_db(
        cls, db: str | None, field_names: Collection[str], values: Collection[Any], **more: Any
    ) -> Self:
        draft = super().from_db(db, field_names, values, **more)
        draft.document = filled(draft.document)
        return draft

    def write(self, document: Document, edit: int, base: int | None = None) -> None:
        """Save ``document``, if the draft is still at its ``edit``-th save.

        Raises:
            StaleDraft: it is not; nothing was written.
        """
        base = self.base if base is None else base
        rows = Draft.objects.filter(person=self.person, edit=edit)
        if edit:
            if not rows.update(document=document, base=base, edit=edit + 1, saved_at=Now()):
                raise StaleDraft
        else:
            try:
                with transaction.atomic():
                    Draft.objects.create(person=self.person, document=document, base=base, edit=1)
            except IntegrityError:
                raise StaleDraft from None
        self.document, self.base, self.edit = document, base, edit + 1


class Preview(models.Model):
    """One replay of recorded traffic under two policies.  Equal questions share a row."""

    class State(models.TextChoices):
        WAITING = "waiting"
        RUNNING = "running"
        DONE = "done"
        STOPPED = "stopped"
        FAILED = "failed"

    checksum = models.CharField(max_length=64, unique=True)  # of all that is asked
    draft_checksum = models.CharField(max_length=64, db_index=True)
    person = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    base = models.PositiveIntegerField()
    document = models.JSONField()  # the draft, as it was
    since = models.DateTimeField()
    until = models.DateTimeField()
    load = models.FloatField(default=1.0)
    lost = models.CharField(max_length=63, blank=True)  # a backend that is left out
    state = models.CharField(max_length=16, choices=State, default=State.WAITING)
    done_share = models.FloatField(default=0.0)
    result = models.JSONField(null=True)
    error = models.CharField(max_length=300, blank=True)
    asked_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.person}'s draft on v{self.base} over {self.since:%H:%M}-{self.until:%H:%M}"


class Scheduled(models.Model):
    """A draft that becomes a version at a moment, unless its base has moved by then.

    While it waits its author has no draft of it; where nothing came of it, the draft comes back.
    """

    class State(models.TextChoices):
        WAITING = "waiting"
        PUBLISHED = "published"
        MOVED = "moved"  # another version was there first, so nothing was published
        REFUSED = "refused"  # its author may not publish any more
        CANCELLED = "cancelled"

    person = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="scheduled")
    document = models.JSONField()
    base = models.PositiveIntegerField()
    message = models.CharField(max_length=500)
    at = models.DateTimeField()
    zone = models.CharField(max_length=64)  # in which the author named the moment
    state = models.CharField(max_length=16, choices=State, default=State.WAITING)
    version = models.PositiveIntegerField(null=True)  # what it became, or what came first
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["at", "pk"]

    def __str__(self) -> str:
        return f"{self.person}'s draft on v{self.base} at {self.at:%Y-%m-%d %H:%M}"

    @property
    def local(self) -> datetime:
        """The moment as its author wrote it; naive, so that no template turns it into UTC."""
        return self.at.astimezone(ZoneInfo(self.zone)).replace(tzinfo=None)


class Managed(models.Model):
    """Who looks after the policy or a tenant; without a row people do, in the browser.

    What a file manages is changed in the file alone; the other two are marks.
    """

    class By(models.TextChoices):
        UI = "ui"  # taken over from a file
        FILE = "file"
        API = "api"

    what = models.CharField(max_length=80, unique=True)  # ``policy``, ``tenant:acme``
    by = models.CharField(max_length=4, choices=By)
    where = models.CharField(max_length=200)  # ``policy.yaml@3f2c1a9``, ``key XoBh07B0``
    version = models.PositiveIntegerField(null=True)  # of the policy: what the file holds
    since = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(by__in=["ui", "file", "api"]), name="managed_by")
        ]

    def __str__(self) -> str:
        return f"{self.what}: {self.where}"
