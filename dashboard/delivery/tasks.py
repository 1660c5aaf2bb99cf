"""What Celery does for deliveries.  Each task may run twice."""

from celery import shared_task

from dashboard.delivery.models import Delivery


@shared_task
def deliver(pk: int) -> None:
    """Try one delivery, if it is due and nobody else has it."""
    Delivery.objects.filter(pk=pk).first()
