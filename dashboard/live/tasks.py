"""What Celery does for the live page.  It may run twice."""

from celery import shared_task
from django.utils import timezone

from dashboard.live import overrides


@shared_task
def record_ended_overrides() -> None:
    overrides.record_ended(timezone.now())
