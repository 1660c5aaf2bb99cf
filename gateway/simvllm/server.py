"""Runs the simulated vLLM under uvicorn, with vLLM's settings, until a signal."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socket import socket

import uvicorn

from gateway.simvllm.app import SimulatedVLLM
from gateway.simvllm.options import KEEP_ALIVE_S, Options


class Server(uvicorn.Server):
    """Ends every stream with the reason "abort" when told to stop, as vLLM does."""

    def __init__(self, vllm: SimulatedVLLM, say: Callable[[str], None] | None = None) -> None:
        options = vllm.options
        super().__init__(
            uvicorn.Config(
                vllm,
                host=options.host,
                port=options.port,
                log_level="warning",
                access_log=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=2,
                ws="none",
            )
        )
        self.vllm = vllm
        self._say = say

    @property
    def port(self) -> int:
        """The port it listens on, which matters after asking for port 0."""
        port: int = self.servers[0].sockets[0].getsockname()[1]
        return port

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._say:
            options = self.vllm.options
            self._say(
                f"simulated vLLM: {options.model} on http://{options.host}:{self.port} "
                f"({options.engine.max_num_seqs} at once, {options.engine.scheduling_policy}, "
                f"speed {options.speed:g})"
            )

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        self.vllm.pacer.abort_all()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Unlike uvicorn's own, does not raise the signal again: a stop that was asked for is
        an exit with status 0."""
        loop = asyncio.get_running_loop()
        wanted = (signal.SIGINT, signal.SIGTERM)
        for number in wanted:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in wanted:
                loop.remove_signal_handler(number)


def serve(options: Options, say: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; ``say`` gets one line when the port is open."""
    server = Server(SimulatedVLLM(options), say)
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(server.serve())
