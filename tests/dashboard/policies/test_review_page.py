"""The last look, publishing, undoing, and two admins at once."""

import pytest
from django.core.cache import cache
from django.utils import timezone
from msgspec.structs import replace

from dashboard.accounts.confirming import CONFIRMED, LATELY_S
from dashboard.audit.models import AuditEvent
from dashboard.policies import publish
from dashboard.policies.models import Draft, StaleDraft
from gateway.core.policy import default_policy, load
from gateway.core.snapshot import encode
from gateway.models import APIKey, PolicyVersion
from gateway.newest import FRAME
from tests.support.frames import Traffic

pytestmark = pytest.mark.django_db


@pytest.fixture
def edited(as_ada, sent):
    """Ada has moved translate to batch."""
    sent(as_ada, "tasks", {"task_types.3.tier": "batch"})
    return as_ada


def put(client, message="launch week", **more):
    draft = Draft.objects.filter(person__username="ada").first()
    values = {"edit": draft.edit if draft else 1, "message": message, **more}
    return client.post("/policy/draft/review/", values)


def test_the_page_tells_what_changes_and_whom_it_reaches(edited, acme):
    APIKey.objects.issue(acme, "one")
    frame = Traffic().frame(1.0)
    waiting = {"critical": 9, "standard": 180, "batch": 7}
    tiers = tuple(replace(t, waiting=waiting.get(t.name, 0)) for t in frame.pools[0].tiers)
    shown = replace(frame, pools=(replace(frame.pools[0], tiers=tiers),))
    cache.set(FRAME, encode(shown).decode())

    html = edited.get("/policy/draft/review/").content.decode()

    assert "translate: standard (0) \u2192 batch (\u22125)" in html
    assert "1 tenant, 1 key, 187 waiting requests" in html
    assert "+  translate: batch" in html


def test_only_an_admin_publishes(client, otto, sent):
    client.force_login(otto)
    sent(client, "tasks", {"task_types.3.tier": "batch"})

    assert "Somebody with the role admin" in client.get("/policy/draft/review/").content.decode()
    answer = client.post("/policy/draft/review/", {"edit": 1, "message": "mine"})

    assert (answer.status_code, PolicyVersion.objects.count()) == (403, 1)


def test_a_stranger_is_turned_away(client):
    assert client.get("/policy/draft/review/").status_code == 302
    assert client.post("/policy/draft/review/").status_code == 302


def test_publishing_writes_a_version_lets_go_of_the_draft_and_is_audited(edited, ada):
    answer = put(edited)

    newest = PolicyVersion.objects.newest()
    assert answer["Location"] == "/policy/"
    assert (newest.number, newest.message, newest.author) == (2, "launch week", ada)
    assert newest.as_policy().task_types["translate"] == "batch"
    assert not Draft.objects.exists()
    event = AuditEvent.objects.get(verb="policy.published")
    assert (event.actor, event.object, event.reason) == ("ada", "policy:v2", "launch week")
    assert event.after["changes"] == ["translate: standard (0) \u2192 batch (\u22125)"]


def test_sent_twice_it_is_published_once(edited):
    put(edited)
    again = put(edited)

    assert (again.status_code, PolicyVersion.objects.count()) == (302, 2)


def test_a_reason_is_required_and_said_beside_the_field_and_in_a_summary(edited):
    answer = put(edited, message=" ")

    html = answer.content.decode()
    assert answer.status_code == 422
    assert html.count("Say why, for those who read it later.") == 2
    assert '<a href="#id_message">' in html
    assert PolicyVersion.objects.count() == 1


def test_a_warning_that_came_with_the_draft_needs_its_own_reason(as_ada, sent):
    sent(as_ada, "tiers", {"tiers.3.max_wait_s": "1h"})
    assert (
        "default clients leave after 10 min" in as_ada.get("/policy/draft/review/").content.decode()
    )

    assert put(as_ada).status_code == 422
    put(as_ada, accepted="batch clients wait")

    assert PolicyVersion.objects.newest().message == "launch week (accepted: batch clients wait)"


def test_a_draft_with_a_problem_is_not_published(as_ada, sent):
    sent(as_ada, "tiers", {"tiers.3.max_wait_s": "soon"})

    answer = put(as_ada)

    assert (answer.status_code, PolicyVersion.objects.count()) == (422, 1)
    assert "batch: max wait" in answer.content.decode()


def test_a_draft_saved_since_the_look_is_not_published(edited, sent):
    edit = Draft.objects.get().edit
    sent(edited, "pool", {"rescue_share": "20%"})

    answer = edited.post("/policy/draft/review/", {"edit": edit, "message": "x"})

    assert (answer.status_code, PolicyVersion.objects.count()) == (409, 1)
    assert Draft.objects.get().document["rescue_share"] == 0.2


def test_two_admins_lose_nothing(edited, ada, person, client, sent):
    ben = person("ben", "admin")
    client.force_login(ben)
    sent(client, "pool", {"rescue_share": "20%"})
    client.post("/policy/draft/review/", {"edit": 1, "message": "Ben's"})
    client.force_login(ada)

    conflict = put(client)

    html = conflict.content.decode()
    assert (conflict.status_code, PolicyVersion.objects.count()) == (409, 2)
    assert "rescue lane 10 % \u2192 20 %" in html
    assert "translate: standard (0) \u2192 batch (\u22125)" in html
    client.post("/policy/draft/merge/", {"newest": 2, "edit": Draft.objects.get().edit})
    put(client)
    policy = PolicyVersion.objects.newest().as_policy()
    assert (policy.rescue_share, policy.task_types["translate"]) == (0.2, "batch")


def test_where_two_admins_touch_the_second_chooses(as_ada, ada, sent):
    sent(as_ada, "pool", {"rescue_share": "30%", "max_waiting": "5k"})
    theirs = load({**PolicyVersion.objects.newest().document, "rescue_share": 0.2})
    PolicyVersion.objects.publish(theirs, "Ben's")

    assert "rescue_share" in as_ada.get("/policy/draft/review/").content.decode()
    values = {"newest": 2, "edit": Draft.objects.get().edit}
    as_ada.post("/policy/draft/merge/", values | {"mine": "rescue_share"})

    draft = Draft.objects.get(person=ada)
    assert (draft.base, draft.document["rescue_share"], draft.document["max_waiting"]) == (
        2,
        0.3,
        5000,
    )


def test_the_lock_holds_even_without_the_page(edited, ada):
    draft = Draft.objects.get(person=ada)

    with pytest.raises(StaleDraft):
        publish.publish(draft, draft.edit + 1, "x", ada)
    PolicyVersion.objects.publish(default_policy(), "between")
    with pytest.raises(publish.BaseMoved):
        publish.publish(draft, draft.edit, "x", ada)

    assert Draft.objects.filter(person=ada).exists()


def test_undo_takes_it_back_within_seconds_and_gives_the_draft_back(edited, ada):
    put(edited)

    edited.post("/policy/undo/", {"number": 2})
    edited.post("/policy/undo/", {"number": 2})  # sent twice

    newest = PolicyVersion.objects.newest()
    assert newest.number == 3
    assert newest.as_policy() == default_policy()
    draft = Draft.objects.get(person=ada)
    assert (draft.base, draft.document["task_types"]["translate"]) == (3, "batch")


def test_undo_is_over_after_ten_seconds(edited, ada):
    put(edited)
    newest = PolicyVersion.objects.newest()
    late = newest.published_at + timezone.timedelta(seconds=11)

    assert publish.undoable(newest, ada, newest.published_at)
    assert not publish.undoable(newest, ada, late)


def test_who_signed_in_over_a_quarter_of_an_hour_ago_is_asked_again_before_it_counts(
    edited, ada, settings
):
    settings.LANEWAY_REQUIRE_MFA = False
    ada.set_password("correct horse battery")
    ada.save()
    edited.force_login(ada)
    session = edited.session
    session[CONFIRMED] -= LATELY_S
    session.save()

    assert put(edited)["Location"].startswith("/accounts/again/?next=")
    assert PolicyVersion.objects.newest().number == 1
    again = {"password": "correct horse battery", "next": "/policy/draft/review/"}
    assert edited.post("/accounts/again/", again).status_code == 302
    assert PolicyVersion.objects.newest().number == 2
