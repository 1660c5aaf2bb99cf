"""The line over longer times, in steps of 10 s to a day: merged from finer steps, then pruned."""

from django.db import models

from gateway.core.buckets import FINEST_S, Bucket

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
# By step: how long its buckets are kept, in seconds.  Ten minutes and a day are there so that a
# chart of a week, or of a year, reads some thousand rows and not fifty thousand.
KEPT_S = {
    FINEST_S: 48 * HOUR_S,
    MINUTE_S: 30 * DAY_S,
    10 * MINUTE_S: 30 * DAY_S,
    HOUR_S: 396 * DAY_S,
    DAY_S: 396 * DAY_S,
}


class BucketRows(models.QuerySet["QueueBucket"]):
    def between(self, step_s: int, start: int, end: int) -> "BucketRows":
        """Those that begin at ``start`` or later and before ``end``, in the order of time."""
        found = self.filter(step_s=step_s, start__gte=start, start__lt=end)
        return found.order_by("start", "writer")

    def of_pool(self, pool: str) -> "BucketRows":
        return self.filter(pool=pool)

    def as_buckets(self) -> list[Bucket]:
        return [Bucket(*row) for row in self.values_list(*Bucket._fields)]

    def too_old(self, step_s: int, now_s: float) -> "BucketRows":
        return self.filter(step_s=step_s, start__lt=int(now_s) - KEPT_S[step_s])


class QueueBucket(models.Model):
    """One tier over ``step_s`` seconds; the fields are told by ``core.buckets.Bucket``.

    Several gateways write a bucket each for the same ten seconds, with their names as ``writer``.
    """

    step_s = models.PositiveIntegerField()
    pool = models.CharField(max_length=63)
    tier = models.CharField(max_length=32)
    start = models.BigIntegerField()
    writer = models.CharField(max_length=16)
    seconds = models.PositiveIntegerField()
    waiting_min = models.PositiveIntegerField()
    waiting_max = models.PositiveIntegerField()
    waiting_last = models.PositiveIntegerField()
    in_flight_min = models.PositiveIntegerField()
    in_flight_max = models.PositiveIntegerField()
    in_flight_last = models.PositiveIntegerField()
    oldest_min_s = models.FloatField()
    oldest_max_s = models.FloatField()
    oldest_last_s = models.FloatField()
    wait_p95_max_s = models.FloatField(null=True)
    arrived = models.PositiveIntegerField()
    dispatched = models.PositiveIntegerField()
    lost = models.TextField(blank=True)
    waits = models.TextField(blank=True)

    objects = BucketRows.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["step_s", "start", "pool", "tier", "writer"], name="one_bucket_of_a_writer"
            )
        ]

    def __str__(self) -> str:
        return f"{self.pool}/{self.tier}: {self.step_s} s from {self.start}"
