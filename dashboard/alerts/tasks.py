"""What Celery does for alerts.  Each task may run twice."""

from datetime import timedelta

from celery import shared_task
from django.utils import timezone

from dashboard.alerts import watch
from dashboard.alerts.models import Incident, Silence

KEPT = timedelta(days=396)  # as long as the history of the line


@shared_task
def watch_the_evaluator() -> None:
    watch.judge_heartbeat(timezone.now())


@shared_task
def prune_incidents() -> None:
    before = timezone.now() - KEPT
    Incident.objects.filter(closed_at__lt=before).delete()
    Silence.objects.filter(ends_at__lt=before).delete()
