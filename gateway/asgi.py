"""The data plane as an ASGI application: alone here, or mounted before Django by ``dashboard``.

Builds the parts once, on the first event of the process, since not every server has a lifespan.
"""

import asyncio
import contextlib
import gc
import ipaddress
import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dashboard.settings")
django.setup()

import msgspec
from django.conf import settings

from gateway import errors, tracing
from gateway.auth import Directory
from gateway.backends import Fleet
from gateway.core import wire
from gateway.exchange import Receive, Reply, Request, Scope, Send
from gateway.forwarded import behind
from gateway.gauges import StoreGauges
from gateway.metrics import Metrics
from gateway.presence import Presence
from gateway.proxy import Proxy
from gateway.publisher import Listener, Publisher
from gateway.records import Recorder
from gateway.resuming import resume
from gateway.upstream import Upstream

STALE_TICK_S = 5.0
DRAIN_S = 120.0
LAST_WRITE_S = 2.0  # a database that hangs must not keep a gateway from ending
PROBES = ("/livez", "/readyz", "/metrics")


class DataPlane:
    """All running parts of one gateway process, and which paths are theirs."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self._starting: asyncio.Task[None] | None = None
        self.running = False

    @staticmethod
    def serves(path: str) -> bool:
        own = ("/v1/", "/api/v1/requests/")
        return path.startswith(own) or path in PROBES or path in wire.ENDPOINTS

    def listen(self, listener: Listener) -> None:
        """Hand in somebody who wants every frame; before the first event of the process."""
        self._listeners.append(listener)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if not self.running:
            await self.start()
        if scope["path"] not in PROBES:
            await self.proxy(scope, receive, send)
            return
        probes = {"/livez": self._livez, "/readyz": self._readyz, "/metrics": self._metrics}
        probe, reply = probes[scope["path"]], Reply(send)
        try:
            await probe(Request(scope, receive), reply)
        except errors.GatewayError as error:
            await reply.whole(error.status, error.headers(), error.body("openai", ""))

    async def start(self) -> None:
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
        await asyncio.shield(self._starting)

    async def _start(self) -> None:
        self.directory = Directory()
        self.recorder = Recorder()
        self.upstream = Upstream()
        self.fleet = Fleet(settings.LANEWAY_BACKEND_KEY)
        self.metrics = Metrics(self.fleet)
        self.metrics.registry.register(StoreGauges(self.directory, self.recorder))
        self.tracing = tracing.start(settings.LANEWAY_OTLP)
        self.proxy = Proxy(
            *(self.directory, self.fleet, self.upstream, self.metrics, self.recorder, self.tracing)
        )
        self.publisher = Publisher(self.directory, self.fleet, self.recorder, self.proxy.register)
        self.presence = Presence(self.directory)
        self.publisher.listeners += [self.presence.tell, *self._listeners]
        await self.upstream.start()
        self.recorder.start()
        await self.publisher.take_over()
        self._tasks = [
            asyncio.create_task(self.publisher.run()),
            asyncio.create_task(self._cut_the_stuck()),
            asyncio.create_task(self.proxy.lateness.watch()),
            asyncio.create_task(self.proxy.shadow.run()),
            asyncio.create_task(resume(self.fleet)),
        ]
        # What has been loaded stays: the collector need not walk through it again and again, which
        # was a tenth of a request's cost.
        gc.collect()
        gc.freeze()
        self.running = True

    async def stop(self) -> None:
        if not self.running:
            return
        await self.proxy.drain(DRAIN_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.publisher.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WRITE_S):
                await asyncio.gather(self.proxy.shadow.write(), self.presence.leave())
        self.proxy.shadow.close()
        self.presence.close()
        await self.fleet.close()
        await self.upstream.close()
        await self.recorder.close()
        if self.tracing is not None:
            await self.tracing.close()
        self.directory.close()
        self.running = False
        self._starting = None

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        await self.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()  # lifespan.shutdown
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _cut_the_stuck(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1.0)
            self.proxy.cut_the_stuck(loop.time())

    # Probes

    async def _livez(self, request: Request, reply: Reply) -> None:
        await reply.whole(200, {"content-type": "text/plain"}, b"alive\n")

    async def _readyz(self, request: Request, reply: Reply) -> None:
        """Ready means: keys and policy are loaded, the ticker ticks, nobody asked us to stop.
        Backends and the database are told of and do not count: an honest 503 beats a vanished
        service, and without a database all is served by what was read last."""
        ticked_at = self.publisher.ticked_at
        now = asyncio.get_running_loop().time()
        checks = {
            "policy": self.directory.state.policy_version > 0,
            "ticker": ticked_at is not None and now - ticked_at < STALE_TICK_S,
            "not_draining": not self.proxy.draining,
        }
        ready = all(checks.values())
        backends = {
            backend.name: backend.state for pool in self.fleet.views() for backend in pool.backends
        }
        database = {
            "read_s_ago": round(self.directory.age_s, 1),
            "records_waiting": self.recorder.buffered,
            "records_lost": self.recorder.lost,
        }
        body = {"ready": ready, "checks": checks, "backends": backends, "database": database}
        head = {"content-type": "application/json"}
        await reply.whole(200 if ready else 503, head, msgspec.json.encode(body))

    async def _metrics(self, request: Request, reply: Reply) -> None:
        """For an admin key, or an address on the list that came without a proxy between."""
        if not _listed(request):
            self.directory.authenticate(request.headers, "/metrics", request.address)
        head = {"content-type": "text/plain; version=0.0.4; charset=utf-8"}
        await reply.whole(200, head, self.metrics.text())


def _listed(request: Request) -> bool:
    if "x-forwarded-for" in request.headers or "forwarded" in request.headers:
        return False
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(request.address)
        return any(
            address in ipaddress.ip_network(network) for network in settings.LANEWAY_METRICS_ALLOW
        )
    return False


plane = DataPlane()
application = behind(plane, settings.LANEWAY_TRUSTED_PROXIES)
