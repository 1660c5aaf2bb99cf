"""What is run.  Each experiment runs its arrangements one after the other on the same work.

fcfs: straight to vLLM, no priority; so in order of arrival.  priority: straight to vLLM with its
own priority field.  laneway: through the gateway, cold (just started: 8 slots, ramping) or warm
(as the runs before have left it).
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from figures import FIRST, OK, QUEUE_WAIT_MS, SENT, quantile
from load import Job, Load, Shape, backlog, poisson
from rig import Rig

CHAT, SHORT, LONG = Shape(500, 200), Shape(200, 20), Shape(4000, 400)
URGENT = Shape(300, 60)
URGENT_WHILE = 0.85  # of the backlog's requests unanswered: the load is full until then
PER_S = {"chat": 50.0, "short": 230.0, "long": 13.5}  # what one H200 did, until it is measured
STREAMS_FROM_S = {
    "fcfs": 5.0,
    "laneway": 10.0,
}  # a gateway that was just started has found its limit
Experiment = Callable[[Rig, int, float], Awaitable[None]]


async def saturated(
    rig: Rig, repeat: int, scale: float, *, name: str, n: int, shape: Shape, stream: bool
) -> None:
    """Goodput: everything at once, direct and through Laneway in turns."""
    n = max(40, int(n * scale))
    turns = [("laneway", "cold"), ("laneway", "warm")]
    turns.insert(0 if repeat % 2 == 0 else 2, ("fcfs", "direct"))
    for arrangement, state in turns:
        await rig.prepare(arrangement, state)
        load = rig.load(arrangement)
        await load.run(backlog("low", n, shape, seed=100 + repeat, stream=stream))
        rig.keep(about(name, arrangement, repeat, state, n=n, shape=shape), load)


async def urgent(rig: Rig, repeat: int, scale: float, *, name: str, per_s: float) -> None:
    """Urgent streams beside a cold backlog."""
    n = max(40, int(1000 * scale))
    turns = [("priority", "direct"), ("laneway", "cold"), ("laneway", "warm")]
    if repeat == 0:
        turns.insert(0, ("fcfs", "direct"))
    for arrangement, state in turns:
        await rig.prepare(arrangement, state)
        jobs = backlog("low", n, CHAT, seed=200 + repeat)
        more = poisson("urgent", per_s, URGENT, 300 + repeat, start=0, end=60, stream=True)
        load = rig.load(arrangement)
        await load.run([*jobs, *more], urgent_while_low=URGENT_WHILE)
        rig.keep(about(name, arrangement, repeat, state, n=n, urgent_per_s=per_s), load)


async def starved(rig: Rig, repeat: int, scale: float) -> None:
    """Batch requests under urgent load that alone is more than the engine can do."""
    seconds = max(12.0, 70 * scale)
    per_s = 1.1 * rig.known("chat", "req_s", PER_S["chat"])
    target_wait_s = max(3.0, 15 * scale)
    changed = {
        "batch": {"target_wait_s": target_wait_s},
        "critical": {"max_waiting": 5000, "max_wait_s": 600.0},
    }
    rig.laneway.publish(**changed)
    for arrangement, state in (("priority", "direct"), ("laneway", "cold")):
        await rig.prepare(arrangement, state)
        flood = poisson("urgent", per_s, CHAT, 400 + repeat, start=0, end=seconds, stream=False)
        batch = poisson(
            "low", 2.0, CHAT, 500 + repeat, start=seconds / 7, end=seconds / 3, stream=True
        )
        jobs = sorted([*flood, *batch], key=lambda job: job.at_s)
        ids = {
            place: f"batch-{repeat}-{place}-{arrangement}"
            for place, job in enumerate(jobs)
            if job.kind == "low"
        }
        load = rig.load(arrangement, urgent=8 if arrangement == "laneway" else -8)
        asking = asyncio.create_task(bounds(rig, load, ids)) if arrangement == "laneway" else None
        await load.run(jobs, own_ids=ids, at_most_s=seconds * 1.8)
        printed = []
        if asking is not None:
            asking.cancel()
            printed = (await asyncio.gather(asking, return_exceptions=True))[0]
        waits = [
            (record.first if record.first is not None else load.now()) - record.job.at_s
            for record in load.records
            if record.job.kind == "low"
        ]
        figures: dict[str, Any] = {
            "batch_n": len(waits),
            "batch_wait_p50_s": quantile(waits, 0.5),
            "batch_wait_worst_s": quantile(waits, 1),
            "urgent_per_s": round(per_s, 1),
            "flood_s": seconds,
            "target_wait_s": target_wait_s,
        }
        if arrangement == "laneway":
            figures |= held(load, ids, printed, target_wait_s)
        rig.keep(
            about("starved", arrangement, repeat, state), load, figures=figures, bounds=printed
        )
    rig.laneway.publish()


async def bounds(rig: Rig, load: Load, ids: dict[int, str]) -> list[list[Any]]:
    """Ask every other second what the longest-waiting batch requests are promised."""
    found: list[list[Any]] = []
    try:
        while True:
            await asyncio.sleep(2)
            waiting = [
                record.job
                for record in load.records
                if record.job.kind == "low" and record.first is None
            ]
            known = set(waiting)
            own = [one for place, one in ids.items() if rig_job(load, place) in known]
            for one in own[:3] + own[-2:]:
                told = await asyncio.to_thread(rig.laneway.explained, one)
                why = told.get("explanation") if told else None
                if told and isinstance(why, dict) and "bound_s" in told:
                    found.append([one, round(load.now(), 2), why["waited_ms"], told["bound_s"]])
    except asyncio.CancelledError:
        return found


def rig_job(load: Load, place: int) -> Job | None:
    """The ``place``-th job, once it has been sent; records are in the order of the plan."""
    return load.records[place].job if place < len(load.records) else None


def held(
    load: Load, ids: dict[int, str], printed: list[list[Any]], target_wait_s: float
) -> dict[str, Any]:
    """Each printed bound against the wait that followed.  It is a bound from the moment a request
    is overdue; until then others may still arrive whose deadlines come before its own."""
    waited = {
        one: load.records[place].queue_wait_ms
        for place, one in ids.items()
        if place < len(load.records)
    }
    promises: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for one, _, waited_ms, bound_s in printed:
        wait_ms = waited.get(one)
        if wait_ms is not None:
            overdue = waited_ms / 1000 >= target_wait_s
            promises[overdue].append((waited_ms / 1000 + bound_s, wait_ms / 1000))
    bounds_s = [bound for bound, _ in promises[True]]
    return {
        "bounds_printed": len(promises[True]),
        "bounds_broken": sum(wait > bound for bound, wait in promises[True]),
        "bound_least_s": round(min(bounds_s, default=0), 1),
        "bound_most_s": round(max(bounds_s, default=0), 1),
        "early_printed": len(promises[False]),
        "early_broken": sum(wait > bound for bound, wait in promises[False]),
        "batch_queued_worst_s": max((ms or 0) / 1000 for ms in waited.values()) if waited else None,
    }


async def streams(rig: Rig, repeat: int, scale: float) -> None:
    """What the gateway adds to a first token and costs a token, at 256 streams and at one."""
    many = max(16, int(256 * scale))
    for arrangement in ("fcfs", "laneway"):
        await rig.prepare(arrangement, "warm")
        load = rig.load(arrangement)
        start, end = STREAMS_FROM_S[arrangement], STREAMS_FROM_S[arrangement] + 10 * scale
        await load.keep(many, Shape(300, 200), seed=600 + repeat, seconds=end)
        rows = [
            record.row()
            for record in load.records
            if record.status == OK and start <= record.job.at_s < end
        ]
        waits = [row[FIRST] - row[SENT] for row in rows]
        queued = [float(row[QUEUE_WAIT_MS] or 0) for row in rows]
        figures: dict[str, Any] = {
            "streams": many,
            "stream_n": len(rows),
            "ttft_p50": quantile(waits, 0.5),
            "ttft_p95": quantile(waits, 0.95),
            "queued_p50_ms": quantile(queued, 0.5),
            "queued_p95_ms": quantile(queued, 0.95),
            "window": [start, end],
        }
        rig.keep(about("streams", arrangement, repeat), load, figures=figures)
    await rig.quiet()
    times: dict[str, list[float]] = {"fcfs": [], "laneway": []}
    last = rig.load("fcfs")
    for n in range(max(10, int(80 * scale))):
        for arrangement, waits in times.items():
            last = rig.load(arrangement)
            await last.run(backlog("urgent", 1, Shape(300, 8), seed=n, stream=True))
            record = last.records[0]
            if record.status == OK and record.first is not None:
                waits.append(record.first - record.sent)
    figures = {
        f"idle_ttft_{name}_{arrangement}": quantile(waits, share)
        for arrangement, waits in times.items()
        for share, name in ((0.5, "p50"), (0.95, "p95"))
    }
    rig.keep(about("idle", "pairs", repeat), last, figures=figures)


async def mixed(rig: Rig, repeat: int, scale: float) -> None:
    """Low work that changes its shape, always a little more than fits, and urgent beside it."""
    phase_s = max(5.0, 25 * scale)
    phases = [("chat", CHAT), ("long", LONG), ("short", SHORT), ("chat", CHAT)]
    seconds = phase_s * len(phases)
    turns = [("priority", "direct"), ("laneway", "cold")]
    for arrangement, state in turns if repeat % 2 == 0 else turns[::-1]:
        await rig.prepare(arrangement, state)
        jobs = list(changing(rig, phases, phase_s, repeat))
        load = rig.load(arrangement)
        await load.run(jobs, at_most_s=seconds)
        kinds = [record.job.kind for record in load.records]
        firsts = [
            record.first - record.job.at_s
            for record in load.records
            if record.job.kind == "urgent" and record.first is not None
        ]
        figures: dict[str, Any] = {
            "urgent_asked": kinds.count("urgent"), "urgent_first_tokens": len(firsts),
            "phase_s": phase_s,
        }  # fmt: skip
        for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"), (1, "most")):
            figures[f"urgent_ttft_{name}"] = quantile(firsts, share) or 0.0
        rig.keep(about("mixed", arrangement, repeat, state), load, figures=figures)


def changing(
    rig: Rig, phases: list[tuple[str, Shape]], phase_s: float, repeat: int
) -> Iterator[Job]:
    begins = itertools.count()
    for place, (name, shape) in zip(begins, phases, strict=False):
        per_s = 1.15 * rig.known(name, "req_s", PER_S[name])
        start = place * phase_s
        yield from poisson(
            "low", per_s, shape, 700 + 10 * repeat + place, start=start, end=start + phase_s,
            stream=False,
        )  # fmt: skip
    end = phase_s * len(phases)
    yield from poisson("urgent", 5.0, URGENT, 800 + repeat, start=0, end=end, stream=True)


def about(
    experiment: str, arrangement: str, repeat: int, state: str = "", **more: Any
) -> dict[str, Any]:
    state = state or ("warm" if arrangement == "laneway" else "direct")
    told = {"experiment": experiment, "arrangement": arrangement, "state": state}
    return told | {"repeat": repeat} | more


def _saturated(name: str, n: int, shape: Shape, *, stream: bool = False) -> Experiment:
    async def run(rig: Rig, repeat: int, scale: float) -> None:
        await saturated(rig, repeat, scale, name=name, n=n, shape=shape, stream=stream)

    return run


def _urgent(name: str, per_s: float) -> Experiment:
    async def run(rig: Rig, repeat: int, scale: float) -> None:
        await urgent(rig, repeat, scale, name=name, per_s=per_s)

    return run


EXPERIMENTS: dict[str, Experiment] = {
    "chat": _saturated("chat", 1000, CHAT),
    "streamed": _saturated("streamed", 1000, CHAT, stream=True),
    "short": _saturated("short", 1900, SHORT),
    "long": _saturated("long", 300, LONG),
    "urgent5": _urgent("urgent5", 5.0),
    "urgent15": _urgent("urgent15", 15.0),
    "starved": starved,
    "streams": streams,
    "mixed": mixed,
}
