"""What was answered to a change that named itself, so that a repeated call changes nothing twice."""

from datetime import datetime, timedelta

from django.db import models

KEPT = timedelta(hours=24)


class KeptAnswers(models.QuerySet["KeptAnswer"]):
    def claim(self, id8: str, token: str, fingerprint: str, now: datetime) -> "KeptAnswer":
        """The row of a token: without an answer (``status`` 0) if nobody used it in a day.

        In the transaction of the change: a second caller waits for the first one's end.
        """
        self.filter(made_at__lt=now - KEPT).delete()
        row, _ = self.get_or_create(
            id8=id8, token=token, defaults={"fingerprint": fingerprint, "made_at": now}
        )
        return row


class KeptAnswer(models.Model):
    """An answer without the key it may have shown: that is nowhere."""

    id8 = models.CharField(max_length=8)  # of the admin key that asked
    token = models.CharField(max_length=128)  # its Idempotency-Key
    fingerprint = models.CharField(max_length=64)  # SHA-256 of method, address and body
    status = models.PositiveSmallIntegerField(default=0)
    etag = models.CharField(max_length=80, blank=True)
    body = models.JSONField(default=dict)
    made_at = models.DateTimeField(db_index=True)

    objects = KeptAnswers.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["id8", "token"], name="one_answer_to_a_token")
        ]

    def __str__(self) -> str:
        return f"{self.id8}: {self.token}"
