"""What Celery does for keys.  Each task may run twice: whatever is told is told once."""

from celery import shared_task
from django.utils import timezone

from dashboard.tenants import reminders


@shared_task
def remind_of_keys() -> None:
    now = timezone.now()
    reminders.tell_of_ends(now)
    reminders.tell_of_networks(now)
