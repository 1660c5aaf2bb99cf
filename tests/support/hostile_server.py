"""A server that does what a test tells it to, byte for byte, over real sockets.

A script is an async function of one `Peer`, run for each connection that comes in. When it
returns, the connection is closed.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from gateway.upstream import Origin

Script = Callable[["Peer"], Coroutine[Any, Any, None]]


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.number = number  # of the connection, from 0
        self.received = bytearray()
        self.gone = False  # the client has closed or reset
        self._sock = sock
        self._unread = bytearray()

    async def head(self) -> bytes:
        """Wait for a whole head, and leave it to be read by ``request``."""
        while b"\r\n\r\n" not in self._unread:
            await self._more()
        return bytes(self._unread[: self._unread.index(b"\r\n\r\n") + 4])

    async def request(self) -> bytes:
        """Read one whole request, its head and the body its length promises."""
        head = await self.head()
        lengths = (
            int(line.split(b":")[1])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length:")
        )
        length = len(head) + next(lengths, 0)
        while len(self._unread) < length:
            await self._more()
        request = bytes(self._unread[:length])
        del self._unread[:length]
        return request

    async def _more(self) -> None:
        data = b""
        with suppress(ConnectionError):
            data = await asyncio.get_running_loop().sock_recv(self._sock, 1 << 20)
        if not data:
            self.gone = True
            raise ConnectionResetError("the client has closed")
        self.received += data
        self._unread += data

    async def read_some(self, at_least: int) -> None:
        """Read so many bytes and no request in particular."""
        until = len(self.received) + at_least
        while len(self.received) < until:
            await self._more()

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._sock, data)

    def send_some(self, data: bytes) -> int:
        """Send what the kernel takes right now; 0 when it takes nothing."""
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0

    async def left(self) -> None:
        """Wait until the client has closed or reset the connection."""
        with suppress(ConnectionError):
            while await asyncio.get_running_loop().sock_recv(self._sock, 1 << 20):
                pass
        self.gone = True

    def reset(self) -> None:
        """Close with a reset instead of an end."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            loop = asyncio.get_running_loop()  # which would forget it only later, by its number
            loop.remove_reader(self._sock)
            loop.remove_writer(self._sock)
            self._sock.close()


class HostileServer:
    """Listens on a port of its own while its block runs."""

    def __init__(self, script: Script, *, receive_buffer_bytes: int | None = None) -> None:
        self.peers: list[Peer] = []
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._listener.setblocking(False)
        if receive_buffer_bytes is not None:  # accepted sockets have it too
            size = receive_buffer_bytes
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
        self.origin = Origin("http", "127.0.0.1", self._listener.getsockname()[1])
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._accepting = self._start(self._accept())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        self.stop_listening()
        for peer in self.peers:
            peer.close()
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, ConnectionError):
                raise result  # the script's own mistake, an assertion in it perhaps

    def stop_listening(self) -> None:
        """Refuse whoever comes from now on."""
        self._accepting.cancel()
        if self._listener.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        return task

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(self._listener)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer = Peer(sock, len(self.peers))
            self.peers.append(peer)
            self._start(self._serve(peer))

    async def _serve(self, peer: Peer) -> None:
        try:
            await self._script(peer)
        finally:
            peer.close()


def says(*pieces: bytes) -> Script:
    """Answer every request of every connection with ``pieces``, a moment between them."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            for piece in pieces:
                await peer.send(piece)
                await asyncio.sleep(0)

    return script
