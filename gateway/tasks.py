"""What Celery does for the gateway: history is merged, old rows go.  Each task may run twice."""

from datetime import timedelta

from celery import shared_task
from django.utils import timezone

from gateway import rollup
from gateway.models import KeyNetwork, QueueSample, UsageRecord

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
