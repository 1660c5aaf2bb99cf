"""Rows about what happened: none lost without being counted, none in the way of a request."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import OperationalError, connection

from gateway import records
from gateway.core.buckets import Bucket
from gateway.models import APIKey, KeyNetwork, QueueBucket, QueueSample, Tenant, UsageRecord
from gateway.records import Recorder, Sample, Usage
from tests.support.buckets import sketch
from tests.support.clock import until

NOON = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
USAGE = Usage(
    request_id="req_1",
    arrived_at=NOON,
    tenant_id=1,
    key_id8="EXAMPLE0",
    endpoint="/v1/chat/completions",
    model="qwen",
    task_type="chat",
    tier="realtime",
    priority=10,
    effective_priority=10,
    reason="task:chat",
    policy_version=1,
    backend="gpu-1",
    outcome="completed",
    code="",
    status=200,
    stream=True,
    queue_wait_s=0.5,
    ttft_s=0.75,
    e2e_s=2.25,
    prompt_tokens=12,
    completion_tokens=34,
    cached_tokens=None,
)
SAMPLE = Sample("default", "realtime", NOON.timestamp(), 3, 2, 1.5, 0.25, None, 1.0, 0.5)


@pytest.fixture
def recorder(db) -> Recorder:
    return Recorder(now=lambda: 1_000.0)


def test_what_is_recorded_is_what_is_stored(recorder):
    recorder.append(USAGE)
    recorder.sample(SAMPLE)

    recorder.flush()

    stored = UsageRecord.objects.values(*Usage._fields).get()
    assert stored == USAGE._replace(tenant_id=1)._asdict()
    sample = QueueSample.objects.values(*Sample._fields).get()
    assert sample == SAMPLE._asdict() | {"at": NOON}
    assert (recorder.buffered, recorder.lost) == (0, 0)


def test_every_column_is_written():
    """A column added to a model and not to its row would be empty for ever."""
    for model, row in ((UsageRecord, Usage), (QueueSample, Sample), (QueueBucket, Bucket)):
        columns = {field.attname for field in model._meta.concrete_fields} - {"id"}
        assert columns == set(row._fields)


def test_ten_seconds_become_one_bucket_a_tier(recorder):
    for second in range(11):
        recorder.sample(SAMPLE._replace(at=NOON.timestamp() + second, waiting=second))
    recorder.flush()

    found = QueueBucket.objects.get()
    assert (found.step_s, found.start, found.tier) == (10, int(NOON.timestamp()), "realtime")
    assert (found.seconds, found.waiting_min, found.waiting_max) == (10, 0, 9)
    assert (found.oldest_max_s, found.wait_p95_max_s) == (1.5, None)


@pytest.mark.django_db(transaction=True)
def test_the_seconds_that_run_are_written_at_the_end():
    recorder = Recorder()
    recorder.start()
    recorder.sample(SAMPLE)

    recorder.stop()

    assert QueueBucket.objects.get().seconds == 1


async def test_buckets_count_what_came_what_went_and_what_was_lost(gateway):
    recorder = gateway.proxy.recorder
    at = NOON.timestamp()
    for tier in ("realtime", "standard"):
        recorder.sample(SAMPLE._replace(tier=tier, at=at))
    async with gateway.chat("chat"), gateway.chat("chat"):
        await until(lambda: len(gateway.vllm.generations) == 2)
        async with gateway.chat("translate"):
            await until(lambda: gateway.waiting == 1)

    recorder.sample(SAMPLE._replace(at=at + 10))

    found = {row.tier: row for row in recorder._rows if isinstance(row, Bucket)}
    assert (found["realtime"].arrived, found["realtime"].dispatched) == (2, 2)
    assert sketch(found["realtime"].waits).n == 2
    assert found["realtime"].lost == ""
    assert (found["standard"].arrived, found["standard"].dispatched) == (1, 0)
    assert found["standard"].lost == "client_disconnected:1"


async def test_what_is_refused_before_it_joins_came_and_was_lost(gateway):
    recorder = gateway.proxy.recorder
    recorder.sample(SAMPLE._replace(at=NOON.timestamp()))
    body = {"model": "qwen", "messages": [{"role": "user", "content": "hi"}]}
    headers = {"x-task-type": "chat", "x-laneway-deadline-ms": "soon"}
    async with gateway.ask("/v1/chat/completions", body, headers=headers) as call:
        await call.done()

    recorder.sample(SAMPLE._replace(at=NOON.timestamp() + 10))

    (found,) = [row for row in recorder._rows if isinstance(row, Bucket)]
    assert (call.status, found.lost) == (400, "invalid_header:1")
    assert (found.arrived, found.dispatched) == (1, 0)


def test_a_thousand_rows_are_one_transaction(recorder, django_assert_num_queries):
    for n in range(1000):
        recorder.append(USAGE._replace(request_id=f"req_{n}"))

    with django_assert_num_queries(4):  # begin, insert, commit; the key's last use
        recorder.flush()

    assert UsageRecord.objects.count() == 1000


@pytest.mark.parametrize("bad", [{"request_id": None}, {"completion_tokens": 10**30}])
def test_a_bad_row_does_not_hold_up_the_others(recorder, caplog, bad):
    recorder.append(USAGE)
    recorder.append(USAGE._replace(**bad))
    recorder.append(USAGE._replace(request_id="req_3"))

    recorder.flush()

    assert set(UsageRecord.objects.values_list("request_id", flat=True)) == {"req_1", "req_3"}
    assert (recorder.buffered, recorder.lost) == (0, 1)
    assert "a record was given up" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_without_its_database_rows_wait_in_their_order(caplog):
    recorder = Recorder()
    recorder.append(USAGE)
    recorder.append(USAGE._replace(request_id="req_2"))

    with renamed("gateway_usagerecord"):
        recorder.flush()
        assert (recorder.buffered, recorder.lost) == (2, 0)
        recorder.append(USAGE._replace(request_id="req_3"))
    recorder.flush()

    assert "2 records wait for the database" in caplog.text
    found = UsageRecord.objects.order_by("id").values_list("request_id", flat=True)
    assert list(found) == ["req_1", "req_2", "req_3"]


@pytest.mark.django_db(transaction=True)
def test_what_does_not_fit_goes_oldest_first_and_is_counted(monkeypatch):
    monkeypatch.setattr(records, "MOST_ROWS", 10)
    recorder = Recorder()
    for n in range(12):
        recorder.append(USAGE._replace(request_id=f"req_{n}"))
    assert (recorder.buffered, recorder.lost) == (10, 2)

    with renamed("gateway_usagerecord"):
        recorder.flush()
        recorder.append(USAGE._replace(request_id="req_12"))
    recorder.flush()

    assert recorder.lost == 3
    found = UsageRecord.objects.order_by("id").values_list("request_id", flat=True)
    assert list(found) == [f"req_{n}" for n in range(3, 13)]


@pytest.mark.django_db(transaction=True)
def test_closing_writes_what_is_left_and_ends_the_thread():
    recorder = Recorder()
    recorder.start()
    recorder.append(USAGE)

    recorder.stop()

    assert UsageRecord.objects.count() == 1
    assert "recorder" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.django_db(transaction=True)
def test_five_hundred_rows_are_written_before_the_second_is_over(monkeypatch):
    monkeypatch.setattr(records, "FLUSH_S", 600.0)
    written = threading.Event()
    write = records._write
    monkeypatch.setattr(records, "_write", lambda batch: (write(batch), written.set()))
    recorder = Recorder()
    recorder.start()

    for _ in range(500):
        recorder.append(USAGE)

    assert written.wait(5)
    recorder.stop()
    assert UsageRecord.objects.count() == 500


def test_the_last_use_of_a_key_is_written_once_a_minute(db):
    tenant = Tenant.objects.create(slug="acme", name="Acme")
    key, _ = APIKey.objects.issue(tenant, "ci")
    now = [1_000.0]
    recorder = Recorder(now=lambda: now[0])
    seen = []

    for second in (0, 1, 59, 60):
        now[0] = 1_000.0 + second
        used_at = NOON + timedelta(seconds=second)
        recorder.append(USAGE._replace(key_id8=key.id8, arrived_at=used_at))
        recorder.flush()
        key.refresh_from_db()
        seen.append((key.last_used_at - NOON).total_seconds())

    assert seen == [0, 0, 0, 60]


def test_from_where_keys_are_used_is_written_with_it(recorder):
    for address in ("10.2.7.9", "::ffff:10.2.7.10", "2001:db8::7", "unix:", ""):
        recorder._peers["EXAMPLE0", address] = NOON.timestamp()
    recorder.append(USAGE)
    recorder.flush()

    found = KeyNetwork.objects.values_list("key_id8", "network", "last_seen_at")
    assert list(found) == [
        ("EXAMPLE0", "10.2.7.0/24", NOON),
        ("EXAMPLE0", "2001:db8::/64", NOON),
    ]
    later = NOON + timedelta(minutes=2)
    KeyNetwork.objects.all().note({("EXAMPLE0", "10.2.7.0/24"): later})
    row = KeyNetwork.objects.get(network="10.2.7.0/24")
    assert (row.first_seen_at, row.last_seen_at) == (NOON, later)


@pytest.mark.django_db(transaction=True)
def test_a_failure_to_note_a_keys_use_writes_no_request_twice():
    recorder = Recorder(now=lambda: 1_000.0)
    with renamed("gateway_keynetwork"):
        recorder._peers["EXAMPLE0", "10.2.7.9"] = NOON.timestamp()
        recorder.append(USAGE)
        recorder.flush()
    recorder.flush()

    assert UsageRecord.objects.count() == 1


async def test_a_finished_request_becomes_a_row(gateway):
    async with gateway.chat("chat", stream=False) as call:
        await until(lambda: gateway.vllm.generations)
        gateway.vllm.generations[0].finish()
        await call.done()

    (row,) = gateway.proxy.recorder._rows
    assert (row.tier, row.priority, row.effective_priority) == ("realtime", 10, 10)
    assert (row.outcome, row.status, row.backend) == ("completed", 200, "gpu-1")
    assert (row.model, row.task_type, row.reason) == ("qwen", "chat", "task:chat")
    assert row.request_id == call.headers["x-request-id"]
    assert 0 <= row.queue_wait_s <= row.ttft_s <= row.e2e_s
    assert row.completion_tokens is not None
    assert [address for _, address in gateway.proxy.recorder._peers] == ["127.0.0.1"]


async def test_a_request_that_left_while_waiting_becomes_a_row_without_a_dispatch(gateway):
    async with gateway.chat("chat"), gateway.chat("chat"):
        await until(lambda: len(gateway.vllm.generations) == 2)
        async with gateway.chat("translate"):
            await until(lambda: gateway.waiting == 1)

    left = gateway.proxy.recorder._rows[0]
    assert (left.tier, left.outcome, left.code) == ("standard", "hung_up", "client_disconnected")
    assert (left.effective_priority, left.queue_wait_s, left.ttft_s) == (None, None, None)
    assert left.backend == ""


async def test_a_stranger_leaves_no_row(gateway):
    async with gateway.ask("/v1/chat/completions", {"model": "qwen"}, key="nobody") as call:
        await call.done()

    assert call.status == 401
    assert gateway.proxy.recorder.buffered == 0


def test_rows_that_come_during_a_failing_write_stay_behind_those_that_wait(recorder, monkeypatch):
    monkeypatch.setattr(records, "MOST_ROWS", 3)
    recorder = Recorder()

    def failing(batch):
        recorder.append(USAGE._replace(request_id="req_new"))
        raise OperationalError("away")

    with monkeypatch.context() as patched:
        patched.setattr(records, "_write", failing)
        for n in range(3):
            recorder.append(USAGE._replace(request_id=f"req_{n}"))
        recorder.flush()

    assert [row.request_id for row in recorder._rows] == ["req_1", "req_2", "req_new"]
    assert recorder.lost == 1


def test_a_callers_text_is_made_to_fit():
    assert records._fitting("a\0b" * 100, 5) == "ababa"


class renamed:
    """Takes a table away for a while, as a failing database would."""

    def __init__(self, table: str) -> None:
        self.table = table

    def _rename(self, old: str, new: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")

    def __enter__(self) -> None:
        self._rename(self.table, "away")

    def __exit__(self, *_: object) -> None:
        self._rename("away", self.table)
