"""A version for some tenants first: started, watched, promoted, taken back."""

from datetime import timedelta

import pytest
from django.utils import timezone

from dashboard.alerts.models import AlertState, Rule
from dashboard.audit.models import AuditEvent
from dashboard.delivery.models import Channel, Delivery
from dashboard.policies import canary, publish
from dashboard.policies.models import Draft
from gateway.core.policy import default_policy
from gateway.core.snapshot import GroupView
from gateway.models import PolicyVersion, Rollout, Tenant
from tests.support.usage import used

pytestmark = pytest.mark.django_db


@pytest.fixture
def tenants(acme, birch):
    """By what they are in a canary of a half."""
    found = [acme, birch, *(Tenant.objects.create(slug=f"t{n}", name="t") for n in range(2))]
    return found


@pytest.fixture
def edited(as_ada, sent):
    sent(as_ada, "tasks", {"task_types.3.tier": "batch"})
    return as_ada


def put(client, **more):
    said = {"edit": 1, "message": "try", "how": "canary", "percent": "50"}
    return client.post("/policy/draft/review/", said | {"guards": ["wait", "refused"]} | more)


@pytest.fixture
def running(edited, tenants):
    assert put(edited).status_code == 302
    return Rollout.objects.running()


def sides(row, tenants):
    """One tenant on it, one that is not."""
    return next(t for t in tenants if row.takes(t.pk)), next(
        t for t in tenants if not row.takes(t.pk)
    )


def busy(row, tenants, *, canary_does=None, others_do=None):
    on_it, other = sides(row, tenants)
    same = {"queue_wait_s": 0.1, "ago": timedelta(seconds=-1)}  # after the canary began
    used(on_it, "k", policy_version=2, times=30, **same | (canary_does or {}))
    used(other, "k", policy_version=1, times=30, **same | (others_do or {}))


def look(row, waiting=()):
    canary.look(timezone.now() + timedelta(seconds=5), waiting)
    row.refresh_from_db()
    return row


def test_it_starts_for_its_share_and_the_page_shows_both_groups(running, tenants, as_ada):
    busy(running, tenants)

    html = as_ada.get("/policy/").content.decode()

    assert (running.version, running.base, running.guards) == (2, 1, ["wait", "refused"])
    assert len(canary.tenants_of(running)) == 2
    assert "Canary: v2 for 50 % of the tenants" in html
    assert "Taken back by itself on wait p95, refusals" in html
    assert '30 <span class="quiet">30</span>' in html
    event = AuditEvent.objects.get(verb="policy.canary_started")
    assert event.after["canary_percent"] == 50
    assert event.after["changes"] == ["translate: standard (0) \u2192 batch (\u22125)"]


def test_good_figures_change_nothing(running, tenants):
    busy(running, tenants)

    assert look(running).state == "running"


def test_a_guard_takes_it_back_with_an_audit_row_and_a_message(running, tenants, as_ada):
    Channel.objects.create(name="on call", kind="ntfy", sealed_address="", created_by="ada")
    busy(running, tenants, canary_does={"outcome": "rejected"})

    look(running)
    look(running)  # another gateway looks too

    newest = PolicyVersion.objects.newest()
    assert (running.state, newest.number, newest.as_policy()) == ("taken_back", 3, default_policy())
    assert "100.0 % refused against 0.0 %" in running.why
    event = AuditEvent.objects.get(verb="policy.rolled_back")
    assert (event.actor, event.object) == ("canary", "policy:v3")
    assert "was taken back: all tiers: 100.0 % refused" in Delivery.objects.get().message["title"]
    assert "The canary v2 was taken back" in as_ada.get("/policy/").content.decode()
    assert as_ada.get("/policy/canary/", headers={"HX-Request": "true"}).status_code == 286


def test_a_line_that_stands_still_takes_it_back_although_nothing_ends(running, tenants):
    waiting = [GroupView("standard", 2, 40, 90.0), GroupView("standard", 1, 4, 1.0)]

    assert "one has waited for 90.0 s" in look(running, waiting).why


@pytest.mark.parametrize(
    ("tier", "severity", "since_s", "taken"),
    [
        ("standard", "crit", 1, True),
        ("standard", "warn", 1, False),
        ("standard", "crit", -60, False),  # it fired before the canary began
        ("background", "crit", 1, False),  # no request of the canary is there
    ],
)
def test_a_crit_alert_in_its_tiers_takes_it_back(edited, tenants, tier, severity, since_s, taken):
    put(edited, guards=["alert"])
    row = Rollout.objects.running()
    busy(row, tenants)
    rule = Rule.objects.create(name="wait", metric="wait_p95", crit=9)
    AlertState.objects.create(
        rule=rule, instance=f"default/{tier}", tier=tier, severity=severity, phase="firing",
        since=row.started_at + timedelta(seconds=since_s),
    )  # fmt: skip

    look(row)

    assert (row.state == "taken_back") is taken
    assert not taken or row.why == "standard: the alert 'wait' fires"


def test_a_guard_that_was_not_ticked_leaves_it(running, tenants):
    busy(running, tenants, canary_does={"outcome": "failed"})

    assert look(running).state == "running"


def test_what_was_before_it_began_and_other_versions_do_not_count(running, tenants):
    on_it, _ = sides(running, tenants)
    used(on_it, "k", policy_version=1, times=30, outcome="rejected", ago=timedelta(minutes=1))

    assert look(running).state == "running"


def test_one_click_puts_it_in_force_for_all(running, as_ada):
    for _ in range(2):
        as_ada.post("/policy/canary/2/promote/")

    assert Rollout.objects.running() is None
    assert PolicyVersion.objects.count() == 2
    assert AuditEvent.objects.get(verb="policy.promoted").object == "policy:v2"


def test_half_an_hour_of_quiet_promotes_it_where_that_was_ticked(edited, tenants):
    put(edited, promotes="on")
    row = Rollout.objects.running()
    late = row.started_at + timedelta(minutes=31)
    canary.look(late, ())
    assert Rollout.objects.running()  # nothing was tried, so nothing was shown

    busy(row, tenants, canary_does={"ago": timedelta(minutes=-30)})
    canary.look(row.started_at + timedelta(minutes=29), ())
    assert Rollout.objects.running()
    canary.look(late, ())

    assert Rollout.objects.get().state == "promoted"
    assert AuditEvent.objects.get(verb="policy.promoted").actor == "canary"


def test_whoever_may_not_publish_any_more_promotes_nothing_by_a_timer(edited, tenants, ada):
    put(edited, promotes="on")
    row = Rollout.objects.running()
    busy(row, tenants, canary_does={"ago": timedelta(minutes=-30)})
    ada.groups.clear()

    canary.look(row.started_at + timedelta(minutes=31), ())

    assert Rollout.objects.running() == row  # as it was: somebody who may decides


def test_taken_back_by_hand_it_is_over_for_everybody(running, client, otto):
    client.force_login(otto)

    client.post("/policy/canary/2/back/", {"reason": "chat waits"})
    client.post("/policy/canary/2/back/")
    client.post("/policy/canary/2/promote/")

    assert PolicyVersion.objects.newest().message == "Back to v1: chat waits"
    assert Rollout.objects.get().state == "taken_back"


def test_taking_it_back_is_not_undone_into_everybody_s(running, as_ada):
    as_ada.post("/policy/canary/2/back/")

    page = as_ada.get("/policy/").content.decode()
    as_ada.post("/policy/undo/", {"number": 3})

    assert "Undo (10 s)" not in page
    assert PolicyVersion.objects.newest().number == 3


def test_undo_takes_it_back_and_gives_the_draft_back(running, as_ada, ada):
    as_ada.post("/policy/undo/", {"number": 2})

    assert (Rollout.objects.running(), PolicyVersion.objects.newest().number) == (None, 3)
    assert Draft.objects.get(person=ada).base == 3


def test_while_it_runs_nothing_else_is_published_and_nothing_is_lost(running, as_ada, ada, sent):
    sent(as_ada, "pool", {"rescue_share": "20%"})

    answer = put(as_ada, how="now")

    assert answer.status_code == 409
    assert "v2 is on trial: promote it or take it back first." in answer.content.decode()
    assert Draft.objects.get(person=ada).document["rescue_share"] == 0.2
    with pytest.raises(publish.OnTrial):
        publish.publish_file(default_policy(), 2, "file")


def test_what_a_pool_has_once_is_refused_and_said_on_the_form(as_ada, tenants, sent):
    sent(as_ada, "pool", {"rescue_share": "20%"})
    assert "No canary can carry what a pool has once: rescue lane" in (
        as_ada.get("/policy/draft/review/").content.decode()
    )

    answer = put(as_ada)

    assert (answer.status_code, PolicyVersion.objects.count()) == (422, 1)
    assert Draft.objects.exists()


def test_with_one_tenant_there_is_nobody_to_compare_with(edited, acme):
    answer = put(edited)

    assert (answer.status_code, PolicyVersion.objects.count()) == (422, 1)
    assert "needs two tenants" in answer.content.decode()
    assert (Draft.objects.count(), Rollout.objects.count()) == (1, 0)


def test_a_version_that_came_past_it_ends_it(running, edited, sent):
    PolicyVersion.objects.publish(default_policy(), "by a program")
    assert Rollout.objects.running() is None

    sent(edited, "tasks", {"task_types.3.tier": "batch"})
    put(edited)

    assert Rollout.objects.running().version == 4
    assert Rollout.objects.get(version=2).why == "v3 came."
