"""What a proxy in Python costs at least: asyncio protocols on both sides, bytes passed on as they come.

    floor.py PORT UPSTREAM_PORT KEY

It checks the key and nothing else: no JSON, no timeouts, no limits, no back-pressure.  A yardstick, not a gateway.
"""

import asyncio
import sys

try:
    from uvloop import run
except ImportError:
    from asyncio import run

AUTHORIZATION = b"\r\nauthorization: bearer %s\r\n" % sys.argv[3].lower().encode()
idle = []


def body_length(head):
    start = head.find(b"content-length:")
    return None if start < 0 else int(head[start + 15 :].split(b"\r\n", 1)[0])


class Upstream(asyncio.Protocol):
    client = None

    def connection_made(self, transport):
        self.transport = transport

    def send(self, client, request):
        self.client, self.left, self.tail, self.started = client, None, b"", False
        self.transport.write(request)

    def data_received(self, data):
        self.client.transport.write(data)
        if not self.started:  # the head of this kit's upstream comes whole
            self.started, end = True, data.find(b"\r\n\r\n") + 4
            length = body_length(data[:end].lower())
            self.left = None if length is None else length + end
        if self.left is None:
            self.tail = (self.tail + data[-7:])[-7:]
        else:
            self.left -= len(data)
        if self.left == 0 or self.tail == b"\r\n0\r\n\r\n":
            client, self.client, client.upstream = self.client, None, None
            idle.append(self)
            client.data_received(b"")

    def connection_lost(self, exc):
        if self in idle:
            idle.remove(self)
        elif self.client:
            self.client.transport.abort()


class Client(asyncio.Protocol):
    upstream = dialling = None
    buffer = b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n") + 4
        if self.upstream or self.dialling or end < 4:
            return
        head = self.buffer[:end].lower()
        size = end + (body_length(head) or 0)
        if len(self.buffer) < size:
            return
        request, self.buffer = self.buffer[:size], self.buffer[size:]
        if AUTHORIZATION not in head:
            self.transport.write(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")
        elif idle:
            self.upstream = idle.pop()
            self.upstream.send(self, request)
        else:
            self.dialling = asyncio.create_task(self.dial(request))

    async def dial(self, request):
        _, self.upstream = await asyncio.get_running_loop().create_connection(
            Upstream, "127.0.0.1", int(sys.argv[2])
        )
        self.dialling = None
        self.upstream.send(self, request)
        if self.transport.is_closing():
            self.upstream.transport.abort()

    def connection_lost(self, exc):
        if self.upstream:
            self.upstream.transport.abort()


async def serve():
    server = await asyncio.get_running_loop().create_server(
        Client, "127.0.0.1", int(sys.argv[1]), backlog=4096
    )
    await server.serve_forever()


run(serve())
