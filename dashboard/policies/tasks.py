"""What Celery does for the policy's pages."""

from celery import shared_task
from django.utils import timezone

from dashboard.policies import previews


@shared_task
def preview(pk: int) -> None:
    previews.work_out(pk, timezone.now())
