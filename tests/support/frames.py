"""Made-up frames for the live page: a small queue, drawn from a seed, moved on second by second.

The numbers of a frame fit together (what waits arrived before and has not left), so a page that
misreads one of them looks wrong.  Nothing of the real scheduler runs here.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from gateway.core.policy import Policy, Tier, default_policy
from gateway.core.snapshot import (
    BackendView,
    BurnView,
    Frame,
    HeadRow,
    LostView,
    PoolView,
    QuantileView,
    TierView,
    WaitView,
)

TENANTS = ("acme", "birch", "cedar", "dune")
KEYS = {"acme": "XoBh07B0", "birch": "k9TTq2aa", "cedar": "p0RT5aaQ", "dune": "91kQz0Lm"}
TASKS = {
    "realtime": "chat",
    "critical": "code_generation",
    "standard": "summarize",
    "batch": "batch_inference",
    "background": "data_augmentation",
}
ID_LETTERS = "0123456789abcdef"
BUSY = {"realtime": 1.2, "critical": 3.1, "standard": 3.0, "batch": 0.9, "background": 0.1}
WINDOW_S = 300


class Waiting(NamedTuple):
    id: str
    tenant: str
    tier: Tier
    tokens_in: int
    tokens_out: int
    arrived_s: float


@dataclass
class Traffic:
    """One pool under a load of ``per_s`` requests a second and tier, served ``served_per_s``."""

    seed: int = 1
    per_s: dict[str, float] = field(default_factory=lambda: dict(BUSY))
    served_per_s: float = 7.6
    limit: int = 64
    policy: Policy = field(default_factory=default_policy)
    paused: tuple[str, ...] = ()
    fcfs: bool = False

    def __post_init__(self) -> None:
        self._random = Random(self.seed)
        self.now_s = 0.0
        self._credit = 0.0
        self._waiting: dict[str, deque[Waiting]] = {t.name: deque() for t in self.policy.tiers}
        self._waits: dict[str, deque[tuple[float, float]]] = {n: deque() for n in self._waiting}
        self._in: dict[str, float] = dict.fromkeys(self._waiting, 0.0)
        self._out: dict[str, float] = dict.fromkeys(self._waiting, 0.0)
        self._running: dict[str, float] = dict.fromkeys(self._waiting, 0.0)
        self._expired: dict[str, deque[float]] = {n: deque() for n in self._waiting}
        self._seq = 0

    def second(self) -> None:
        """Let one second go by: some arrive, some go, some have waited too long."""
        self.now_s += 1
        for tier in self.policy.tiers:
            come = self._poisson(self.per_s.get(tier.name, 0.0))
            for _ in range(come):
                self._arrive(tier)
            self._in[tier.name] += (come - self._in[tier.name]) / 30
            self._expire(tier)
        gone = self._dispatch()
        for name in self._out:
            self._out[name] += (gone.get(name, 0) - self._out[name]) / 30
            self._running[name] += (gone.get(name, 0) * 8 - self._running[name]) / 8

    def frame(
        self, at: float, *, epoch: str = "made-up", version: int = 17, head: int = 50
    ) -> Frame:
        self._seq += 1
        tiers = tuple(self._tier(tier) for tier in self.policy.by_urgency)
        line = self._line()
        running = sum(tier.in_flight for tier in tiers)
        pool = PoolView(
            name="default",
            models=("qwen2.5-7b",),
            in_flight=running,
            limit=self.limit,
            held_back=3,
            urgent_threshold=self.policy.urgent_threshold,
            waiting=len(line),
            backends=self._backends(running),
            tiers=tiers,
            head=self._head(line, head),
        )
        return Frame(seq=self._seq, at=at, epoch=epoch, policy_version=version, pools=(pool,))

    def _head(self, line: list[Waiting], most: int) -> tuple[HeadRow, ...]:
        free = [one for one in line if one.tier.name not in self.paused]
        held = [one for one in line if one.tier.name in self.paused]
        placed = [*enumerate(free, start=1), *((None, one) for one in held)]
        return tuple(self._row(place, one) for place, one in placed[:most])

    def _arrive(self, tier: Tier) -> None:
        letters = "".join(self._random.choices(ID_LETTERS, k=22))
        self._waiting[tier.name].append(
            Waiting(
                id=f"req_{letters}",
                tenant=self._random.choice(TENANTS),
                tier=tier,
                tokens_in=round(self._random.lognormvariate(6.3, 0.8)),
                tokens_out=round(self._random.lognormvariate(5.3, 0.6)),
                arrived_s=self.now_s - self._random.random(),
            )
        )

    def _expire(self, tier: Tier) -> None:
        queue, expired = self._waiting[tier.name], self._expired[tier.name]
        while queue and self.now_s - queue[0].arrived_s > tier.max_wait_s:
            queue.popleft()
            expired.append(self.now_s)
        while expired and self.now_s - expired[0] > 60:
            expired.popleft()

    def _dispatch(self) -> dict[str, int]:
        self._credit = min(self.served_per_s * 2, self._credit + self.served_per_s)
        gone: dict[str, int] = {}
        for one in self._line():
            if self._credit < 1:
                break
            if one.tier.name in self.paused:
                continue
            self._credit -= 1
            self._waiting[one.tier.name].remove(one)
            gone[one.tier.name] = gone.get(one.tier.name, 0) + 1
            waited = max(0.004, self.now_s - one.arrived_s - self._random.random())
            self._waits[one.tier.name].append((self.now_s, waited))
        return gone

    def _line(self) -> list[Waiting]:
        everyone = [one for queue in self._waiting.values() for one in queue]
        return sorted(
            everyone, key=lambda one: (-one.tier.priority - self._boost(one), one.arrived_s)
        )

    def _boost(self, one: Waiting) -> int:
        waited = self.now_s - one.arrived_s
        if not one.tier.ages or waited < 30:
            return 0
        return max(0, min(7 - one.tier.priority, 5, 3 + int((waited - 30) // 10)))

    def _tier(self, tier: Tier) -> TierView:
        queue = self._waiting[tier.name]
        waited = [self.now_s - one.arrived_s for one in queue]
        finished = self._waits[tier.name]
        while finished and finished[0][0] < self.now_s - WINDOW_S:
            finished.popleft()
        in_flight = min(self.limit, round(self._running[tier.name]))
        return TierView(
            name=tier.name,
            priority=tier.priority,
            state="paused" if tier.name in self.paused else "open",
            waiting=len(queue),
            waiting_tokens=sum(one.tokens_in + one.tokens_out for one in queue),
            in_flight=in_flight,
            oldest_s=round(max(waited), 3) if waited else None,
            wait=_waits([wait for _, wait in finished], waited),
            wait_1m=_waits([w for at, w in finished if at > self.now_s - 60], waited),
            in_per_s=round(self._in[tier.name], 2),
            out_per_s=round(self._out[tier.name], 2),
            in_5m=round(300 * self._in[tier.name]),
            out_5m=len(finished),
            aged=sum(self._boost(one) > 0 for one in queue),
            overdue=sum(wait > tier.target_wait_s for wait in waited),
            rescued_per_min=0,
            lost_per_min=LostView(
                rejected=0, expired=len(self._expired[tier.name]), evicted=0, cancelled=0
            ),
            burn=self._burn(tier, [wait for _, wait in finished], waited),
            tokens_per_s=round(28.0 * in_flight, 1),
            target_wait_s=tier.target_wait_s,
            max_wait_s=tier.max_wait_s,
            max_waiting=tier.max_waiting,
        )

    def _burn(self, tier: Tier, finished: list[float], waiting: list[float]) -> BurnView:
        late = sum(wait > tier.target_wait_s for wait in finished + waiting)
        judged = len(finished) + sum(wait > tier.target_wait_s for wait in waiting)
        burn = round(100 * late / judged, 1) if judged else None
        return BurnView(m5=burn, m30=burn, h1=burn, h6=burn)

    def _row(self, place: int | None, one: Waiting) -> HeadRow:
        waited, aged = self.now_s - one.arrived_s, self._boost(one)
        return HeadRow(
            place=place,
            id=one.id,
            tenant=one.tenant,
            tier=one.tier.name,
            task_type=TASKS.get(one.tier.name, ""),
            key=KEYS[one.tenant],
            priority=one.tier.priority,
            aged=aged,
            effective_priority=one.tier.priority + aged,
            waited_s=round(waited, 3),
            tokens_in=one.tokens_in,
            tokens_out=one.tokens_out,
            overdue=waited > one.tier.target_wait_s,
            held="" if place else "paused",
            eta_s=(round(place / 9, 1), round(place / 5, 1)) if place else None,
        )

    def _backends(self, running: int) -> tuple[BackendView, ...]:
        half = running // 2
        load = running / self.limit
        return tuple(
            BackendView(
                name=name,
                url=f"http://{name}:8000",
                state="up",
                in_flight=in_flight,
                limit=self.limit // 2,
                engine_running=max(0, in_flight - 1),
                engine_waiting=1 if in_flight else 0,
                kv_usage=round(0.9 * load, 3),
                tokens_per_s=round(900 * load + self._random.random() * 20, 1) if running else 0.0,
                preemptions=0,
                preempted_per_min=0,
                lookahead=2,
                scheduling_policy="fcfs" if self.fcfs and name == "gpu-2" else "priority",
            )
            for name, in_flight in (("gpu-1", running - half), ("gpu-2", half))
        )

    def _poisson(self, mean: float) -> int:
        floor, product, events = math.exp(-mean), self._random.random(), 0
        while product > floor:
            product *= self._random.random()
            events += 1
        return events


def _waits(finished: list[float], waiting: list[float]) -> WaitView:
    known = sorted(finished + waiting)
    endless = sorted(finished) + [math.inf] * len(waiting)

    def quantile(share: float, least: int) -> QuantileView | None:
        if len(known) < least:
            return None
        place = min(len(known) - 1, int(share * len(known)))
        at_least = endless[place] > known[place] * 1.05
        return QuantileView(value_s=round(known[place], 3), at_least=at_least)

    return WaitView(
        n=len(known),
        worst_s=round(known[-1], 3) if known else 0.0,
        p50=quantile(0.5, 5),
        p95=quantile(0.95, 20),
        p99=quantile(0.99, 100),
    )


def explained(row: HeadRow) -> dict[str, object]:
    """What the gateway would say of a row of a line in which nobody else stands before it."""
    request = {
        "state": "waiting",
        "tier": row.tier,
        "priority": row.priority,
        "reason": f"task:{row.task_type}",
        "queue_wait_ms": round(row.waited_s * 1000),
    }
    explanation = {
        "tenant": row.tenant,
        "tier": row.tier,
        "priority": row.priority,
        "aged": row.aged,
        "boosted": row.boost,
        "effective_priority": row.effective_priority,
        "waited_ms": request["queue_wait_ms"],
        "next_step_in_ms": 4000,
        "expires_in_ms": 240_000,
        "tag": None,
        "level_clock": 0,
        "position": row.place,
        "position_is_exact": True,
        "ahead": [],
        "ahead_waiting": 0,
        "ahead_cost": 0,
        "binds": "paused" if row.held else "limit",
        "backends": [],
        "rescue_in_ms": None,
        "bound_cost": None,
    }
    return {"request": request, "explanation": explanation}
