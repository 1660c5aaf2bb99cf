"""Calls through a started Laneway, whole and streamed, and what its live frame says meanwhile."""

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import httpx

from tests.support.vllm_contract import pause

HELLO = [{"role": "user", "content": "Hello"}]
PATIENCE_S = 120  # the machine may be busy; nothing here is judged by its speed


def chat(model: str = "tiny", tokens: int = 8, **fields: Any) -> dict[str, Any]:
    """A chat of exactly so many tokens."""
    exact = {"max_tokens": tokens, "ignore_eos": True}
    return {"model": model, "messages": HELLO, **exact, **fields}


class Gateway:
    def __init__(self, address: str, key: str, admin_key: str) -> None:
        self.address = address
        self.headers = {"authorization": f"Bearer {key}"}
        self._admin = {"authorization": f"Bearer {admin_key}"}
        self._http = httpx.Client(base_url=address, trust_env=False, timeout=PATIENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def post(self, path: str, body: object, **headers: str) -> httpx.Response:
        return self._http.post(path, json=body, headers=self.headers | headers)

    def chat(self, **fields: Any) -> httpx.Response:
        return self.post("/v1/chat/completions", chat(**fields))

    def models(self) -> list[str]:
        listing = self._http.get("/v1/models", headers=self.headers).json()
        return [card["id"] for card in listing["data"]]

    def frame(self) -> dict[str, Any]:
        answer = self._http.get("/api/v1/live", headers=self._admin)
        frame: dict[str, Any] = answer.raise_for_status().json()
        return frame

    def backend(self, model: str) -> dict[str, Any]:
        """The backend of the pool that serves ``model``, as the frame shows it."""
        pools = self.frame()["pools"]
        return next(pool["backends"][0] for pool in pools if model in pool["models"])

    def until(self, condition: Callable[[], object], pause_s: float = 0.1) -> None:
        """Wait for what happens in other processes.

        Raises:
            AssertionError: it did not in two minutes.
        """
        give_up_at = time.perf_counter() + PATIENCE_S
        while not _holds(condition):
            assert time.perf_counter() < give_up_at, f"not within {PATIENCE_S} s"
            pause(pause_s)

    def caller(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.address, headers=self.headers, trust_env=False, timeout=PATIENCE_S
        )


def _holds(condition: Callable[[], object]) -> bool:
    try:
        return bool(condition())
    except (httpx.HTTPError, KeyError, StopIteration):
        return False  # not there yet


class Race:
    """Streams side by side; ``started`` and ``ended`` are their names in order of first and last
    tokens, which is the order the engine took them in."""

    def __init__(self, client: httpx.AsyncClient, path: str = "/v1/chat/completions") -> None:
        self._client, self._path = client, path
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.started: list[str] = []
        self.ended: list[str] = []
        self.reasons: dict[str, str] = {}

    def enter(self, name: str, body: dict[str, Any], **headers: str) -> None:
        self._tasks[name] = asyncio.create_task(self._run(name, body, headers))

    async def _run(self, name: str, body: dict[str, Any], headers: dict[str, str]) -> None:
        asked = {**body, "stream": True}
        async with self._client.stream("POST", self._path, json=asked, headers=headers) as answer:
            if answer.is_error:
                raise AssertionError((await answer.aread()).decode())
            self.reasons[name] = answer.headers.get("x-laneway-reason", "")
            async for line in answer.aiter_lines():
                if line.startswith("data: ") and name not in self.started:
                    self.started.append(name)
        self.ended.append(name)

    async def has_started(self, *names: str) -> None:
        await self.until(lambda: set(names) <= set(self.started))

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._raise_failures()
                await asyncio.sleep(0.05)

    def _raise_failures(self) -> None:
        for task in self._tasks.values():
            if task.done() and not task.cancelled():
                task.result()

    async def over(self) -> None:
        await asyncio.gather(*self._tasks.values())

    async def leave(self, *names: str) -> None:
        """Hang up."""
        for name in names:
            self._tasks[name].cancel()
        await asyncio.gather(*(self._tasks.pop(name) for name in names), return_exceptions=True)
