"""What Celery does for the gateway: history is merged, old rows go.  Each task may run twice."""

from datetime import UTC, timedelta

from celery import shared_task
from django.utils import timezone

from gateway import reports, rollup
from gateway.models import KeyNetwork, QueueSample, TierDay, UsageRecord

SAMPLES_KEPT = timedelta(hours=1)
USAGE_KEPT = timedelta(days=90)


@shared_task
def prune_samples() -> None:
    QueueSample.objects.older_than(timezone.now() - SAMPLES_KEPT).delete()


@shared_task
def roll_up_history() -> None:
    rollup.roll_up(timezone.now().timestamp())


@shared_task
def prune_history() -> None:
    rollup.prune(timezone.now().timestamp())


@shared_task
def prune_usage() -> None:
    UsageRecord.objects.older_than(timezone.now() - USAGE_KEPT).delete()
    KeyNetwork.objects.all().older_than(timezone.now() - USAGE_KEPT).delete()


@shared_task
def make_reports() -> None:
    """Today so far, and yesterday: the last requests of a day end after it."""
    today = timezone.now().astimezone(UTC).date()
    for day in (today - timedelta(days=1), today):
        reports.make(day)
    TierDay.objects.filter(day__lt=today - reports.KEPT).delete()
