"""What Celery does for alerts.  Each task may run twice."""

from celery import shared_task
from django.utils import timezone

from dashboard.alerts import watch


@shared_task
def watch_the_evaluator() -> None:
    watch.judge_heartbeat(timezone.now())
