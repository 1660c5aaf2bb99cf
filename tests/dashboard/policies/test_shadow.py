"""A draft counted beside the real policy: begun, shown, ended."""

from datetime import timedelta

import pytest
from django.utils import timezone

from dashboard.audit.models import AuditEvent
from dashboard.policies.models import Draft
from gateway.models import PolicyVersion, Shadow, ShadowCount

pytestmark = pytest.mark.django_db


@pytest.fixture
def running(as_ada, sent):
    sent(as_ada, "tasks", {"task_types.3.tier": "batch"})
    answer = put(as_ada)
    assert answer.status_code == 302
    return Shadow.objects.get()


def put(client, **more):
    said = {"edit": 1, "message": "count first", "how": "shadow", "minutes": "15"}
    return client.post("/policy/draft/review/", said | more)


def test_it_publishes_nothing_keeps_the_draft_and_is_audited(running):
    assert PolicyVersion.objects.count() == 1
    assert Draft.objects.count() == 1
    assert running.as_row().policy.task_types["translate"] == "batch"
    assert timedelta(minutes=14) < running.ends_at - timezone.now() < timedelta(minutes=16)
    event = AuditEvent.objects.get(verb="policy.shadow_started")
    assert event.after["changes"] == ["translate: standard (0) \u2192 batch (\u22125)"]


def test_the_page_shows_what_would_differ_by_tenant(running, as_ada):
    assert "No request came yet." in as_ada.get("/policy/").content.decode()
    for tenant, was, would, n in (
        ("acme", "standard", "batch", 9),
        ("acme", "standard", "standard", 50),
        ("birch", "standard", "", 2),
        ("birch", "", "standard", 1),
    ):
        ShadowCount.objects.create(shadow=running, tenant=tenant, was=was, would=would, n=n)

    page = as_ada.get("/policy/")

    rows = [(r.tenant, r.effect, r.n) for r in page.context["shadow_moved"]]
    assert rows == [("acme", "ranked lower", 9), ("birch", "refused", 2), ("birch", "let in", 1)]
    assert "Of 62 requests." in page.content.decode()
    assert "count first" in page.content.decode()


def test_it_is_ended_once_and_a_second_one_ends_the_first(running, as_ada):
    put(as_ada, message="again")
    first, second = Shadow.objects.order_by("pk")
    assert first.ends_at <= timezone.now() < second.ends_at

    for _ in range(2):
        as_ada.post("/policy/shadow/end/")

    assert Shadow.objects.current(timezone.now()) is None
    assert AuditEvent.objects.filter(verb="policy.shadow_ended").count() == 2
    answer = as_ada.get("/policy/shadow/", headers={"HX-Request": "true"})
    assert answer.status_code == 286
    assert "ended" in answer.content.decode()


def test_a_draft_saved_since_the_look_is_not_counted(as_ada, sent):
    sent(as_ada, "tasks", {"task_types.3.tier": "batch"})

    assert put(as_ada, edit=9).status_code == 409
    assert put(as_ada, minutes="7").status_code == 422
    assert not Shadow.objects.exists()
