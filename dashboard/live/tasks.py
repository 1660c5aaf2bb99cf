"""What Celery does for the live page.  Each task may run twice."""

from datetime import timedelta

from celery import shared_task
from django.utils import timezone

from dashboard.live import overrides
from gateway.models import KEPT_S, Override

KEPT = timedelta(seconds=max(KEPT_S.values()))  # as long as charts can mark it


@shared_task
def record_ended_overrides() -> None:
    overrides.record_ended(timezone.now())


@shared_task
def prune_overrides() -> None:
    """The audit trail keeps what was ordered for longer."""
    Override.objects.all().forget(timezone.now() - KEPT)
