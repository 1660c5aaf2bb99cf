"""Where messages go in tests: a web server and a mail server that take, refuse, reset or hang."""

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope


class Received(NamedTuple):
    path: str
    headers: dict[str, str]  # names in lower case
    body: str


class WebReceiver:
    """Answers with what ``answers`` holds, one a request, then with 200.

    An answer is a status, a status with headers, "reset", or "hang" (until ``release``).  What was
    answered with 2xx counts as ``taken``.
    """

    def __init__(self) -> None:
        self.answers: list[int | str | tuple[int, dict[str, str]]] = []
        self.seen: list[Received] = []
        self.taken: list[Received] = []
        self.released = threading.Event()
        self.waiting = threading.Event()  # one hangs

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        length = int(to.headers.get("content-length") or 0)
        body = to.rfile.read(length).decode()
        got = Received(to.path, {k.lower(): v for k, v in to.headers.items()}, body)
        self.seen.append(got)
        answer = self.answers.pop(0) if self.answers else 200
        if answer == "hang":
            self.waiting.set()
            self.released.wait(10)
            return
        if answer == "reset":
            linger = struct.pack("ii", 1, 0)  # closing sends RST
            to.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            to.connection.close()
            return
        status, headers = answer if isinstance(answer, tuple) else (int(answer), {})
        if status < 300:
            self.taken.append(got)
        to.send_response(status)
        for name, value in headers.items():
            to.send_header(name, value)
        to.send_header("content-length", "2")
        to.end_headers()
        to.wfile.write(b"ok")


@contextmanager
def web_receiver() -> Iterator[tuple[WebReceiver, int]]:
    receiver = WebReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            try:
                receiver.answer(self)
            finally:
                self.close_connection = True

        do_GET = do_POST

        def finish(self) -> None:
            if self.connection.fileno() >= 0:
                super().finish()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield receiver, server.server_port
    finally:
        receiver.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


class MailReceiver:
    """Takes mail, but answers the next with what ``refusals`` holds; never at all for "hang"."""

    def __init__(self) -> None:
        self.refusals: list[str] = []
        self.taken: list[Envelope] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.refusals:
            refusal = self.refusals.pop(0)
            if refusal == "hang":
                await asyncio.Event().wait()
            return refusal
        self.taken.append(envelope)
        return "250 OK"


@contextmanager
def mail_receiver() -> Iterator[tuple[MailReceiver, int]]:
    receiver = MailReceiver()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    controller = Controller(receiver, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield receiver, port
    finally:
        controller.stop()
