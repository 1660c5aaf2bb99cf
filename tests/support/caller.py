"""A client of an ASGI application that can hang up at any line."""

import asyncio
import json
from types import TracebackType
from typing import Any

from gateway.exchange import Message


class Call:
    """One request in flight: ``async with Call(app, …) as call``; leaving the block hangs up."""

    def __init__(
        self,
        app: Any,
        path: str,
        body: object = None,
        *,
        method: str = "POST",
        headers: dict[str, str] | None = None,
        key: str = "",
    ) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode() if body else b""
        sent = {"host": "gateway", **(headers or {})}
        if key:
            sent["authorization"] = f"Bearer {key}"
        self._scope = {
            "type": "http",
            "method": method,
            "path": path.partition("?")[0],
            "query_string": path.partition("?")[2].encode(),
            "client": ("127.0.0.1", 1),
            "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in sent.items()],
        }
        self._app = app
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        self._incoming.put_nowait({"type": "http.request", "body": raw, "more_body": False})
        self.status = 0
        self.headers: dict[str, str] = {}
        self.content = b""
        self.ended = False

    async def __aenter__(self) -> "Call":
        self._task = asyncio.create_task(self._app(self._scope, self._incoming.get, self._send))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.hang_up()
        await self._task

    def hang_up(self) -> None:
        self._incoming.put_nowait({"type": "http.disconnect"})

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {k.decode(): v.decode("latin-1") for k, v in message["headers"]}
        else:
            self.content += message.get("body", b"")
            self.ended = not message.get("more_body", False)

    async def done(self) -> "Call":
        await asyncio.wait_for(asyncio.shield(self._task), 20)
        return self

    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def events(self) -> list[str]:
        return [event for event in self.content.decode().split("\n\n") if event]
