"""The preview of a draft: asked for, worked out from recorded requests, stopped, shown, held against."""

from datetime import timedelta

import pytest
from django.utils import timezone

from dashboard.policies import previews, recorded
from dashboard.policies.models import Draft, Preview
from gateway.models import Backend, PolicyVersion
from tests.support.usage import used

pytestmark = pytest.mark.django_db


@pytest.fixture
def edited(as_ada, sent):
    """Ada moves everything into the top tier."""
    sent(as_ada, "tasks", {f"task_types.{n}.tier": "realtime" for n in range(6)})
    return as_ada


@pytest.fixture
def traffic(acme, birch):
    """A quarter of an hour of a server that is never full: nobody waits."""
    Backend.objects.create(name="gpu-1", url="http://127.0.0.1:9")
    for second in range(0, 600, 20):
        for tenant, task, tier in ((acme, "chat", "realtime"), (birch, "summarize", "standard")):
            used(
                tenant, "k", task_type=task, tier=tier, priority=0, reason=f"task:{task}",
                queue_wait_s=0.0, e2e_s=1.0, completion_tokens=100,
                ago=timedelta(seconds=second),
            )  # fmt: skip


def run(client, **more):
    return client.post("/policy/draft/preview/", {"window": "15m", "load": "1", "lost": ""} | more)


def test_it_says_first_how_well_the_record_is_reproduced(edited, traffic):
    answer = run(edited)

    html = edited.get(answer["Location"]).content.decode()
    row = Preview.objects.get()
    assert (row.state, row.result["n"]) == ("done", 60)
    assert row.result["error"] < 0.25
    assert html.index("Replaying v1 itself gives wait p95 within") < html.index("standard")
    assert "acme" in html
    assert "measured and replayed: realtime 0.00 s" in html
    assert "Not modelled: callers that retry" in html


def test_without_a_record_it_says_what_to_do(edited):
    html = edited.get(run(edited)["Location"]).content.decode()

    assert "No request was recorded in that time: choose another." in html
    assert "Nothing was replayed yet" in edited.get("/policy/draft/preview/").content.decode()


def test_the_last_server_cannot_be_lost_and_an_unknown_one_is_refused(edited, traffic):
    html = edited.get(run(edited, lost="gpu-1")["Location"]).content.decode()

    assert "Without gpu-1 no server is left." in html
    assert run(edited, lost="gpu-9").status_code == 422
    assert run(edited, load="7").status_code == 422


def test_an_equal_question_is_answered_once_and_a_changed_draft_is_told(edited, traffic, sent):
    moment = timezone.now().replace(second=0, microsecond=0)
    draft = Draft.objects.get()
    asked = (draft, draft.person, moment - timedelta(minutes=15), moment, 1.0, "")
    row, is_open = previews.ask(*asked)
    previews.work_out(row.pk, moment)

    assert is_open
    assert previews.ask(*asked) == (row, False)
    assert previews.answer_of(draft) == row

    sent(edited, "pool", {"rescue_share": "20%"})
    html = edited.get(f"/policy/draft/preview/?p={row.pk}").content.decode()
    assert edited.get("/policy/draft/preview/?p=" + "9" * 5000).status_code == 200
    assert "before its last edits" in html
    assert previews.answer_of(Draft.objects.get()) is None


def test_it_is_stopped_on_the_way_and_can_be_run_again(edited, traffic, monkeypatch):
    draft, now = Draft.objects.get(), timezone.now()
    asked = (draft, draft.person, now - timedelta(minutes=15), now, 1.0, "")
    row, _ = previews.ask(*asked)
    look = recorded.machine

    def stopped_meanwhile(found):
        edited.post(f"/policy/draft/preview/{row.pk}/stop/")
        return look(found)

    monkeypatch.setattr(recorded, "machine", stopped_meanwhile)
    previews.work_out(row.pk, now)

    row.refresh_from_db()
    assert (row.state, row.result) == ("stopped", None)
    html = edited.get(f"/policy/draft/preview/{row.pk}/", headers={"HX-Request": "true"})
    assert html.status_code == 286
    assert previews.ask(*asked)[1]
    assert not previews.ask(*asked)[1]  # it waits for a worker by now
    Preview.objects.update(state="running", asked_at=now - timedelta(minutes=6))
    assert previews.ask(*asked)[1]  # the worker died over it


def test_while_it_is_under_way_the_page_asks_again_and_shows_how_far(edited):
    row, _ = previews.ask(
        Draft.objects.get(), Draft.objects.get().person, timezone.now(), timezone.now(), 1.0, ""
    )
    Preview.objects.update(state="running", done_share=0.4)

    answer = edited.get(f"/policy/draft/preview/{row.pk}/", headers={"HX-Request": "true"})

    assert answer.status_code == 200
    assert 'hx-trigger="every 1s"' in answer.content.decode()
    assert "40 %" in answer.content.decode()


def test_a_preview_that_shows_harm_must_be_typed_over(edited):
    draft = Draft.objects.get()
    previews.ask(draft, draft.person, timezone.now(), timezone.now(), 1.0, "")
    result = {"confirm": ["realtime: wait p95 1.0 s \u2192 9.0 s, more than twice as long"]}
    Preview.objects.update(state="done", result=result, ended_at=timezone.now())
    said = {"edit": draft.edit, "message": "all first", "accepted": "a trial"}

    refused = edited.post("/policy/draft/review/", said)

    assert (refused.status_code, PolicyVersion.objects.count()) == (422, 1)
    assert refused.content.decode().count("Type v2 to publish it all the same.") == 2
    assert "more than twice as long" in refused.content.decode()
    edited.post("/policy/draft/review/", said | {"typed": "v2"})
    assert PolicyVersion.objects.count() == 2


def test_what_was_recorded_becomes_arrivals(acme, birch):
    now = timezone.now()
    used(acme, "k", ago=timedelta(seconds=30), tier="batch", priority=-5, reason="priority, rounded",
         prompt_tokens=10, completion_tokens=40, queue_wait_s=2.0, e2e_s=5.0)  # fmt: skip
    used(acme, "k", ago=timedelta(seconds=20), outcome="rejected", code="queue_full",
         reason="queue_full, task:chat", prompt_tokens=None, completion_tokens=None)  # fmt: skip
    used(birch, "k", ago=timedelta(seconds=10), outcome="expired", e2e_s=60.0, prompt_tokens=None,
         completion_tokens=None, task_type="x")  # fmt: skip
    used(birch, "k", ago=timedelta(seconds=9), tier="", outcome="rejected")
    used(birch, "k", ago=timedelta(hours=3))

    first, turned_away, expired = recorded.arrivals(now - timedelta(hours=1), now)

    assert (first.at_s, first.stated, first.wait_s, first.served_s) == (0.0, -5, 2.0, 3.0)
    assert (turned_away.stated, turned_away.wait_s, turned_away.served_s) == (None, None, None)
    assert (turned_away.prompt_tokens, turned_away.output_tokens) == (10, 40)
    assert (expired.wait_s, expired.prompt_tokens) == (60.0, 10)
    assert [round(one.at_s) for one in (turned_away, expired)] == [10, 20]


def test_a_record_with_waits_tells_how_many_the_servers_can_run(acme):
    Backend.objects.create(name="gpu-1", url="http://127.0.0.1:9")
    now = timezone.now()
    used(acme, "k", times=6, ago=timedelta(seconds=30), queue_wait_s=0.0, e2e_s=5.0)
    hour = (now - timedelta(hours=1), now)

    free = recorded.machine(recorded.arrivals(*hour))
    used(acme, "k", ago=timedelta(seconds=29), queue_wait_s=4.0, e2e_s=9.0)
    busy = recorded.machine(recorded.arrivals(*hour))

    assert (free.fixed, free.stored) == (None, 6)
    assert (busy.fixed, busy.stored) == (6, 6)
    Backend.objects.update(max_in_flight=3)
    assert recorded.machine(recorded.arrivals(*hour)).fixed == 3


def test_the_busiest_hour_is_found(acme):
    now = timezone.now()
    used(acme, "k", times=3, ago=timedelta(days=2))
    used(acme, "k", ago=timedelta(days=1))

    since, until = recorded.window("busiest", now)

    assert since <= now - timedelta(days=2) < until
    assert until - since == timedelta(hours=1)
    since, until = recorded.window("15m", now)
    assert since < now < until
