"""Rows about what happened, buffered and written in bulk by one thread, off the event loop.

Recording is an append; nothing on the token path waits for the database.  One ``executemany`` on
SQLite costs about 8 µs a row where ``save`` costs 290; ``COPY`` is as cheap on PostgreSQL.  A kill
loses up to a second of rows; no decision depends on them.
"""

import asyncio
import atexit
import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.db import DataError, Error, IntegrityError, close_old_connections, connection
from django.db import models as orm
from django.db.transaction import atomic

from gateway.core.buckets import Bucket, Tallies
from gateway.journey import Journey
from gateway.models import APIKey, KeyNetwork, QueueBucket, QueueSample, UsageRecord, network_of

logger = logging.getLogger(__name__)

FLUSH_S = 1.0
FLUSH_ROWS = 500
MOST_ROWS = 50_000  # about 50 MB; beyond it the oldest go and are counted
# At the end.  MOST_ROWS take 0.4 s; a database that hangs must not keep a gateway from ending.
LAST_FLUSH_S = 10.0
LAST_TRY_EVERY_S = 0.2
# Of one row and no other: what no column holds, a number beyond 64 bits on SQLite say.
UNFIT = (DataError, IntegrityError, ArithmeticError, TypeError, ValueError)
TOUCH_S = 60.0  # a key's last use is written at most so often
MOST_PEERS = 5_000  # between two times; a key that is used from everywhere is known well enough


class Usage(NamedTuple):
    """A finished request, in the order of its columns."""

    request_id: str
    arrived_at: datetime
    tenant_id: int
    key_id8: str
    endpoint: str
    model: str
    task_type: str
    tier: str
    priority: int | None
    effective_priority: int | None
    reason: str
    policy_version: int
    backend: str
    outcome: str
    code: str
    status: int
    stream: bool
    queue_wait_s: float | None
    ttft_s: float | None
    e2e_s: float
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None


class Sample(NamedTuple):
    """One tier in one second.  ``at`` is unix seconds."""

    pool: str
    tier: str
    at: float
    waiting: int
    in_flight: int
    oldest_s: float | None
    wait_p50_s: float | None
    wait_p95_s: float | None
    in_per_s: float
    out_per_s: float


Row = Usage | Sample | Bucket


class Recorder:
    """``start`` it, tell it of requests and samples, ``close`` it; ``lost`` counts rows given up."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.lost = 0
        self._now = now
        self._rows: deque[Row] = deque(maxlen=MOST_ROWS)
        self._in_hand = 0  # rows that are being written
        self._tallies = Tallies(writer=secrets.token_hex(8))
        self._used_at: dict[str, datetime] = {}  # by id8, since the last time it was written
        self._peers: dict[tuple[str, str], float] = {}  # key and address → unix seconds
        self._touched_at = 0.0
        self._wake = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None

    @property
    def buffered(self) -> int:
        return len(self._rows) + self._in_hand

    def latest(self) -> Usage:
        """The newest finished request that is not written yet."""
        return next(row for row in reversed(self._rows) if isinstance(row, Usage))

    def arrived(self, journey: Journey) -> None:
        """A request joins its tier's line."""
        self._tallies.arrived(*_where(journey))

    def dispatched(self, journey: Journey) -> None:
        self._tallies.dispatched(*_where(journey), int(journey.queue_wait_s * 1000))

    def record(self, journey: Journey) -> None:
        """Note a finished request.  One without a proven key or a readable body used nothing."""
        if journey.caller is not None and journey.call is not None:
            now = self._now()
            self.append(_usage(journey, now))
            peer = (journey.caller.key_id8, journey.request.address)
            if len(self._peers) < MOST_PEERS or peer in self._peers:
                self._peers[peer] = now
        if journey.placement is not None and journey.dispatch is None:
            if journey.charged is None:  # refused before it could join
                self.arrived(journey)
            self._tallies.lost(*_where(journey), journey.code)

    def sample(self, sample: Sample) -> None:
        for bucket in self._tallies.turn_to(sample.at):
            self.append(bucket)
        self._tallies.seen(
            sample.pool,
            sample.tier,
            waiting=sample.waiting,
            in_flight=sample.in_flight,
            oldest_s=sample.oldest_s,
            wait_p95_s=sample.wait_p95_s,
        )
        self.append(sample)

    def append(self, row: Row) -> None:
        if len(self._rows) == MOST_ROWS:
            self.lost += 1  # the deque lets go of its oldest
        self._rows.append(row)
        if len(self._rows) == FLUSH_ROWS:
            self._wake.set()

    def start(self) -> None:
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()
        atexit.register(self.stop)  # Daphne has no lifespan: nobody else tells of the end

    async def close(self) -> None:
        await asyncio.to_thread(self.stop)

    def stop(self) -> None:
        """Write what is left and end the thread; one that hangs ends with the process."""
        atexit.unregister(self.stop)
        if self._thread is not None:
            for bucket in self._tallies.rest():
                self.append(bucket)
            self._closing = True
            self._wake.set()
            self._thread.join(LAST_FLUSH_S)
            if self._thread.is_alive():
                logger.error("the database hangs: the last records may be lost")
            elif self._rows:
                self.lost += len(self._rows)
                logger.error("the last %d records are lost: no database took them", len(self._rows))
            self._thread = None

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait(FLUSH_S)
            self._wake.clear()
            close_old_connections()
            self.flush()
        tries = int(LAST_FLUSH_S / LAST_TRY_EVERY_S)
        while self._rows and tries:  # whoever locks the database may be done in a moment
            tries -= 1
            time.sleep(LAST_TRY_EVERY_S)
            self.flush()
        connection.close()

    def flush(self) -> None:
        """Write all that is buffered; what could not be written stays for the next time."""
        batch = [self._rows.popleft() for _ in range(len(self._rows))]
        self._in_hand = len(batch)
        try:
            written = self._write(batch)
        finally:
            self._in_hand = 0
        if not written:
            return
        try:
            self._note_use(batch)
        except Error as error:
            logger.warning("when keys were last used is written later: %s", error)

    def _write(self, batch: Sequence[Row]) -> bool:
        try:
            try:
                _write(batch)
            except UNFIT:  # one bad row must not hold up the others for ever
                self.lost += _write_each(batch)
        except Error as error:
            logger.warning("%d records wait for the database: %s", len(batch), error)
            room = MOST_ROWS - len(self._rows)
            self.lost += max(0, len(batch) - room)
            self._rows.extendleft(reversed(batch[-room:] if room else []))
            return False
        return True

    def _note_use(self, batch: Sequence[Row]) -> None:
        for row in batch:
            if isinstance(row, Usage):
                self._used_at[row.key_id8] = row.arrived_at
        if self._used_at and (self._closing or self._now() - self._touched_at >= TOUCH_S):
            APIKey.objects.all().touch(self._used_at)
            KeyNetwork.objects.all().note(self._networks())
            self._used_at = {}
            self._touched_at = self._now()

    def _networks(self) -> dict[tuple[str, str], datetime]:
        """Where keys were used from since the last time, forgotten here as it is told."""
        peers, self._peers = self._peers, {}
        found: dict[tuple[str, str], datetime] = {}
        for (id8, address), at in list(peers.items()):  # the event loop may add one just now
            network = network_of(address)
            if network:
                found[id8, network] = datetime.fromtimestamp(at, UTC)
        return found


def _where(journey: Journey) -> tuple[str, str]:
    assert journey.pool is not None
    assert journey.placement is not None
    return journey.pool.name, journey.placement.tier.name


def _usage(journey: Journey, now: float) -> Usage:
    caller, call, placement = journey.caller, journey.call, journey.placement
    assert caller is not None
    assert call is not None
    dispatched = journey.dispatched_at is not None
    first_byte_at = journey.first_byte_at
    tokens = journey.tokens()
    return Usage(
        request_id=journey.id,
        arrived_at=datetime.fromtimestamp(now - journey.e2e_s, UTC),
        tenant_id=caller.tenant_id,
        key_id8=caller.key_id8,
        endpoint=call.endpoint,
        model=_fitting(call.model, 200),
        task_type=_fitting(placement.task_type if placement else "", 64),
        tier=placement.tier.name if placement else "",
        priority=placement.tier.priority if placement else None,
        effective_priority=journey.dispatch.priority if journey.dispatch else None,
        reason=_fitting(", ".join(journey.reason()), 200),
        policy_version=journey.policy_version,
        backend=journey.backend.row.name if journey.backend else "",
        outcome=journey.outcome,
        code=_fitting(journey.code, 64),
        status=journey.status,
        stream=call.stream,
        queue_wait_s=journey.queue_wait_s if dispatched else None,
        ttft_s=first_byte_at - journey.arrived_at if first_byte_at is not None else None,
        e2e_s=journey.e2e_s,
        prompt_tokens=tokens.prompt_tokens,
        completion_tokens=tokens.completion_tokens,
        cached_tokens=tokens.cached_tokens,
    )


def _fitting(text: str, length: int) -> str:
    """A caller's own text as a column can hold it: PostgreSQL refuses NUL and what is too long."""
    return text.replace("\0", "")[:length]


def _write(batch: Sequence[Row]) -> None:
    """One transaction for all of it."""
    usage = [row for row in batch if isinstance(row, Usage)]
    samples = [
        row._replace(at=datetime.fromtimestamp(row.at, UTC))  # type: ignore[arg-type] # as stored
        for row in batch
        if isinstance(row, Sample)
    ]
    with atomic():
        _insert(UsageRecord, Usage._fields, usage)
        _insert(QueueSample, Sample._fields, samples)
        _insert(QueueBucket, Bucket._fields, [row for row in batch if isinstance(row, Bucket)])


def _write_each(batch: Sequence[Row]) -> int:
    """Row by row, after a batch was refused.  Returns how many rows were given up."""
    lost = 0
    for row in batch:
        try:
            _write([row])
        except UNFIT as error:
            logger.error("a record was given up: %s", error)
            lost += 1
    return lost


def _insert(model: type[orm.Model], fields: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    if not rows:
        return
    quote = connection.ops.quote_name
    table = quote(model._meta.db_table)
    columns = ", ".join(quote(name) for name in fields)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            into = f"COPY {table} ({columns}) FROM STDIN"
            with connection.wrap_database_errors, cursor.copy(into) as copy:
                for row in rows:
                    copy.write_row(row)
            return
        marks = ", ".join(["%s"] * len(fields))
        cursor.executemany(
            f"INSERT INTO {table} ({columns}) VALUES ({marks})", [_as_sqlite(row) for row in rows]
        )


def _as_sqlite(row: tuple[Any, ...]) -> tuple[Any, ...]:
    adapt = connection.ops.adapt_datetimefield_value
    return tuple(adapt(value) if isinstance(value, datetime) else value for value in row)
