"""What stands beside an alert as its possible cause, and on the charts."""

from datetime import timedelta

import pytest
from django.utils import timezone

from dashboard.alerts import marks
from dashboard.alerts.models import Annotation
from gateway.core.policy import default_policy
from gateway.models import Override, PolicyVersion
from tests.support.people import person

pytestmark = pytest.mark.django_db


def pause(at, **more):
    return Override.objects.create(
        verb="pause", pool="default", tier="batch", scope="tier:default/batch", owner="otto",
        reason="upgrade", begun_at=at, ends_at=at + timedelta(minutes=15), changed_at=at,
        changed_by="otto", key=str(at), **more,
    )  # fmt: skip


def test_what_was_ordered_published_and_noted_before_it_may_be_the_cause():
    now = timezone.now()
    pause(now - timedelta(minutes=10))
    pause(now - timedelta(hours=2))  # too long ago
    Annotation.objects.create(at=now - timedelta(minutes=5), text="deployed", by=person("ben"))
    PolicyVersion.objects.publish(default_policy(), "translate to batch", person("ada"))

    found = marks.before(timezone.now())

    assert [(mark.kind, mark.text, mark.by) for mark in found] == [
        ("policy", "policy v1: translate to batch", "ada"),
        ("note", "deployed", "ben"),
        ("override", "paused batch", "otto"),
    ]


def test_a_note_stands_on_the_live_page_s_charts(client):
    client.force_login(person("vic", "viewer"))
    at = timezone.now() - timedelta(minutes=2)
    note = Annotation.objects.create(at=at, text="deployed", by=None)
    Annotation.objects.create(at=at - timedelta(hours=1), text="long ago", by=None)

    shown = client.get("/live/figures/").json()["notes"]

    kept = {"at": at.timestamp(), "kind": "note", "text": "deployed", "by": ""}
    assert shown == [kept | {"link": f"/alerts/notes/{note.pk}/"}]
