"""Where messages go, and each message on its way to one of these places."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db import models
from django.db.models import F, Q

from dashboard.delivery.message import Message
from dashboard.delivery.sealing import seal, unseal

TRIES = 5
FIRST_PAUSE = timedelta(seconds=15)  # then 1, 4 and 16 minutes
# A worker that dies while it sends leaves its row at "sending".  No way of sending takes this long.
LEASE = timedelta(minutes=5)


class Channels(models.QuerySet["Channel"]):
    def enabled(self) -> "Channels":
        return self.filter(enabled=True)

    def for_reminders(self) -> "Channels":
        return self.filter(enabled=True, reminders=True)


class Channel(models.Model):
    """One place.  Its address is a secret, since whoever knows it can write there."""

    class Kind(models.TextChoices):
        SLACK = "slack", "Slack"
        TEAMS = "teams", "Microsoft Teams"
        PAGERDUTY = "pagerduty", "PagerDuty"
        MAIL = "mail", "E-mail"
        NTFY = "ntfy", "ntfy"
        WEBHOOK = "webhook", "Webhook, signed"
        OTHER = "other", "Other service"

    name = models.CharField(max_length=60, unique=True)
    kind = models.CharField(max_length=16, choices=Kind)
    sealed_address = models.TextField()
    sealed_signing = models.TextField(blank=True)  # what a webhook's receiver checks signatures by
    where = models.CharField(max_length=200)  # the part of the address that may be shown
    enabled = models.BooleanField(default=True)
    reminders = models.BooleanField(default=False)  # of keys, beside what rules send there
    created_by = models.CharField(max_length=150)
    created_at = models.DateTimeField(auto_now_add=True)
    last_success_at = models.DateTimeField(null=True)
    last_failure_at = models.DateTimeField(null=True)

    objects = Channels.as_manager()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def failing(self) -> bool:
        """Its newest try failed."""
        failed, went = self.last_failure_at, self.last_success_at
        return failed is not None and (went is None or went < failed)

    @property
    def address(self) -> str:
        return unseal(self.sealed_address)

    @address.setter
    def address(self, text: str) -> None:
        self.sealed_address = seal(text)

    @property
    def signing(self) -> str:
        return unseal(self.sealed_signing)

    @signing.setter
    def signing(self, text: str) -> None:
        self.sealed_signing = seal(text)


class Deliveries(models.QuerySet["Delivery"]):
    def write(
        self, message: Message, channels: Iterable[Channel], dedupe: str, now: datetime
    ) -> list[int]:
        """A row for each enabled channel that has none of this ``dedupe``; those that are due."""
        chosen = [channel for channel in channels if channel.enabled]
        kept = message.as_json()
        self.bulk_create(
            [
                Delivery(channel=channel, dedupe=dedupe, message=kept, next_try_at=now)
                for channel in chosen
            ],
            ignore_conflicts=True,  # posted before: that one goes its way
        )
        rows = self.filter(channel__in=chosen, dedupe=dedupe).due(now)
        return list(rows.values_list("pk", flat=True))

    def due(self, now: datetime) -> "Deliveries":
        """What may be tried now, also where a worker died over it."""
        died = Q(state=Delivery.State.SENDING, claimed_at__lte=now - LEASE, tries__lt=TRIES)
        waits = Q(state=Delivery.State.QUEUED, next_try_at__lte=now)
        return self.filter(waits | died).order_by("next_try_at", "pk")

    def abandon(self, now: datetime) -> int:
        """Give up what workers died over at the last of its tries."""
        died = self.filter(
            state=Delivery.State.SENDING, claimed_at__lte=now - LEASE, tries__gte=TRIES
        )
        why = "The worker ended each time it was sending this."
        return died.update(state=Delivery.State.FAILED, ended_at=now, last_error=why)

    def in_hands(self, now: datetime) -> "Deliveries":
        """What a living worker sends just now."""
        return self.filter(state=Delivery.State.SENDING, claimed_at__gt=now - LEASE)

    def give_up(self, now: datetime, why: str) -> int:
        """End what waits, unsent.  What is being sent just now ends by itself."""
        waiting = self.filter(state=Delivery.State.QUEUED)
        return waiting.update(state=Delivery.State.FAILED, ended_at=now, last_error=why)

    def newest_of(self, begins: str) -> "list[Delivery]":
        """The last one to each channel of those whose ``dedupe`` begins so, by channel."""
        rows = self.filter(dedupe__startswith=begins).select_related("channel").order_by("pk")
        newest = {row.channel_id: row for row in rows}
        return sorted(newest.values(), key=lambda row: row.channel.name)

    def undelivered(self) -> "Deliveries":
        return self.filter(state__in=[Delivery.State.QUEUED, Delivery.State.SENDING])

    def ended_before(self, at: datetime) -> "Deliveries":
        return self.filter(ended_at__lt=at)


class Delivery(models.Model):
    """One message on its way to one channel.  ``state`` moves by conditional UPDATE alone."""

    class State(models.TextChoices):
        QUEUED = "queued"
        SENDING = "sending"
        SENT = "sent"
        FAILED = "failed"

    channel = models.ForeignKey(Channel, models.CASCADE, related_name="deliveries")
    dedupe = models.CharField(max_length=200)
    message = models.JSONField()  # as ``Message.as_json``
    state = models.CharField(max_length=8, choices=State, default=State.QUEUED)
    tries = models.PositiveSmallIntegerField(default=0)
    next_try_at = models.DateTimeField()
    claimed_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=300, blank=True)  # in words, without a secret
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    objects = Deliveries.as_manager()

    class Meta:
        ordering = ["-created_at", "-pk"]
        constraints = [
            models.UniqueConstraint(fields=["channel", "dedupe"], name="told_once_a_channel"),
            models.CheckConstraint(
                condition=Q(state__in=["queued", "sending", "sent", "failed"]),
                name="delivery_state",
            ),
        ]
        indexes = [models.Index(fields=["state", "next_try_at"], name="delivery_due")]

    def __str__(self) -> str:
        return f"{self.dedupe} to {self.channel_id}: {self.state}"

    @property
    def is_under_way(self) -> bool:
        return self.state in (self.State.QUEUED, self.State.SENDING)

    def claim(self, now: datetime) -> bool:
        """Take it for one try.  False: it is not due, another worker has it, or has its channel.

        One at a time a channel: a receiver that hangs holds one worker thread, not all of them.
        """
        busy = Delivery.objects.in_hands(now).values("channel")
        mine = Delivery.objects.filter(pk=self.pk).due(now).exclude(channel__in=busy)
        took = mine.order_by().update(
            state=self.State.SENDING, tries=F("tries") + 1, claimed_at=now
        )
        if took:
            self.refresh_from_db(fields=["state", "tries", "claimed_at"])
        return bool(took)

    def sent(self, now: datetime) -> None:
        if self._end(self.State.SENT, ended_at=now, last_error=""):
            Channel.objects.filter(pk=self.channel_id).update(last_success_at=now)

    def failed(self, now: datetime, why: str, pause: timedelta | None) -> None:
        """Try again after ``pause``; for good where it is None or the tries are used up.

        What was on its way while its channel was disabled is not tried again either.
        """
        why, off = why[:300], not Channel.objects.enabled().filter(pk=self.channel_id).exists()
        if off or pause is None or self.tries >= TRIES:
            moved = self._end(self.State.FAILED, ended_at=now, last_error=why)
        else:
            at = now + max(pause or FIRST_PAUSE, FIRST_PAUSE * 4 ** (self.tries - 1))
            moved = self._end(self.State.QUEUED, next_try_at=at, last_error=why)
        if moved:
            Channel.objects.filter(pk=self.channel_id).update(last_failure_at=now)

    def begin_anew(self, now: datetime) -> bool:
        """Queue one that failed for good.  False: it did not."""
        rows = Delivery.objects.filter(pk=self.pk, state=self.State.FAILED)
        return bool(rows.update(state=self.State.QUEUED, tries=0, next_try_at=now, ended_at=None))

    def _end(self, state: "Delivery.State", **values: Any) -> bool:
        """Let the claim go, if it is still this worker's: a lease may have run out meanwhile."""
        mine = Delivery.objects.filter(
            pk=self.pk, state=self.State.SENDING, claimed_at=self.claimed_at
        )
        return bool(mine.update(state=state, **values))
