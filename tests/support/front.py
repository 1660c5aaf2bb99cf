"""One connection to a gateway through its own server class, in the test's event loop."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from gateway import protocol
from gateway.exchange import DIRECT
from tests.support.clock import until


@dataclass
class Front:
    """One connection to the gateway: the server's end, and the client's."""

    server: protocol.Protocol
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


@asynccontextmanager
async def front_of(gateway: Any) -> AsyncIterator[Front]:
    seen = []

    async def app(scope, receive, send):
        seen.append(DIRECT in scope)
        await gateway.proxy(scope, receive, send)

    config = uvicorn.Config(app, http="gateway.protocol:Protocol", ws="none", log_config=None)
    config.load()
    state, served = ServerState(), []

    def serve():
        served.append(protocol.Protocol(config, state, {}))
        return served[-1]

    server = await asyncio.get_running_loop().create_server(serve, host="127.0.0.1", port=0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await until(lambda: served)
    yield Front(served[0], reader, writer)
    writer.close()
    server.close()
    await until(lambda: not state.connections)
    assert seen
    assert all(seen)


def ask(gateway: Any, front: Front, **body: object) -> None:
    document = {"model": "qwen", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    text = json.dumps(document | body).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nx-task-type: chat\r\n"
    head += f"authorization: Bearer {gateway.keys['acme']}\r\ncontent-length: {len(text)}\r\n\r\n"
    front.writer.write(head.encode() + text)


async def read_until(front: Front, end: bytes) -> bytes:
    return await asyncio.wait_for(front.reader.readuntil(end), 5)


async def read_answer(front: Front) -> tuple[int, bytes]:
    """The next answer's status and its body, out of its chunks."""
    head = (await read_until(front, b"\r\n\r\n")).lower()
    status = int(head.split()[1])
    if b"content-length: " in head:
        size = int(head.partition(b"content-length: ")[2].split()[0])
        return status, await asyncio.wait_for(front.reader.readexactly(size), 5)
    body = b""
    while size := int(await read_until(front, b"\r\n"), 16):
        body += (await asyncio.wait_for(front.reader.readexactly(size + 2), 5))[:-2]
    await read_until(front, b"\r\n")
    return status, body
