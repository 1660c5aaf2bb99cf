# ruff: noqa: E402, TID251 -- the settings are named, and the apps loaded, before models are imported
"""The site with its pages and websocket, and made-up frames instead of a gateway: an ASGI application.

``LANEWAY_HOME/scene`` says what to play: ``busy``, ``idle`` (no request ever came), ``calm``
(light traffic), ``silent`` (nothing is published), ``paused``, ``fcfs``; ``keep`` is ``busy`` on
top of the samples that are there, as after a restart.
"""

import asyncio
import os
import time
from copy import deepcopy
from datetime import UTC, datetime
from functools import partial
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dashboard.settings")

from django.core.asgi import get_asgi_application

pages = get_asgi_application()

import msgspec
from asgiref.sync import sync_to_async
from channels.auth import AuthMiddlewareStack
from channels.layers import get_channel_layer
from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.conf import settings

from dashboard.alerts.watch import Watch
from dashboard.live.routing import websocket_urlpatterns
from gateway import newest, questions
from gateway.aside import Chore
from gateway.core.snapshot import Frame, encode
from gateway.models import PolicyVersion, QueueSample
from tests.support.frames import Traffic, explained

WARM_UP_S = 900
CALM = {"realtime": 0.8, "critical": 1.6, "standard": 1.1, "batch": 0.3}

sockets = AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns)))
_player: asyncio.Task[None] | None = None
_begun: dict[str, tuple[Traffic, list[Frame]]] = {}


async def application(scope: Any, receive: Any, send: Any) -> None:
    global _player
    _player = _player or asyncio.create_task(_play())
    await (sockets if scope["type"] == "websocket" else pages)(scope, receive, send)


def scene() -> str:
    path = settings.LANEWAY_HOME / "scene"
    return path.read_text().strip() if path.exists() else "busy"


def traffic(name: str) -> Traffic:
    if name == "idle":
        return Traffic(per_s={})
    if name == "calm":
        return Traffic(per_s=CALM)
    return Traffic(paused=("batch",) if name == "paused" else (), fcfs=name == "fcfs")


async def _play() -> None:
    """A frame a second; ``LANEWAY_HOME/playing`` tells which scene is on."""
    newest = await PolicyVersion.objects.order_by("-number").afirst()
    on, line, watch, judging = "", Traffic(per_s={}), Watch(), Chore("judging")
    while True:
        name = scene()
        if name != on:
            if name not in ("silent", "keep"):
                line = await _begin(name)
            elif name == "keep":
                line = traffic("busy")
            on = name
        line.second()
        if name != "silent":
            frame = line.frame(time.time(), version=newest.number if newest else 0)
            await _publish(frame)
            await judging.run(partial(watch, frame))
            await _answer(line)
            await QueueSample.objects.abulk_create(_samples(frame, frame.at))
        (settings.LANEWAY_HOME / "playing").write_text(on)
        await asyncio.sleep(1 - time.time() % 1)


async def _publish(frame: Frame) -> None:
    text = encode(frame).decode()
    await sync_to_async(newest.leave)(text, {})
    layer: Any = get_channel_layer()
    await layer.group_send("live", {"type": "live.frame", "text": text})


async def _answer(line: Traffic) -> None:
    """What pages asked for beside the frame, as the gateway's ticker would."""
    wanted, ids = await sync_to_async(questions.asked)()
    rows = {row.id: row for row in line.frame(0.0, head=questions.LINE_MOST).pools[0].head}
    waiting = msgspec.json.encode({"default": list(rows.values())}) if wanted else None
    found = {id: msgspec.json.encode(explained(rows[id]) if id in rows else {}) for id in ids}
    await sync_to_async(questions.answer)(waiting, found)


async def _begin(name: str) -> Traffic:
    """The scene after a quarter of an hour, whose samples are stored as the gateway would have
    done; worked out once, which takes seconds."""
    if name not in _begun:
        line, frames = traffic(name), []
        for second in range(0 if name == "idle" else WARM_UP_S):
            line.second()
            frames.append(line.frame(second, head=0))
            await asyncio.sleep(0)
        _begun[name] = line, frames
    line, frames = deepcopy(_begun[name][0]), _begun[name][1]
    await QueueSample.objects.all().adelete()
    at = time.time()
    samples = [s for frame in frames for s in _samples(frame, at - len(frames) + frame.at)]
    while samples:  # storing takes seconds, which are past then as well
        await QueueSample.objects.abulk_create(samples, batch_size=500)
        samples = []
        while time.time() - at > 1:
            at += 1
            line.second()
            samples += _samples(line.frame(at), at)
    return line


def _samples(frame: Frame, at: float) -> list[QueueSample]:
    return [
        QueueSample(
            pool=pool.name,
            tier=tier.name,
            at=datetime.fromtimestamp(at, UTC),
            waiting=tier.waiting,
            in_flight=tier.in_flight,
            oldest_s=tier.oldest_s,
            wait_p50_s=tier.wait.p50.value_s if tier.wait.p50 else None,
            wait_p95_s=tier.wait.p95.value_s if tier.wait.p95 else None,
            in_per_s=tier.in_per_s,
            out_per_s=tier.out_per_s,
        )
        for pool in frame.pools
        for tier in pool.tiers
    ]
