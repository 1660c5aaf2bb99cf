"""An open-loop load generator that costs little: asyncio protocols on httptools, bodies made ahead.

A request is due at its own moment, whatever became of those before it, and its times count from
there.  Lengths are log-normal and seeded, so that every arrangement gets the same work; prompts
are token ids that never repeat, since a known prefix would be served from vLLM's cache.
"""

import asyncio
import json
import math
import random
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import httptools

CV = 0.6  # standard deviation of lengths over their mean
SHORTEST, LONGEST = 8, 12_000
TOKENS = range(3, 150_000)
FRESH = random.Random()
IDLE_S = 3.0  # vLLM closes idle connections after 5 s


class Shape(NamedTuple):
    """Mean lengths of prompts and outputs."""

    prompt: int
    output: int


class Job(NamedTuple):
    kind: str  # "low" or "urgent"
    at_s: float  # due, from the start of the run
    prompt: int
    output: int
    stream: bool


class Target(NamedTuple):
    port: int
    key: str = ""
    priority: dict[str, int] = {}  # by kind; none given, none sent


class Record:
    """What became of one request; moments in seconds from the start of the run."""

    __slots__ = ("chunks", "first", "job", "last", "queue_wait_ms", "sent", "status")
    FIELDS = ("kind", "at", "prompt", "output", "stream", "status", "sent", "queue_wait_ms",
              "first", "last", "chunks")  # fmt: skip

    def __init__(self, job: Job) -> None:
        self.job = job
        self.status = 0
        self.sent = 0.0
        self.queue_wait_ms: int | None = None  # as Laneway says; its dispatch is sent + this
        self.first: float | None = None
        self.last: float | None = None
        self.chunks = 0

    def row(self) -> list[Any]:
        job = self.job
        first = None if self.first is None else round(self.first, 4)
        last = None if self.last is None else round(self.last, 4)
        return [job.kind, round(job.at_s, 4), job.prompt, job.output, int(job.stream), self.status,
                round(self.sent, 4), self.queue_wait_ms, first, last, self.chunks]  # fmt: skip


def lengths(rng: random.Random, mean: int) -> int:
    sigma = math.sqrt(math.log(1 + CV * CV))
    drawn = rng.lognormvariate(math.log(mean) - sigma * sigma / 2, sigma)
    return max(SHORTEST, min(LONGEST, int(drawn)))


def backlog(kind: str, n: int, shape: Shape, seed: int, *, stream: bool = False) -> list[Job]:
    rng = random.Random(seed)
    drawn = ((lengths(rng, shape.prompt), lengths(rng, shape.output)) for _ in range(n))
    return [Job(kind, 0.0, prompt, output, stream) for prompt, output in drawn]


def poisson(
    kind: str, per_s: float, shape: Shape, seed: int, *, start: float, end: float, stream: bool
) -> Iterator[Job]:
    rng = random.Random(seed)
    at = start + rng.expovariate(per_s)
    while at < end:
        yield Job(kind, at, lengths(rng, shape.prompt), lengths(rng, shape.output), stream)
        at += rng.expovariate(per_s)


def request(target: Target, job: Job, model: str, own_id: str = "") -> bytes:
    body: dict[str, Any] = {
        "model": model,
        "prompt": FRESH.choices(TOKENS, k=job.prompt),
        "max_tokens": job.output,
        "ignore_eos": True,
        "temperature": 1.0,
        "stream": job.stream,
    }
    if job.kind in target.priority:
        body["priority"] = target.priority[job.kind]
    content = json.dumps(body, separators=(",", ":")).encode()
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n"
    )
    if target.key:
        head += f"Authorization: Bearer {target.key}\r\n"
    if own_id:
        head += f"X-Request-Id: {own_id}\r\n"
    return f"{head}\r\n".encode() + content


class Connection(asyncio.Protocol):
    """One connection; at most one request at a time."""

    def __init__(self, load: "Load") -> None:
        self.load = load
        self.record: Record | None = None
        self.idle_since = 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def send(self, record: Record, content: bytes) -> None:
        self.record = record
        self.parser = httptools.HttpResponseParser(self)
        record.sent = self.load.now()
        self.transport.write(content)

    def data_received(self, data: bytes) -> None:
        if self.record is not None:
            self.parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name == b"x-laneway-queue-wait-ms" and self.record is not None:
            self.record.queue_wait_ms = int(value)

    def on_body(self, body: bytes) -> None:
        record = self.record
        if record is not None:
            if record.first is None:
                record.first = self.load.now()
            record.chunks += body.count(b"data: ")

    def on_message_complete(self) -> None:
        record, self.record = self.record, None
        if record is None:
            return
        record.last = self.load.now()
        record.status = self.parser.get_status_code()
        if self.parser.should_keep_alive():
            self.idle_since = record.last
            self.load.idle.append(self)
        else:
            self.transport.close()
        self.load.ended(record)

    def connection_lost(self, error: Exception | None) -> None:
        record, self.record = self.record, None
        if record is not None:
            record.status = -1
            record.last = self.load.now()
            self.load.ended(record)
        self.load.open.discard(self)


class Load:
    """One run against one target."""

    def __init__(self, target: Target, model: str) -> None:
        self.target = target
        self.model = model
        self.records: list[Record] = []
        self.idle: list[Connection] = []
        self.open: set[Connection] = set()
        self.under_way = 0
        self.on_end: Callable[[Record], None] | None = None
        self._moved = asyncio.Event()
        self.started = 0.0

    def now(self) -> float:
        return time.perf_counter() - self.started

    def ended(self, record: Record) -> None:
        self.under_way -= 1
        self._moved.set()
        if self.on_end:
            self.on_end(record)

    async def send(self, job: Job, content: bytes) -> Record:
        record = Record(job)
        self.records.append(record)
        self.under_way += 1
        while self.idle:
            connection = self.idle.pop()
            if self.now() - connection.idle_since < IDLE_S and connection in self.open:
                connection.send(record, content)
                return record
            connection.transport.close()
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                lambda: Connection(self), "127.0.0.1", self.target.port
            )
        except OSError:
            record.status, record.last = -2, self.now()
            self.ended(record)
            return record
        self.open.add(connection)
        connection.send(record, content)
        return record

    async def run(
        self,
        jobs: Iterable[Job],
        *,
        own_ids: dict[int, str] | None = None,
        urgent_while_low: float | None = None,
        at_most_s: float = 300.0,
    ) -> list[Record]:
        """Send every job when it is due and wait for all answers, ``at_most_s`` in all.

        ``urgent_while_low``: urgent ones come until this share of the low ones is answered.
        """
        plan = sorted(jobs, key=lambda job: job.at_s)
        contents = [
            request(self.target, job, self.model, (own_ids or {}).get(place, ""))
            for place, job in enumerate(plan)
        ]
        low = sum(job.kind == "low" for job in plan)
        low_done = 0

        def count(record: Record) -> None:
            nonlocal low_done
            low_done += record.job.kind == "low"

        self.on_end = count
        sending: set[asyncio.Task[Record]] = set()
        self.started = time.perf_counter()
        for place, job in enumerate(plan):
            delay = job.at_s - self.now()
            if delay > 0:
                await asyncio.sleep(delay)
            if self.now() > at_most_s:
                break
            enough = urgent_while_low is not None and low_done >= urgent_while_low * low
            if enough and job.kind == "urgent":
                break  # the low ones are all at the start of such a plan
            task = asyncio.create_task(self.send(job, contents[place]))
            contents[place] = b""
            sending.add(task)
            task.add_done_callback(sending.discard)
        if sending:
            await asyncio.wait(sending)
        await self.drain(at_most_s)
        return self.records

    async def keep(self, streams: int, shape: Shape, seed: int, seconds: float) -> list[Record]:
        """Closed loop: so many streams at once, the next as one ends."""
        rng = random.Random(seed)
        most = streams * 8
        jobs = [
            Job("low", 0.0, lengths(rng, shape.prompt), lengths(rng, shape.output), True)
            for _ in range(most)
        ]
        contents = [request(self.target, job, self.model) for job in jobs]
        free = asyncio.Semaphore(streams)
        self.on_end = lambda _: free.release()
        self.started = time.perf_counter()
        for job, content in zip(jobs, contents, strict=True):
            await free.acquire()
            if self.now() > seconds:
                break
            await self.send(job._replace(at_s=self.now()), content)
            if len(self.records) < streams:
                await asyncio.sleep(1.0 / streams)  # the first come spread over a second
        await self.drain(seconds + 60)
        return self.records

    async def drain(self, at_most_s: float) -> None:
        while True:
            self._moved.clear()
            left = at_most_s - self.now()
            if not self.under_way or left <= 0:
                break
            try:
                async with asyncio.timeout(left):
                    await self._moved.wait()
            except TimeoutError:
                break
        for connection in list(self.open):
            record, connection.record = connection.record, None
            if record is not None:
                record.status = 0  # cut off by us, unanswered so far
            connection.transport.abort()
        self.on_end = None
