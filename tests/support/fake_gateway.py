"""A gateway that says what a test tells it to, over real sockets on loopback.

It speaks as much HTTP/1.1 as httpx sends, and answers ``/v1/models``, ``/livez`` and
``/v1/chat/completions`` with Laneway's headers.  What happens to a task type is a ``Behaviour``.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

TOKEN = b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n'


class Behaviour(NamedTuple):
    tier: str = "standard"
    priority: int = 0
    wait_ms: int = 0  # said in the header, not spent
    refuse: tuple[int, str] | None = None  # status and code
    hold_s: float = 0.0  # spent before the head
    held: asyncio.Event | None = None  # awaited before the head
    tokens: int = 3
    gap_s: float = 0.0
    last: bytes = b"data: [DONE]\n\n"
    break_off: bool = False  # in mid-stream


@dataclass
class FakeGateway:
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    models: tuple[str, ...] = ("qwen",)
    port: int = 0
    calls: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)
    open: int = 0  # chat calls being answered
    most_open: int = 0
    hung_up: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator["FakeGateway"]:
        server = await asyncio.start_server(self._converse, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        tasks = self._tasks = set[asyncio.Task[None]]()
        try:
            yield self
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            while await self._answer_next(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client left, or the test is over
        finally:
            writer.close()

    async def _answer_next(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request; False when the connection is of no more use."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        path = head[0].split(" ")[1]
        if path == "/v1/models":
            document = {"object": "list", "data": [{"id": model} for model in self.models]}
            writer.write(whole(200, document))
        elif path == "/livez":
            writer.write(whole(200, {}))
        else:
            self.calls.append((headers, json.loads(body)))
            await self._chat(headers, json.loads(body), reader, writer)
            return False  # the watch for hang-ups may have swallowed a byte
        return True

    async def _chat(
        self,
        headers: dict[str, str],
        call: dict[str, Any],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        behaviour = self.behaviours.get(headers["x-task-type"], Behaviour())
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        leaving = asyncio.ensure_future(reader.read(1))  # only an end can come now
        answering = asyncio.ensure_future(self._reply(behaviour, call, writer))
        try:
            await asyncio.wait([leaving, answering], return_when=asyncio.FIRST_COMPLETED)
            self.hung_up += not answering.done()
        finally:
            self.open -= 1
            for future in (leaving, answering):
                future.cancel()
            await asyncio.gather(leaving, answering, return_exceptions=True)

    async def _reply(
        self, behaviour: Behaviour, call: dict[str, Any], writer: asyncio.StreamWriter
    ) -> None:
        await asyncio.sleep(behaviour.hold_s)
        if behaviour.held:
            await behaviour.held.wait()
        placed = {
            "x-laneway-tier": behaviour.tier,
            "x-laneway-priority": str(behaviour.priority),
            "x-laneway-queue-wait-ms": str(behaviour.wait_ms),
            "connection": "close",
        }
        if behaviour.refuse:
            status, code = behaviour.refuse
            writer.write(whole(status, {"error": {"message": "no", "code": code}}, placed))
        elif not call["stream"]:
            writer.write(whole(200, {"choices": []}, placed))
        else:
            kind = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
            writer.write(head_of(200, placed | kind))
            for _ in range(behaviour.tokens):
                writer.write(chunk(TOKEN))
                await asyncio.sleep(behaviour.gap_s)
            if not behaviour.break_off:
                writer.write(chunk(behaviour.last) + b"0\r\n\r\n")


def chunk(event: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(event), event) if event else b""


def head_of(status: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} OK", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def whole(status: int, document: object, headers: dict[str, str] | None = None) -> bytes:
    body = json.dumps(document).encode()
    sized = {"content-type": "application/json", "content-length": str(len(body))}
    return head_of(status, sized | (headers or {})) + body
