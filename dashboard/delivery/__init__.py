"""Delivery: messages to people, by channels that admins set up.  Whoever has one calls ``post``."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from dashboard.delivery.message import Message

if TYPE_CHECKING:
    from dashboard.delivery.models import Channel

__all__ = ["Message", "post"]


def post(message: Message, channels: "Iterable[Channel]", dedupe: str) -> None:
    """Send ``message`` to each enabled channel, once for all calls with the same ``dedupe``.

    Call it in the transaction of what it tells of: the rows of both are there or neither is.  It
    only writes; Celery sends after the commit, and again after a failure.  ``dedupe`` without its
    last part ("incident-7" of "incident-7-2") names what a later "resolved" ends at PagerDuty.
    """
    from dashboard.delivery.models import Delivery  # this package is imported before apps are ready

    Delivery.objects.post(message, channels, dedupe)
