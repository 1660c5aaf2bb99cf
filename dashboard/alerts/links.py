"""The link in a message that acknowledges: signed, good once, for a week.

It opens a page with a button, so that a mail program's preview acknowledges nothing.
"""

from datetime import timedelta

from django.core import signing
from django.urls import reverse

from dashboard.alerts.models import Incident

SALT = "laneway.alerts.ack"
GOOD_FOR = timedelta(days=7)


def ack(incident: Incident) -> str:
    token = signing.dumps([incident.pk, incident.acks], salt=SALT)
    return reverse("alerts:ack-link", args=[token])


def meant(token: str) -> Incident | None:
    """The incident that may still be acknowledged by this link."""
    try:
        pk, acks = signing.loads(token, salt=SALT, max_age=GOOD_FOR)
    except (signing.BadSignature, ValueError, TypeError):
        return None
    return Incident.objects.open().select_related("rule").filter(pk=pk, acks=acks).first()
