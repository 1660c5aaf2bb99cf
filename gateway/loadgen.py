"""An open-loop load generator: sends each arrival when it is due, however the gateway is doing.

For a few dozen requests a second, which is where httpx ends; the C generator in ``tests/bench``
goes on from there.  It decides nothing about traffic (``gateway.arrivals`` does) and prints
nothing (the ``loadgen`` command does).  The clock is the event loop's.
"""

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing, suppress
from ipaddress import ip_address
from random import Random
from typing import cast
from urllib.parse import urlsplit

import httpx

from gateway.arrivals import Arrival
from gateway.tally import Outcome, Tally

CONNECTIONS_A_CLIENT = 100  # httpcore walks them all at each start and end, so the work is split
MOST_WAIT_S = 2_000.0  # for the first byte: longer than any tier's default max_wait_s
MEAN_PATIENCE_S = 2.0  # of those who hang up
FILLER = "the quick brown fox jumps over the lazy dog and runs on through the night " * 2_000


class LoadError(Exception):
    """The run cannot start; the message says why, and what to do."""


def is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def body_of(arrival: Arrival, model: str, serial: int) -> bytes:
    """A chat request of the arrival's size, four bytes of English a token.  No two begin alike,
    so that a prefix cache has nothing to find."""
    start = serial % 4_999
    size = 4 * arrival.prompt_tokens
    text = f"{serial} {FILLER[start : start + size]}"[:size] or "?"
    call = {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": arrival.output_tokens,
        "ignore_eos": True,
        "stream": arrival.stream,
    }
    return json.dumps(call).encode()


class Generator:
    """Sends the arrivals of one run to one gateway."""

    def __init__(
        self,
        url: str,
        keys: Mapping[str, str],
        *,
        model: str = "auto",
        seed: int = 0,
        hang_up_share: float = 0.0,
        concurrency_limit: int = 2000,
        grace_s: float = 30.0,
        patient: bool = False,
    ) -> None:
        """``keys`` maps each tenant to its key.  ``patient``: wait for an absent gateway, at the
        start and in between; what was due meanwhile is left out."""
        self.url, self.keys, self.model, self.patient = url.rstrip("/"), keys, model, patient
        self.hang_up_share, self.grace_s = hang_up_share, grace_s
        self.concurrency_limit = concurrency_limit
        self.tally = Tally()
        self.stopping = asyncio.Event()
        self._rng = Random(f"{seed} hang-ups")
        self._open: set[asyncio.Task[None]] = set()
        self._away = False

    async def run(self, arrivals: Iterable[Arrival], duration_s: float = math.inf) -> None:
        """Send what is due before ``duration_s``; return when all is answered or ``grace_s`` over.

        Setting ``stopping`` ends it at once.

        Raises:
            LoadError: not ``patient``, and the gateway is away or offers no model.
        """
        secure = self.url.startswith("https:")
        verify = httpx.create_ssl_context() if secure else False  # 20 clients load it once
        clients = [
            httpx.AsyncClient(
                base_url=self.url,
                verify=verify,
                trust_env=False,
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
            )
            for _ in range(math.ceil(self.concurrency_limit / CONNECTIONS_A_CLIENT))
        ]
        try:
            if self.model == "auto":
                self.model = await self._first_model(clients[0])
            await self._send_all(arrivals, duration_s, clients)
            await self._finish()
        finally:
            for client in clients:
                await client.aclose()

    async def _send_all(
        self, arrivals: Iterable[Arrival], duration_s: float, clients: list[httpx.AsyncClient]
    ) -> None:
        now = asyncio.get_running_loop().time
        start = now()
        for serial, arrival in enumerate(arrivals):
            if self._away and self.patient:
                left = now()
                await self._until_back(clients[0])
                start += now() - left
            if arrival.at_s >= duration_s:
                await self._pause(start + duration_s - now())
                return
            await self._pause(start + arrival.at_s - now())
            if self.stopping.is_set():
                return
            self.tally.late_s = max(self.tally.late_s, now() - start - arrival.at_s)
            if len(self._open) >= self.concurrency_limit:
                self.tally.unsent += 1
                continue
            self.tally.asked_tokens += arrival.output_tokens
            client = clients[serial % len(clients)]
            task = asyncio.create_task(self._one(arrival, serial, client, start + arrival.at_s))
            self._open.add(task)
            task.add_done_callback(self._open.discard)
            self.tally.open = len(self._open)

    async def _pause(self, seconds: float) -> None:
        """Sleep, but wake when the run is stopped; let others run in any case."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stopping.wait()

    async def _finish(self) -> None:
        end = asyncio.get_running_loop().time() + self.grace_s
        while self._open and not self.stopping.is_set():
            left_s = end - asyncio.get_running_loop().time()
            if left_s <= 0:
                break
            await self._pause(min(0.1, left_s))
        unfinished = list(self._open)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        self.tally.open = 0

    async def _first_model(self, client: httpx.AsyncClient) -> str:
        key = next(iter(self.keys.values()))
        said = ""
        for wait_s in backoff():
            try:
                reply = await client.get("/v1/models", headers=bearer(key), timeout=10)
                offered = reply.json().get("data") or []
                if offered:
                    return str(offered[0]["id"])
                said = f"offers no model: {reply.status_code} {reply.text[:200]}"
            except httpx.TransportError as error:
                said = f"does not answer: {error}"
            except ValueError:
                said = f"answers /v1/models without JSON: {reply.status_code}"
            if not self.patient:
                break
            await self._pause(wait_s)
            if self.stopping.is_set():
                break
        raise LoadError(f"The gateway at {self.url} {said}")

    async def _until_back(self, client: httpx.AsyncClient) -> None:
        for wait_s in backoff():
            await self._pause(wait_s)
            if self.stopping.is_set():
                return
            try:
                await client.get("/livez", timeout=5)
            except httpx.TransportError:
                continue
            self._away = False
            return

    async def _one(
        self, arrival: Arrival, serial: int, client: httpx.AsyncClient, due_at: float
    ) -> None:
        impatient = self._rng.random() < self.hang_up_share
        patience_s = self._rng.expovariate(1 / MEAN_PATIENCE_S) if impatient else None
        try:
            outcome = await self._exchange(arrival, serial, client, due_at, patience_s)
        except asyncio.CancelledError:
            age_s = asyncio.get_running_loop().time() - due_at
            self.tally.add(arrival, Outcome("unfinished", e2e_s=age_s))
            raise
        self._away = outcome.code == "unreachable"
        self.tally.add(arrival, outcome)
        self.tally.open = len(self._open) - 1

    async def _exchange(
        self,
        arrival: Arrival,
        serial: int,
        client: httpx.AsyncClient,
        due_at: float,
        patience_s: float | None,
    ) -> Outcome:
        """Send one request and read its reply.  Times count from the moment it was due.

        Patience is a read time-out: httpx closes the connection then, where cancelling it from
        outside would lose its pool a place for good (httpcore issue 1093).
        """
        headers = bearer(self.keys[arrival.tenant]) | {"x-task-type": arrival.task_type}
        headers["content-type"] = "application/json"
        timeout = httpx.Timeout(10, read=patience_s or MOST_WAIT_S)
        body = body_of(arrival, self.model, serial)
        place = Outcome("failed", "unreachable")
        try:
            async with client.stream(
                "POST", "/v1/chat/completions", content=body, headers=headers, timeout=timeout
            ) as reply:
                place = placed(reply.headers)
                if reply.status_code != 200:
                    await reply.aread()
                    return place._replace(kind="refused", code=code_of(reply))
                return await self._read(reply, place, due_at, patience_s, arrival.stream)
        except httpx.ReadTimeout:
            if patience_s:
                return place._replace(kind="hung_up", code="")
            return place._replace(kind="failed", code="timed_out")
        except (httpx.ConnectError, httpx.ConnectTimeout):
            return place
        except httpx.TransportError:
            return place._replace(kind="failed", code="broken_off")

    async def _read(
        self,
        reply: httpx.Response,
        place: Outcome,
        due_at: float,
        patience_s: float | None,
        stream: bool,
    ) -> Outcome:
        now = asyncio.get_running_loop().time
        ttft_s, tail, leaves_at = None, b"", math.inf
        # httpx declares an iterator and returns a generator, which must be closed when left early
        async with aclosing(cast(AsyncGenerator[bytes, None], reply.aiter_raw())) as pieces:
            async for piece in pieces:
                if ttft_s is None:
                    ttft_s = now() - due_at
                    leaves_at = now() + patience_s if patience_s else math.inf
                if now() > leaves_at:
                    return place._replace(kind="hung_up")
                tail = (tail + piece)[-2048:]
        place = place._replace(ttft_s=ttft_s if stream else None, e2e_s=now() - due_at)
        if not stream:
            return place._replace(kind="ok", code="")
        *_, last, end = [b"", b"", *(event for event in tail.split(b"\n\n") if event.strip())]
        if b'"error"' in last and end.strip() == b"data: [DONE]":
            return place._replace(kind="failed", code=code_in(last.removeprefix(b"data: ")))
        finished = end.strip() == b"data: [DONE]"
        return place._replace(kind="ok" if finished else "failed", code="" if finished else "cut")


def backoff() -> Iterable[float]:
    """Seconds to wait between tries: 0.25, 0.5, 1, 2, then 4 for ever."""
    wait_s = 0.25
    while True:
        yield wait_s
        wait_s = min(4.0, wait_s * 2)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def placed(headers: Mapping[str, str]) -> Outcome:
    """What the gateway's headers say about where the request was put."""
    wait_ms, priority = headers.get("x-laneway-queue-wait-ms"), headers.get("x-laneway-priority")
    return Outcome(
        "failed",
        tier=headers.get("x-laneway-tier", ""),
        priority=int(priority) if priority else None,
        queue_wait_s=int(wait_ms) / 1000 if wait_ms else None,
    )


def code_of(reply: httpx.Response) -> str:
    code = code_in(reply.content)
    return f"http_{reply.status_code}" if code == "error" else code


def code_in(document: bytes) -> str:
    """The ``code`` of an error body in OpenAI's shape; "error" where it has none."""
    try:
        error = json.loads(document)["error"]
        return str(error.get("code") or error.get("type") or "error")
    except (ValueError, TypeError, KeyError, AttributeError):
        return "error"
