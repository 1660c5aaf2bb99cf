"""The fleet: which model servers are configured, and what each says of itself when asked.

Health, discovery and metrics go by httpx, off the token path, each with a time-out.  What follows
from the answers is ``pools``'s business.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable

import httpx
import msgspec

from gateway import errors
from gateway.backend import Backend, Cards
from gateway.core.canary import Canary
from gateway.core.ops import RemoveBackend
from gateway.core.policy import Policy
from gateway.core.selection import crowd
from gateway.core.snapshot import PoolView, SchedulingPolicy
from gateway.core.witness import Witness
from gateway.models import BackendRow
from gateway.pools import HEAD, Pool
from gateway.scrape import read_figures
from gateway.selfreport import PATH, read_models, read_server_info
from gateway.upstream import NotConnected, Origin, UpstreamError

logger = logging.getLogger(__name__)

DISCOVERY_S = 30.0
TIMEOUT_S = 2.0
MOST_ANSWER_S, MOST_ANSWER_BYTES = 5.0, 4 * 1024 * 1024  # a vLLM's metrics: 0.1 MB
FAILURES_TO_DOWN = 2
PROBE_TIMEOUT_S = 10.0
PROBE_PRIORITY = -10  # in vLLM's polarity: before everything
Allowed = Callable[[str], bool]


class Fleet:
    """All pools, kept in step with the configuration and with what the servers say."""

    def __init__(self, api_key: str = "") -> None:
        self.pools: dict[str, Pool] = {}
        self._api_key = api_key
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._http = httpx.AsyncClient(
            timeout=TIMEOUT_S, limits=httpx.Limits(max_connections=20), trust_env=False
        )

    async def close(self) -> None:
        for watch in self._watches.values():
            watch.cancel()
        await asyncio.gather(*self._watches.values(), return_exceptions=True)
        await self._http.aclose()

    # Configuration

    def configure(
        self,
        rows: Iterable[BackendRow],
        policy: Policy,
        version: int,
        canary: Canary | None = None,
    ) -> None:
        """Take over what was changed: new backends are watched, vanished ones are let go."""
        wanted = {row.name: row for row in rows}
        for pool in self.pools.values():
            for backend in list(pool.backends.values()):
                row = wanted.get(backend.name)
                if row is None or (row.pool, row.url) != (backend.row.pool, backend.row.url):
                    self._let_go(pool, backend)
                elif row != backend.row:
                    backend.row = row
                    pool.steering.share_out()
        for row in wanted.values():
            if row.pool not in self.pools:
                self.pools[row.pool] = Pool(row.pool, policy, version)
                if canary:
                    self.pools[row.pool].edit(policy, version, canary)
            if row.name not in self.pools[row.pool].backends:
                self._take_in(self.pools[row.pool], row)

    def edit(self, policy: Policy, version: int, canary: Canary | None = None) -> None:
        for pool in self.pools.values():
            pool.edit(policy, version, canary)

    def _take_in(self, pool: Pool, row: BackendRow) -> None:
        backend = Backend(row, Origin.parse(row.url), self._api_key)
        pool.backends[row.name] = backend
        pool.steering.share_out()
        self._watches[row.name] = asyncio.create_task(self._watch(pool, backend))

    def _let_go(self, pool: Pool, backend: Backend) -> None:
        self._watches.pop(backend.name).cancel()
        del pool.backends[backend.name]
        pool.queue.apply([RemoveBackend(backend.name)])
        pool.steering.share_out()
        pool.watch_darkness()

    # What there is

    def views(self, head: int = HEAD) -> list[PoolView]:
        return [pool.view(head) for pool in self.pools.values()]

    def crowds(self) -> dict[tuple[str, str, str], int]:
        """How many wait, by pool, tier and tenant."""
        return {
            (name, *place): waiting
            for name, pool in self.pools.items()
            for place, waiting in crowd(pool.queue.scheduler).items()
        }

    def pool_of(self, model: str, allowed: Allowed) -> Pool:
        """The pool that serves ``model``.  A model no server has named yet may still come up
        with one that was never reached, so that is a 503 and not a 404."""
        if allowed(model):
            for pool in self.pools.values():
                if any(model in backend.models for backend in pool.backends.values()):
                    return pool
            backends = [one for pool in self.pools.values() for one in pool.backends.values()]
            if not all(backend.seen for backend in backends) or not backends:
                raise errors.no_backend(model)
        raise errors.model_not_found(model, sorted(filter(allowed, self._cards())))

    def models_body(self, model: str, allowed: Allowed) -> bytes:
        """The list of models a key may use, or the card of one of them."""
        cards = {name: card for name, card in sorted(self._cards().items()) if allowed(name)}
        if not model:
            return msgspec.json.encode({"object": "list", "data": list(cards.values())})
        if model not in cards:
            raise errors.model_not_found(model, list(cards))
        return msgspec.json.encode(cards[model])

    def _cards(self) -> Cards:
        cards: Cards = {}
        for pool in self.pools.values():
            cards |= pool.models()
        return cards

    # Health

    def failed(self, pool: Pool, backend: Backend, error: UpstreamError) -> None:
        """A request met a failure: count it, stop sending to a server that cannot be reached, and
        ask it at once how it is."""
        logger.warning("backend %s: %s", backend.name, error)
        pool.steering.failed(backend)
        if isinstance(error, NotConnected):
            self._down(pool, backend, str(error))
        backend.wake.set()

    def _down(self, pool: Pool, backend: Backend, error: str) -> None:
        backend.error = error
        if backend.up:
            logger.warning("backend %s is down: %s", backend.name, error)
            pool.steering.went_down(backend)

    async def _watch(self, pool: Pool, backend: Backend) -> None:
        while True:
            try:
                shown = await self._ask(backend)
            except (httpx.HTTPError, ValueError) as error:
                backend.failures += 1
                if backend.failures >= FAILURES_TO_DOWN or isinstance(error, httpx.ConnectError):
                    self._down(pool, backend, _sentence(error))
            else:
                backend.failures = 0
                if not backend.up:
                    logger.info("backend %s is up: %s", backend.name, ", ".join(backend.models))
                    backend.witness = Witness()  # it may have come back with other settings
                    pool.steering.came_up(backend)
                if backend.breaker.probe_due(pool.queue.now_ms()):
                    await self._probe(pool, backend)
                pool.steering.polled(backend, shown)
            pool.watch_darkness()
            await _either(backend.wake, backend.law.poll_s)

    async def _ask(self, backend: Backend) -> bool:
        """One round of questions; whether the server showed its metrics.  It is healthy when it
        says so: a server whose figures are away is still served."""
        now = asyncio.get_running_loop().time()
        await self._fetch(backend, "/health")
        if not backend.up or now - backend.discovered_at > DISCOVERY_S:
            backend.models = read_models(_decoded(await self._fetch(backend, "/v1/models")))
            backend.told_policy = await self._told_policy(backend)
            backend.discovered_at = now
        try:
            asked_at = asyncio.get_running_loop().time()
            metrics = await self._fetch(backend, "/metrics")
            figures = read_figures(metrics.decode(errors="replace"), now)
        except (httpx.HTTPError, ValueError):
            return False
        backend.saw(figures)
        backend.witness.polled(figures.scrape.waiting, int(asked_at * 1000))
        return figures.kv_tokens is not None or b"vllm:" in metrics

    async def _told_policy(self, backend: Backend) -> SchedulingPolicy:
        """Most servers keep /server_info closed, which is no fault."""
        try:
            return read_server_info(_decoded(await self._fetch(backend, PATH))).policy
        except (httpx.HTTPError, ValueError):
            return "unknown"

    async def _fetch(self, backend: Backend, path: str) -> bytes:
        """What a server answers, if that comes to an end: httpx bounds the silence before each
        piece alone, and cancelled from outside it would lose a connection (httpcore issue 1093).

        Raises:
            httpx.HTTPError: no answer, or no good one.
            ValueError: too much of it, or too slowly.
        """
        loop = asyncio.get_running_loop()
        give_up_at, url = loop.time() + MOST_ANSWER_S, backend.row.url + path
        async with self._http.stream("GET", url, headers=_authorization(backend)) as answer:
            answer.raise_for_status()
            body = b""
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > MOST_ANSWER_BYTES or loop.time() > give_up_at:
                    raise ValueError(f"its answer to {path} does not come to an end")
        return body

    async def _probe(self, pool: Pool, backend: Backend) -> None:
        """Half open: one tiny completion decides.  A server that has no completions but says so
        is well enough."""
        model = next(iter(backend.models), "")
        body = {"model": model, "prompt": "a", "max_tokens": 1, "priority": PROBE_PRIORITY}
        try:
            answer = await self._http.post(
                f"{backend.row.url}/v1/completions",
                json=body,
                headers=_authorization(backend),
                timeout=PROBE_TIMEOUT_S,
            )
        except httpx.HTTPError:
            pool.steering.failed(backend)
            return
        refuses_us = answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)
        if answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR and not refuses_us:
            pool.steering.succeeded(backend)
        else:
            pool.steering.failed(backend)


def _authorization(backend: Backend) -> dict[str, str]:
    return {"authorization": f"Bearer {backend.api_key}"} if backend.api_key else {}


def _decoded(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except RecursionError:
        raise ValueError("its answer is nested beyond reading") from None


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, at most so long; and forget it."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
    event.clear()


def _sentence(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"answered {error.response.status_code} to {error.request.url.path}"
    if isinstance(error, httpx.TimeoutException):
        return f"no answer within {TIMEOUT_S:g} s"
    return str(error) or type(error).__name__
