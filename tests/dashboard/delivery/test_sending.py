"""Messages reach real servers that take, refuse, reset and hang: nothing is lost, nothing told twice."""

import json
import logging
import random
import sqlite3
import threading
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from apprise.plugins.email import NotifyEmail
from apprise.plugins.slack import NotifySlack
from django.db import connection, transaction
from django.utils import timezone
from standardwebhooks import Webhook

from dashboard.delivery import sending, tasks
from dashboard.delivery.message import Message
from dashboard.delivery.models import FIRST_PAUSE, LEASE, TRIES, Channel, Delivery
from dashboard.delivery.posting import post
from gateway.models import GatewayState
from tests.dashboard.delivery.conftest import SIGNING

pytestmark = pytest.mark.django_db(transaction=True)  # what commits is handed out

UNSEEN = ("apprise", "django.db.backends")  # pytest hears what goes to no handler of ours


@pytest.fixture(autouse=True)
def allow_this_machine(settings):
    settings.LANEWAY_ALLOW_PRIVATE_TARGETS = True


@pytest.fixture
def hook(add, web):
    receiver, port = web
    return add("hook", f"http://127.0.0.1:{port}/in?token=s3cret-token", "webhook"), receiver


def later(by: timedelta) -> None:
    """Let the time that puts a try off go by, then sweep as beat does."""
    with time_machine.travel(timezone.now() + by):
        tasks.sweep()


def test_a_webhook_is_signed_and_its_receiver_can_check_it(hook, message):
    channel, receiver = hook
    post(message, [channel], "incident-7:firing")

    (got,) = receiver.taken
    payload = Webhook(SIGNING).verify(got.body, got.headers)
    assert payload["type"] == "laneway.firing"
    assert Message.from_json(payload["data"]) == message
    row = Delivery.objects.get()
    assert (row.state, row.tries, row.last_error) == ("sent", 1, "")
    channel.refresh_from_db()
    assert channel.last_success_at is not None
    with pytest.raises(Exception, match="signature"):
        Webhook("whsec_c29tZWJvZHkgZWxzZQ==").verify(got.body, got.headers)


@pytest.mark.parametrize(
    "answer", [500, (429, {"Retry-After": "5"}), "reset", 408], ids=["500", "429", "reset", "408"]
)
def test_after_a_failure_it_is_tried_again_under_the_same_id_and_told_once(hook, message, answer):
    channel, receiver = hook
    receiver.answers = [answer]
    post(message, [channel], "incident-7:firing")

    row = Delivery.objects.get()
    assert (row.state, row.tries) == ("queued", 1)
    assert row.last_error
    assert not receiver.taken
    tasks.sweep()
    assert len(receiver.seen) == 1  # not before its time
    later(FIRST_PAUSE)
    later(timedelta(hours=1))
    row.refresh_from_db()
    assert (row.state, row.tries) == ("sent", 2)
    assert len(receiver.taken) == 1
    assert len({got.headers["webhook-id"] for got in receiver.seen}) == 1


def test_one_that_hangs_is_left_and_tried_again(hook, message, monkeypatch):
    channel, receiver = hook
    monkeypatch.setattr(sending, "TIMEOUT_S", 0.2)
    receiver.answers = ["hang"]
    post(message, [channel], "incident-7:firing")

    assert Delivery.objects.get().last_error == "No answer within 0.2 s."
    later(FIRST_PAUSE)
    assert Delivery.objects.get().state == "sent"
    assert len(receiver.taken) == 1


def test_pauses_grow_and_the_fifth_failure_is_the_last(hook, message):
    channel, receiver = hook
    receiver.answers = [503] * 9
    start = timezone.now()
    with time_machine.travel(start, tick=False) as clock:
        post(message, [channel], "incident-7:firing")
        waits = []
        while Delivery.objects.get().state == "queued":
            row = Delivery.objects.get()
            waits.append((row.next_try_at - timezone.now()).total_seconds())
            clock.move_to(row.next_try_at)
            tasks.sweep()

    assert waits == [15, 60, 240, 960]
    row = Delivery.objects.get()
    assert (row.state, row.tries, row.last_error) == ("failed", TRIES, "Answered 503.")
    later(timedelta(days=1))
    assert len(receiver.seen) == TRIES


def test_a_server_says_when_to_come_back(hook, message):
    channel, receiver = hook
    receiver.answers = [(429, {"Retry-After": "120"})]
    post(message, [channel], "incident-7:firing")

    later(timedelta(seconds=100))
    assert len(receiver.seen) == 1
    later(timedelta(seconds=121))
    assert len(receiver.taken) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 410])
def test_what_will_be_refused_again_is_not_tried_again(hook, message, status):
    channel, receiver = hook
    receiver.answers = [status]
    post(message, [channel], "incident-7:firing")

    assert Delivery.objects.get().state == "failed"
    channel.refresh_from_db()
    assert channel.last_failure_at is not None


def test_two_workers_that_race_tell_it_once(hook, message):
    channel, receiver = hook
    now = timezone.now()
    row = Delivery.objects.create(
        channel=channel, dedupe="d", message=message.as_json(), next_try_at=now
    )
    receiver.answers = ["hang"]

    def work() -> None:
        try:
            tasks.deliver(row.pk)
        finally:
            connection.close()

    first = threading.Thread(target=work)
    first.start()
    assert receiver.waiting.wait(5)
    tasks.deliver(row.pk)  # the other has it, and its request is on the way
    tasks.sweep()
    assert len(receiver.seen) == 1
    receiver.released.set()
    first.join()


@pytest.mark.parametrize("seed", [1, 2])
def test_workers_that_race_over_a_receiver_that_fails_now_and_then_tell_all_once(
    hook, message, monkeypatch, seed
):
    channel, receiver = hook
    chance = random.Random(seed)
    monkeypatch.setattr(tasks, "hand_out", lambda pks: None)  # the threads below are the broker
    rows = [
        Delivery.objects.create(
            channel=channel, dedupe=f"d{n}", message=message.as_json(), next_try_at=timezone.now()
        )
        for n in range(12)
    ]
    answers = [200, 500, "reset", (429, {"Retry-After": "30"})]
    receiver.answers = chance.choices(answers, [4, 1, 1, 1], k=200)

    def work(pks: list[int]) -> None:
        try:
            for pk in pks:
                tasks.deliver(pk)
        finally:
            connection.close()

    for hour in range(40):
        with time_machine.travel(timezone.now() + timedelta(hours=hour)):
            pks = [row.pk for row in rows]
            workers = [
                threading.Thread(target=work, args=(chance.sample(pks, 12),)) for _ in range(3)
            ]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
        if not Delivery.objects.undelivered().exists():
            break

    sent = [f"msg_{row.pk}_" for row in Delivery.objects.filter(state="sent")]
    taken = sorted(got.headers["webhook-id"][:-14] for got in receiver.taken)
    assert taken == sorted(sent)
    assert not Delivery.objects.undelivered().exists()
    failed = Delivery.objects.filter(state="failed")
    assert all(row.tries == TRIES and row.last_error for row in failed)
    assert len(sent) + failed.count() == 12


def test_one_receiver_that_hangs_holds_one_worker(hook, message, add, web):
    channel, receiver = hook
    now = timezone.now()
    rows = [
        Delivery.objects.create(
            channel=channel, dedupe=f"d{n}", message=message.as_json(), next_try_at=now
        )
        for n in range(3)
    ]
    assert rows[0].claim(now)

    assert not rows[1].claim(now)
    rows[0].sent(now)
    tasks.sweep()
    assert len(receiver.taken) == 2
    assert not Delivery.objects.undelivered().exists()


def test_what_the_broker_lost_and_what_a_worker_died_over_is_sent(hook, message):
    channel, receiver = hook
    kept, now = message.as_json(), timezone.now()
    Delivery.objects.create(channel=channel, dedupe="lost", message=kept, next_try_at=now)
    Delivery.objects.create(
        channel=channel,
        dedupe="died",
        message=kept,
        next_try_at=now,
        state="sending",
        tries=1,
        claimed_at=now - LEASE,
    )
    tasks.sweep()

    assert {row.state for row in Delivery.objects.all()} == {"sent"}
    assert len(receiver.taken) == 2


def test_what_no_broker_takes_is_kept_and_swept_up_later(hook, message, monkeypatch):
    channel, receiver = hook

    def away(*_: object, **__: object) -> None:
        raise ConnectionError("the broker is away")

    with monkeypatch.context() as patched:
        patched.setattr(tasks.deliver, "apply_async", away)
        post(message, [channel], "incident-7-1")
        tasks.sweep()
    assert not receiver.seen
    tasks.sweep()
    assert len(receiver.taken) == 1


def test_what_fails_while_its_channel_is_disabled_is_not_tried_again(hook, message):
    channel, _ = hook
    row = Delivery.objects.create(
        channel=channel, dedupe="d", message=message.as_json(), next_try_at=timezone.now()
    )
    assert row.claim(timezone.now())
    Channel.objects.update(enabled=False)
    row.failed(timezone.now(), "Answered 503.", FIRST_PAUSE)

    assert Delivery.objects.get().state == "failed"


def test_a_worker_that_comes_back_from_the_dead_changes_nothing(hook, message):
    channel, _ = hook
    row = Delivery.objects.create(
        channel=channel, dedupe="d", message=message.as_json(), next_try_at=timezone.now()
    )
    assert row.claim(timezone.now())
    Delivery.objects.filter(pk=row.pk).update(claimed_at=timezone.now(), state="sent")

    row.failed(timezone.now(), "too late", FIRST_PAUSE)
    assert Delivery.objects.get().state == "sent"


def test_nothing_is_sent_of_a_transaction_that_is_rolled_back(hook, message):
    channel, receiver = hook
    with transaction.atomic():
        post(message, [channel], "incident-7:firing")
        transaction.set_rollback(True)

    assert not receiver.seen
    assert not Delivery.objects.exists()


def test_slack_is_told_by_apprise(add, web, message, monkeypatch):
    receiver, port = web
    monkeypatch.setattr(NotifySlack, "webhook_url", f"http://127.0.0.1:{port}/services")
    channel = add("oncall", "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/")
    receiver.answers = [500]
    post(message, [channel], "incident-7:firing")

    row = Delivery.objects.get()
    assert row.state == "queued"
    assert "500" in row.last_error
    later(FIRST_PAUSE)
    (got,) = receiver.taken
    assert message.title in got.body
    assert message.link in json.dumps(json.loads(got.body), ensure_ascii=False)


def test_mail_is_sent_and_tried_again_after_a_refusal(add, mail, message):
    receiver, port = mail
    address = f"mailto://127.0.0.1:{port}/?from=laneway@here.example&to=oncall@there.example"
    receiver.refusals = ["451 try later"]
    post(message, [add("post", address, "mail")], "incident-7:firing")

    assert Delivery.objects.get().state == "queued"
    assert not receiver.taken
    later(FIRST_PAUSE)
    (envelope,) = receiver.taken
    assert envelope.rcpt_tos == ["oncall@there.example"]
    assert Delivery.objects.get().state == "sent"


def test_a_slack_that_hangs_is_left_and_told_once_in_the_end(add, web, message, monkeypatch):
    receiver, port = web
    monkeypatch.setattr(NotifySlack, "webhook_url", f"http://127.0.0.1:{port}/services")
    monkeypatch.setattr(NotifySlack, "socket_read_timeout", 0.2)
    receiver.answers = ["hang"]
    post(message, [add("oncall", "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/")], "i-7:1")

    assert Delivery.objects.get().state == "queued"
    later(FIRST_PAUSE)
    assert (len(receiver.taken), Delivery.objects.get().state) == (1, "sent")


def test_a_mail_server_that_hangs_is_left_and_told_once_in_the_end(add, mail, message, monkeypatch):
    receiver, port = mail
    monkeypatch.setattr(NotifyEmail, "socket_connect_timeout", 0.3)
    receiver.refusals = ["hang"]
    address = f"mailto://127.0.0.1:{port}/?from=laneway@here.example&to=oncall@there.example"
    post(message, [add("post", address, "mail")], "i-7:1")

    assert Delivery.objects.get().state == "queued"
    monkeypatch.undo()
    later(FIRST_PAUSE)
    assert (len(receiver.taken), Delivery.objects.get().state) == (1, "sent")


def test_no_secret_stands_in_the_database_file_or_in_the_logs(hook, message, add, caplog):
    caplog.set_level(logging.DEBUG)
    channel, _ = hook
    dead = add("dead", "http://127.0.0.1:9/s3cret-token", "webhook")
    other = add("other", "mmost://127.0.0.1:9/s3cret-token-for-mm", "other")
    post(message, [channel, dead, other], "incident-7:firing")
    assert Delivery.objects.filter(state="queued").count() == 2

    for row in Delivery.objects.all():
        assert "s3cret" not in row.last_error
    said = [record for record in caplog.records if record.name not in UNSEEN]
    assert "dashboard.delivery.tasks" in {record.name for record in said}
    assert not [record for record in said if "127.0.0.1:9" in record.getMessage()]
    if connection.vendor == "sqlite":
        name = connection.settings_dict["NAME"]
        with sqlite3.connect(name) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        other.close()
        assert b"s3cret-token" not in Path(name).read_bytes()


@pytest.mark.parametrize("library", ["urllib3", "httpx", "httpcore"])
def test_libraries_that_would_log_whole_addresses_stay_quiet(library):
    assert not logging.getLogger(f"{library}.connection").isEnabledFor(logging.INFO)


def test_apprise_which_logs_what_it_was_given_is_heard_by_us_alone():
    assert not logging.getLogger("apprise").propagate


def test_an_incident_is_resolved_under_the_key_it_was_opened_with(add, web, message, monkeypatch):
    from apprise.plugins import pagerduty

    receiver, port = web
    places = {"us": f"http://127.0.0.1:{port}/v2/enqueue"}
    monkeypatch.setattr(pagerduty, "PAGERDUTY_API_LOOKUP", places)
    channel = add("pager", f"pagerduty://{'A' * 20}@{'B' * 32}", "pagerduty")
    post(message, [channel], "incident-7-1")
    post(Message("resolved", "info", "over", at=message.at), [channel], "incident-7-2")

    opened, ended = (json.loads(got.body) for got in receiver.taken)
    assert (opened["event_action"], ended["event_action"]) == ("trigger", "resolve")
    assert opened["dedup_key"] == ended["dedup_key"] == "incident-7"


def test_the_watchers_are_watched(hook, message):
    from dashboard.delivery.watch import health

    channel, receiver = hook
    receiver.answers = [500]
    post(message, [channel], "incident-7:firing")
    failing = health(timezone.now() + timedelta(seconds=90))

    assert failing.undelivered == 1
    assert failing.oldest_undelivered_s == pytest.approx(90, abs=5)
    assert failing.channels[0].failing
    later(FIRST_PAUSE)
    well = health(timezone.now() + timedelta(seconds=90))
    assert (well.undelivered, well.oldest_undelivered_s) == (0, None)
    assert not well.channels[0].failing


def test_the_heartbeat_goes_out_while_a_gateway_runs(web, settings, caplog):
    receiver, port = web
    now = timezone.now()
    GatewayState.objects.create(name="g", pid=1, revision=1, policy_version=1, seen_at=now)
    tasks.heartbeat()
    assert not receiver.seen  # no address is set
    settings.LANEWAY_HEARTBEAT_URL = f"http://127.0.0.1:{port}/s3cret-ping"
    tasks.heartbeat()
    assert len(receiver.taken) == 1
    receiver.answers = [500]
    tasks.heartbeat()
    GatewayState.objects.update(seen_at=now - timedelta(minutes=1))
    tasks.heartbeat()
    assert len(receiver.seen) == 2
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("dash")]
    assert ours == ["the heartbeat was not taken: HTTPStatusError", "no heartbeat: no gateway runs"]


def test_old_deliveries_go(hook, message):
    channel, _ = hook
    post(message, [channel], "incident-7:firing")
    tasks.prune_deliveries()
    assert Delivery.objects.exists()
    Delivery.objects.update(ended_at=timezone.now() - tasks.KEPT - timedelta(minutes=1))
    tasks.prune_deliveries()
    assert not Delivery.objects.exists()
    assert Channel.objects.exists()
