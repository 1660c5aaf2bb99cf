"""The little of ASGI that the simulated vLLM needs: a request, a reply, a hang-up.

Kept apart from the gateway's own, on purpose: a stand-in that shares the code under test would
hide its mistakes.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = Sequence[tuple[str, str]]


class Refused(Exception):
    """An answer that is an error, as vLLM words it.  ``param`` names the field at fault.

    What pydantic finds has OpenAI's shape on every path, Anthropic's too.
    """

    def __init__(
        self,
        status: int,
        message: str,
        type: str = "BadRequestError",
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.type, self.param = status, message, type, param

    def body(self, path: str) -> dict[str, Any]:
        if path.startswith("/v1/messages") and self.type != "Bad Request":
            return {"type": "error", "error": {"type": self.type, "message": self.message}}
        fault = {"message": self.message, "type": self.type, "param": self.param}
        return {"error": {**fault, "code": self.status}}


def invalid(field: str, kind: str, message: str, given: object) -> Refused:
    """A 400 with the text that pydantic's finding has in vLLM; no ``field``: the body itself."""
    place = f"body.{field}" if field else "body"
    finding = {"type": kind, "loc": place, "msg": message, "input": given}
    return Refused(400, f"1 validation error:\n  {finding}", "Bad Request", place)


def unfit(param: str, message: str, given: object = None) -> Refused:
    """A 400 for what pydantic let pass and vLLM's own checks did not."""
    value = "" if given is None else f", value={given}"
    return Refused(400, f"{message} (parameter={param}{value})", param=param)


@dataclass(slots=True)
class Request:
    method: str
    path: str
    query: str
    headers: dict[str, str]
    raw: bytes = b""

    def json(self) -> dict[str, Any]:
        """Raises Refused (400) for what is no JSON object or is not declared as JSON."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            text = "Unsupported Media Type: Only 'application/json' is allowed"
            raise Refused(400, f"1 validation error:\n  {text}", "Bad Request")
        try:
            body = msgspec.json.decode(self.raw)
        except msgspec.DecodeError as error:
            place = str(len(self.raw))
            raise invalid(place, "json_invalid", "JSON decode error", {}) from error
        if not isinstance(body, dict):
            what = "Input should be a valid dictionary or object to extract fields from"
            raise invalid("", "model_attributes_type", what, body)
        return body


@dataclass(slots=True)
class Reply:
    send: Send
    headers: Headers = ()
    status: int = 0

    async def json(self, status: int, body: object) -> None:
        await self.plain(status, "application/json", msgspec.json.encode(body))

    async def plain(
        self, status: int, content_type: str, body: bytes, headers: Headers = ()
    ) -> None:
        kind = [("content-type", content_type)] if body else []
        await self._start(status, [("content-length", str(len(body))), *kind, *headers])
        await self.send({"type": "http.response.body", "body": body})

    async def start_stream(self) -> None:
        """The head goes out at once, however long the request will wait."""
        await self._start(200, [("content-type", "text/event-stream; charset=utf-8")])

    async def write(self, chunk: bytes) -> None:
        await self.send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self) -> None:
        await self.send({"type": "http.response.body", "body": b""})

    async def _start(self, status: int, headers: Headers) -> None:
        self.status = status
        every = [*headers, ("vary", "Origin"), *self.headers]
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in every]
        await self.send({"type": "http.response.start", "status": status, "headers": raw})


def event(body: object, name: str = "") -> bytes:
    """One server-sent event; ``name`` for the families that name theirs."""
    named = f"event: {name}\n".encode() if name else b""
    return named + b"data: " + msgspec.json.encode(body) + b"\n\n"


DONE = b"data: [DONE]\n\n"


async def read_body(receive: Receive) -> bytes | None:
    """The whole body, or None when the client hung up before its end."""
    chunks = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks)


async def until_hangup(receive: Receive, answer: Awaitable[None]) -> bool:
    """Wait for ``answer``; cancel it when the client hangs up first.

    Returns:
        Whether the answer was given.
    """
    answering = asyncio.ensure_future(answer)
    leaving = asyncio.ensure_future(_hangup(receive))
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            await answering
            return True
        return False
    finally:
        for task in (answering, leaving):
            task.cancel()
        await asyncio.gather(answering, leaving, return_exceptions=True)


async def _hangup(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
