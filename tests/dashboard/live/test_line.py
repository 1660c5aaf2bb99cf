"""The filtered line and one request explained: asked of the gateway by way of the cache."""

import json

import msgspec
import pytest
from django.core.cache import cache

from dashboard.live import why
from dashboard.live.line import SHOWN, filter_of, part_of
from gateway import questions
from gateway.core.explain import explain
from gateway.core.ops import SetBackend, Submit
from gateway.core.policy import default_policy
from gateway.core.scheduler import Scheduler
from gateway.newest import FRAME
from tests.support.frames import Traffic
from tests.support.people import person

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_asked():
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def otto(client):
    client.force_login(person("otto", "viewer"))
    return client


@pytest.fixture
def waiting():
    traffic = Traffic()
    for _ in range(400):
        traffic.second()
    return traffic.frame(1.0, head=1000).pools[0].head


def test_a_question_is_answered_a_second_later(otto, waiting):
    cache.set(FRAME, "{}", 5)
    assert otto.get("/live/line/").status_code == 202
    assert cache.get(questions.LINE_WANTED)

    cache.set(questions.LINE, msgspec.json.encode({"default": waiting}))
    answer = otto.get("/live/line/?tier=batch&tenant=acme,birch").json()

    rows = [dict(zip(answer["columns"], row, strict=True)) for row in answer["rows"]]
    assert 0 < len(rows) <= SHOWN
    assert {row["tier"] for row in rows} == {"batch"}
    assert {row["tenant"] for row in rows} == {"acme", "birch"}
    assert answer["looked_at"] == len(waiting)
    assert answer["matching"] == sum(
        row.tier == "batch" and row.tenant in ("acme", "birch") for row in waiting
    )


def test_a_silent_gateway_is_told_from_a_slow_one(otto):
    assert otto.get("/live/line/").status_code == 503


def test_places_are_those_in_the_whole_line(waiting):
    part = part_of(waiting, filter_of({"key": "XoBh07B0", "task": "batch_inference"}))

    assert {row.key for row in part.rows} == {"XoBh07B0"}
    assert part.rows[0].place is not None
    assert [row.place for row in part.rows] == sorted(row.place for row in part.rows)
    assert part.rows[0].place > 1


def explanation(**more):
    scheduler = Scheduler(default_policy(), 17)
    scheduler.apply([SetBackend("gpu-1", 1, 1)], 0)
    scheduler.apply([Submit(f"s{n}", "standard", "acme", 500) for n in range(4)], 1_000)
    found = msgspec.to_builtins(explain(scheduler, "s3", 41_000))
    request = {
        "state": "waiting", "tier": "standard", "priority": 0, "reason": "task:summarize",
        "queue_wait_ms": 40_000, "eta_s": {"p50": 3.0, "p90": 9.0},
    }  # fmt: skip
    return {"request": request, "explanation": found, **more}


def test_an_explanation_says_why_here_what_is_ahead_and_what_comes_next():
    said = dict(why.sentences(explanation()))

    assert said["Tier"] == "standard (0), by task:summarize"
    assert said["Place"] == "3, waited 40 s, expected in 3.0 s to 9.0 s"
    assert said["Effective priority"] == "standard 0 + 4 aged = 4"
    assert said["Ageing"] == "lifts it by 1 in 10 s"
    assert said["Ahead"].startswith("2 requests, 1\u2009000 tokens: 2 of acme at ")
    assert said["Stopped by"].startswith("The slots that are free are held back")
    assert said["Rescue"].startswith("past its target wait, and so in the rescue lane, in 20 s")


def test_a_request_that_runs_says_only_that():
    document = explanation()
    document["request"]["state"] = "running"
    document["explanation"] = None

    said = dict(why.sentences(document))

    assert said["State"] == "It does not wait: the request is running."
    assert "Ahead" not in said


def test_the_page_of_a_request_waits_for_the_gateway_and_then_explains(otto):
    assert otto.get("/live/why/s3/")["Refresh"] == "1"
    assert "Refresh" not in otto.get("/live/why/s3/?fragment")
    assert "s3" in cache.get(questions.WHY_WANTED)

    cache.set(questions.WHY + "s3", json.dumps(explanation()).encode())
    answer = otto.get("/live/why/s3/")
    page = answer.content.decode()
    fragment = otto.get("/live/why/s3/?fragment").content.decode()

    assert "Refresh" not in answer
    assert "standard 0 + 4 aged = 4" in page
    assert "<html" not in fragment
    assert "standard 0 + 4 aged = 4" in fragment


def test_an_id_nobody_has_is_said_to_be_unknown(otto):
    cache.set(questions.WHY + "<b>", b"{}")

    page = otto.get("/live/why/<b>/").content.decode()

    assert "There is no request <code>&lt;b&gt;</code>" in page


def test_what_the_address_says_is_never_trusted(otto):
    cache.set(questions.LINE, b"{}")

    answer = otto.get("/live/line/?pool=nowhere&tier=,,&key=%00")

    assert (answer.status_code, answer.json()["rows"]) == (200, [])


def test_the_file_holds_all_that_match_and_no_formula(otto, waiting):
    cache.set(FRAME, "{}", 5)
    asked = otto.get("/live/line.csv")
    assert (asked.status_code, asked["Refresh"]) == (202, "1")
    strange = msgspec.structs.replace(waiting[0], id="=1+1", tier="batch", eta_s=(0.5, 2.0))
    cache.set(questions.LINE, msgspec.json.encode({"default": [strange, *waiting]}))

    file = otto.get("/live/line.csv?tier=batch").content.decode().splitlines()

    assert file[0].startswith("place,id,tenant,tier")
    assert len(file) - 2 == sum(row.tier == "batch" for row in waiting)
    assert file[1].startswith(f"{strange.place},'=1+1,")
    assert file[1].endswith(",0.5 to 2.0")
