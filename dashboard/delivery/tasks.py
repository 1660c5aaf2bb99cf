"""What Celery does for deliveries.  Each task may run twice, or not at all: the next sweep mends it."""

import logging
from datetime import timedelta

import httpx
from celery import shared_task
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from dashboard.delivery.models import Delivery
from dashboard.delivery.sending import NotSent, send
from gateway.models import GatewayState

logger = logging.getLogger(__name__)

KEPT = timedelta(days=30)
AT_ONCE = 100


@shared_task
def deliver(pk: int) -> None:
    """Try one delivery, if it is due and nobody else has it; then the channel's next."""
    delivery = Delivery.objects.select_related("channel").filter(pk=pk).first()
    if delivery is None or not delivery.claim(timezone.now()):
        return
    try:
        send(delivery)
    except NotSent as error:
        logger.warning("delivery %d to %s: %s", pk, delivery.channel, error)
        is_test = delivery.message["kind"] == "test"  # somebody waits to see how it goes
        delivery.failed(timezone.now(), str(error), None if is_test else error.pause)
    else:
        delivery.sent(timezone.now())
    waiting = Delivery.objects.filter(channel=delivery.channel).due(timezone.now())
    hand_out(list(waiting.values_list("pk", flat=True)[:1]))


def hand_out(pks: list[int]) -> None:
    """Ask Celery to try these once the transaction is through.

    A call that is lost on the way, or that no broker takes, is made again by ``sweep``; one
    that comes late or twice finds nothing to claim.
    """

    def ask() -> None:
        for pk in pks:
            deliver.apply_async((pk,), expires=60)

    transaction.on_commit(ask, robust=True)


@shared_task
def sweep() -> None:
    """Hand out all that is due: tries that were put off, and what was lost on its way to a worker."""
    now = timezone.now()
    Delivery.objects.abandon(now)
    hand_out(list(Delivery.objects.due(now).values_list("pk", flat=True)[:AT_ONCE]))


@shared_task
def prune_deliveries() -> None:
    Delivery.objects.ended_before(timezone.now() - KEPT).delete()


@shared_task
def heartbeat() -> None:
    """Say that Laneway runs to whoever watches from outside: what is dead cannot report itself."""
    if not settings.LANEWAY_HEARTBEAT_URL:
        return
    if not GatewayState.objects.alive(timezone.now()).exists():
        logger.warning("no heartbeat: no gateway runs")
        return
    try:
        httpx.get(settings.LANEWAY_HEARTBEAT_URL, timeout=10).raise_for_status()
    except httpx.HTTPError as error:  # the address may hold a token: it is not logged
        logger.warning("the heartbeat was not taken: %s", type(error).__name__)
