"""Posting a message: the one way into delivery for whoever has something to tell."""

from collections.abc import Iterable

from django.db import transaction
from django.utils import timezone

from dashboard.delivery.message import Message
from dashboard.delivery.models import Channel, Delivery
from dashboard.delivery.tasks import hand_out


def post(message: Message, channels: Iterable[Channel], dedupe: str) -> None:
    """Send ``message`` to each enabled channel, once for all calls with the same ``dedupe``.

    Call it in the transaction of what it tells of: the rows of both are there or neither is.  It
    only writes; Celery sends after the commit, and again after a failure.  ``dedupe`` without its
    last part ("incident-7" of "incident-7-2") names what a later "resolved" ends at PagerDuty.
    """
    with transaction.atomic():
        hand_out(Delivery.objects.write(message, channels, dedupe, timezone.now()))


def post_again(delivery: Delivery) -> bool:
    """Begin anew with one that failed for good.  False: it did not."""
    with transaction.atomic():
        begun = delivery.begin_anew(timezone.now())
        if begun:
            hand_out([delivery.pk])
    return begun
