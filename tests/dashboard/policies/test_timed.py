"""Publishing at a moment: put down, done, called off, and overtaken by another version."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.utils import timezone
from msgspec.structs import replace

from dashboard.audit.models import AuditEvent
from dashboard.delivery.models import Channel, Delivery
from dashboard.policies import timed
from dashboard.policies.forms import moment
from dashboard.policies.models import Draft, Scheduled
from dashboard.policies.ticker import Ticker
from gateway.core.policy import default_policy
from gateway.core.snapshot import Frame
from gateway.models import PolicyVersion
from tests.support.policies import document

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def scheduled(as_ada, sent):
    """Ada's translate → batch, an hour from now."""
    sent(as_ada, "tasks", {"task_types.3.tier": "batch"})
    at = timezone.now() + timedelta(hours=1)
    answer = put(as_ada, at)
    assert answer.status_code == 302
    return Scheduled.objects.get()


def put(client, at, **more):
    said = {"edit": 1, "message": "launch", "how": "at", "at": f"{at:%Y-%m-%dT%H:%M}"}
    return client.post("/policy/draft/review/", said | {"zone": "UTC"} | more)


def test_it_waits_where_everybody_sees_it_and_is_published_when_due(scheduled, as_ada, ada):
    assert "published by itself" in as_ada.get("/policy/").content.decode()
    timed.publish_due(scheduled.at - timedelta(seconds=1))
    assert PolicyVersion.objects.count() == 1

    timed.publish_due(scheduled.at)
    timed.publish_due(scheduled.at)  # a second gateway asks too

    newest = PolicyVersion.objects.newest()
    assert (newest.number, newest.message, newest.author) == (2, "launch", ada)
    assert newest.as_policy().task_types["translate"] == "batch"
    verbs = AuditEvent.objects.order_by("number").values_list("verb", flat=True)
    assert [*verbs][-2:] == ["policy.scheduled", "policy.published"]


def test_where_the_base_moved_nothing_is_published_and_the_author_is_told(scheduled, as_ada, ada):
    PolicyVersion.objects.publish(replace(default_policy(), rescue_share=0.2), "Ben's")

    timed.publish_due(scheduled.at)

    assert PolicyVersion.objects.newest().message == "Ben's"
    assert "was not published: v2 came first" in as_ada.get("/policy/").content.decode()
    event = AuditEvent.objects.get(verb="policy.not_published")
    assert event.after == {"base": 1, "newest": 2}
    draft = Draft.objects.get(person=ada)  # its edits are there, to be merged
    assert (draft.base, draft.document["task_types"]["translate"]) == (1, "batch")
    assert as_ada.get("/policy/draft/review/").status_code == 409


@pytest.mark.parametrize("lost", ["role", "account"])
def test_whoever_may_not_publish_any_more_publishes_nothing_by_a_timer(
    scheduled, as_ada, ada, lost
):
    if lost == "role":
        ada.groups.clear()
    else:
        User.objects.filter(pk=ada.pk).update(is_active=False)
    channel = Channel.objects.create(name="oncall", kind="slack", where="Slack")

    for _ in range(2):
        timed.publish_due(scheduled.at)

    assert PolicyVersion.objects.count() == 1
    event = AuditEvent.objects.get(verb="policy.not_published")
    assert (event.actor, event.reason) == ("schedule", "ada may not publish any more.")
    assert Draft.objects.filter(person=ada).exists()
    assert Delivery.objects.get(channel=channel).message["title"].endswith(event.reason)


def test_it_is_called_off_once_and_gives_the_draft_back(scheduled, as_ada, ada):
    for _ in range(2):
        as_ada.post(f"/policy/scheduled/{scheduled.pk}/cancel/")
    timed.publish_due(scheduled.at)

    assert PolicyVersion.objects.count() == 1
    assert Draft.objects.get(person=ada).document["task_types"]["translate"] == "batch"
    assert AuditEvent.objects.filter(verb="policy.schedule_cancelled").count() == 1


def test_a_draft_begun_meanwhile_is_not_overwritten(scheduled, as_ada, ada, sent):
    sent(as_ada, "pool", {"rescue_share": "20%"})

    as_ada.post(f"/policy/scheduled/{scheduled.pk}/cancel/")

    assert Draft.objects.get(person=ada).document["rescue_share"] == 0.2


def test_a_moment_in_the_past_is_refused_beside_its_field_and_loses_nothing(as_ada, sent):
    sent(as_ada, "tasks", {"task_types.3.tier": "batch"})

    answer = put(as_ada, timezone.now() - timedelta(hours=1))

    html = answer.content.decode()
    assert (answer.status_code, Scheduled.objects.count()) == (422, 0)
    assert html.count("Choose a moment to come") == 2
    assert 'value="launch"' in html
    assert Draft.objects.count() == 1


@pytest.mark.parametrize(
    ("text", "zone", "said"),
    [
        ("2026-03-29T02:30", "Europe/Berlin", "put forward"),
        ("2026-03-29T02:30", "Mars/Olympus", "no time zone"),
        ("", "", "no time zone"),
        ("soon", "UTC", "Write a day"),
        ("2027-03-29T02:30", "UTC", "90 days"),
        ("2026-03-02T10:00+02:00", "UTC", "Write a day"),
    ],
)
def test_a_moment_that_is_none_is_refused(text, zone, said):
    with pytest.raises(ValueError, match=said):
        moment(text, zone, NOW)


def test_a_moment_is_read_in_its_zone():
    assert moment("2026-03-02T10:00", "Asia/Tokyo", NOW).astimezone(UTC) == datetime(
        2026, 3, 2, 1, tzinfo=UTC
    )


@pytest.mark.django_db(transaction=True)
async def test_the_gateway_s_ticker_does_it(db):
    ada = await User.objects.acreate_user("ada")
    await ada.groups.aadd((await Group.objects.aget_or_create(name="admin"))[0])
    await Scheduled.objects.acreate(
        person=ada,
        document=document(),
        base=1,
        message="night",
        at=NOW,
        zone="UTC",
    )

    ticker = Ticker()
    await ticker(Frame(seq=1, at=NOW.timestamp(), epoch="", policy_version=1, pools=()))

    ticker.close()
    newest = await PolicyVersion.objects.order_by("-number").afirst()
    assert newest.message == "night"
