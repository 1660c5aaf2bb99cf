"""Laneway as it ships, and beside it a task that writes down how each backend is steered.

Given to uvicorn instead of ``dashboard.asgi``.  The pages show limit and holdback once a second;
a proof also wants the pace, the law's state and the loop's delay, four times as often.  A file
``patch.py`` in the data folder is run first: to try a change out before it is made.
"""

import asyncio
import json
import runpy
import time
from typing import Any

from django.conf import settings

from dashboard.asgi import application as laneway
from gateway.asgi import plane

EVERY_S = 0.25
LOOK_S = 0.01  # at the loop: the longest delay since the last row is written down
PATCH = settings.LANEWAY_HOME / "patch.py"
if PATCH.exists():
    runpy.run_path(str(PATCH))
_tracing: list[asyncio.Task[None]] = []


async def application(scope: Any, receive: Any, send: Any) -> None:
    if not _tracing:
        _tracing.append(asyncio.create_task(trace()))
    await laneway(scope, receive, send)


async def trace() -> None:
    loop = asyncio.get_running_loop()
    due, late_s, next_row = loop.time(), 0.0, 0.0
    with (settings.LANEWAY_HOME / "trace.jsonl").open("a", buffering=1) as file:
        while True:
            now = loop.time()
            late_s = max(late_s, now - due)
            if plane.running and now >= next_row:
                for row in rows():
                    line = {"t": round(time.perf_counter(), 4), "late_ms": round(late_s * 1000, 1)}
                    file.write(json.dumps(line | row, separators=(",", ":")) + "\n")
                late_s, next_row = 0.0, now + EVERY_S
            due = now + LOOK_S
            await asyncio.sleep(LOOK_S)


def rows() -> list[dict[str, Any]]:
    found = []
    for pool in plane.fleet.pools.values():
        scheduler = pool.queue.scheduler
        stops, pace, reserve = scheduler.slots.stops, scheduler.slots.pace, pool.steering.reserve
        for backend in pool.backends.values():
            law, slots = backend.law, scheduler.slots.backends.by_name.get(backend.name)
            if slots is None:
                continue
            found.append(
                {
                    "base_limit": slots.base_limit,
                    "held_back": slots.held_back,
                    "lookahead": law.lookahead,
                    "pace": round(law.pace_tokens_per_s),
                    "credit": pace._credit // 1000,
                    "ramping": int(law.ramping),
                    "hold": law.hold,
                    "idle": law.idle,
                    "completions_per_s": round(law.completions_per_s, 2),
                    "step_ms": round(law.step_s * 1000, 2),
                    "in_flight": slots.in_flight,
                    "waiting": scheduler.waiting,
                    "blocked": stops.blocked,
                    "paced": stops.paced,
                    "urgent_refused": stops.urgent_refused,
                    "overloaded": int(reserve.overloaded),
                }
            )
    return found
