"""A model server that says what a test tells it to, over real sockets.

It answers health, models and metrics at once.  A generation waits for the test: it can be given
tokens, finished, refused or broken off; ``automatic`` ones finish by themselves.  The contract
suite holds its shapes against the simulated and the real vLLM.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

MODEL = "qwen"


@dataclass
class Generation:
    """One request that has reached the server."""

    path: str
    headers: dict[str, str]
    body: dict[str, object]
    raw: bytes
    writer: asyncio.StreamWriter
    head_sent: bool = False
    open: bool = True
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def streams(self) -> bool:
        return bool(self.body.get("stream"))

    def write(self, data: bytes) -> None:
        self.writer.write(b"%x\r\n%s\r\n" % (len(data), data))

    def start(self) -> None:
        """Send a stream's head, as vLLM does before it has scheduled anything."""
        if not self.head_sent:
            self.head_sent = True
            self.writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
                b"transfer-encoding: chunked\r\n\r\n"
            )

    def token(self, text: str = "a ") -> None:
        self.start()
        self.write(_event({"choices": [{"index": 0, "delta": {"content": text}}]}))

    def finish(self, prompt_tokens: int = 10, completion_tokens: int = 3) -> None:
        usage = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        }
        if not self.streams:
            choice = {"index": 0, "message": {"role": "assistant", "content": "hello"}}
            self.reply(
                200, {"id": "chatcmpl-1", "choices": [choice], "usage": usage, "model": MODEL}
            )
            return
        self.start()
        self.write(_event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
        self.write(_event({"choices": [], "usage": usage}))
        self.write(b"data: [DONE]\n\n")
        self.writer.write(b"0\r\n\r\n")
        self.over.set()

    def reply(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.writer.write(
            b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
            % (status, len(data), data)
        )
        self.over.set()

    def break_off(self) -> None:
        """Close the connection in the middle of whatever it was at."""
        self.writer.transport.abort()
        self.over.set()


class FakeVLLM:
    def __init__(self) -> None:
        self.generations: list[Generation] = []
        self.automatic = False
        self.status = 200  # another: what every generation is answered with
        self.healthy = True
        self.metrics = ""
        self.server_info: object = None  # closed, as it usually is
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def open(self) -> int:
        """Generations whose caller is still connected and that are not over."""
        return sum(one.open and not one.over.is_set() for one in self.generations)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return  # the other side left, or the test is over
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])
        }
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        known = Generation(path, headers, json.loads(raw) if raw else {}, raw, writer)
        if method == "GET":
            self._tell(known)
            return True
        self.generations.append(known)
        if self.status != 200:
            known.reply(self.status, {"error": {"message": "no", "code": self.status}})
        elif self.automatic:
            known.finish()
        elif known.streams:
            known.start()
        return await self._until_over(known, reader)

    def _tell(self, asked: Generation) -> None:
        if asked.path == "/health":
            asked.reply(200 if self.healthy else 503, "")
        elif asked.path == "/v1/models":
            card = {"id": MODEL, "object": "model", "owned_by": "vllm", "max_model_len": 4096}
            asked.reply(200, {"object": "list", "data": [card]})
        elif asked.path == "/version":
            asked.reply(200, {"version": "0.32.0"})
        elif asked.path.startswith("/server_info"):
            info = self.server_info
            asked.reply(200, info) if info else asked.reply(404, {"detail": "Not Found"})
        else:
            data = self.metrics.encode()
            asked.writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%s"
                % (len(data), data)
            )

    async def _until_over(self, one: Generation, reader: asyncio.StreamReader) -> bool:
        """True when the generation ended by itself, so that the connection may be used again."""
        gone = asyncio.ensure_future(reader.read(1))
        over = asyncio.ensure_future(one.over.wait())
        try:
            await asyncio.wait((gone, over), return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
            finished = not gone.done()
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await gone
        one.open = finished
        return finished and not one.writer.transport.is_closing()


def _event(document: dict[str, object]) -> bytes:
    return b"data: " + json.dumps({"id": "chatcmpl-1", **document}).encode() + b"\n\n"


@contextlib.asynccontextmanager
async def fake_vllm() -> AsyncIterator[FakeVLLM]:
    server = FakeVLLM()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
