"""Draws a pool's conclusions from each poll: what every server may run, what of that is kept for
urgent tiers, how fast the rest may grow.

The laws are ``capacity``'s and ``holdback``'s.  This is told what was seen, and answers in operations for the
scheduler; the live gateway and the simulator steer by the same.  Breakers, and servers that come
and go, are the live gateway's.
"""

from collections.abc import Sequence
from typing import Protocol

from gateway.core import capacity, holdback
from gateway.core.ops import Op, Pace, SetBackend
from gateway.core.policy import Policy
from gateway.core.scheduler import Scheduler

URGENT_EVERY_MS = 450  # once a poll of the pool, however many servers it has
SHORT_AFTER_MS = 60_000
BLIND_SLOTS = 64  # the most for a server that has never shown metrics


class Server(Protocol):
    """What steering keeps and reads of one server."""

    law: capacity.Law
    held_back: int
    refusals: int  # 429 and 503 for overload, since the last poll
    stops_seen: tuple[int, int]  # blocked, paced: as of the last poll

    @property
    def name(self) -> str: ...

    @property
    def most(self) -> int | None:
        """An administrator's max_in_flight."""

    @property
    def kv_tokens(self) -> int | None: ...


class Steering:
    def __init__(self, scheduler: Scheduler, policy: Policy) -> None:
        self.policy = policy
        self.reserve = holdback.Reserve()  # what urgent tiers need at the moment
        self._short_since_ms: int | None = None
        self._scheduler = scheduler
        self._urgent_refused_seen = 0
        self._urgent_looked_ms = -URGENT_EVERY_MS

    def urgent(self, priority: int) -> bool:
        return priority >= self.policy.urgent_threshold

    def urgent_is_short(self, now_ms: int) -> bool:
        """Urgent traffic has exceeded its reserve for so long that somebody should know."""
        since_ms = self._short_since_ms
        return since_ms is not None and now_ms - since_ms >= SHORT_AFTER_MS

    def arrived(self, priority: int, now_ms: int, sequences: int = 1) -> None:
        if self.urgent(priority):
            self.reserve = holdback.arrived(self.reserve, now_ms, sequences)

    def finished(self, priority: int, e2e_s: float) -> None:
        """``e2e_s`` from dispatch to the end."""
        if self.urgent(priority):
            self.reserve = holdback.finished(self.reserve, e2e_s)

    def polled(
        self,
        server: Server,
        scrape: capacity.Scrape | None,
        now_ms: int,
        *,
        serving: Sequence[Server],
        shows_metrics: bool = True,
    ) -> None:
        """Take in one poll; ``scrape`` is None when the metrics were away, ``shows_metrics`` is
        False for a server that never had any."""
        seen = self._seen(server)
        if shows_metrics:
            server.law = capacity.observe(server.law, scrape, seen, now_ms, fixed=server.most)
        else:
            cap = server.most or BLIND_SLOTS
            server.law = capacity.observe_answers(server.law, seen, now_ms, cap=cap)
        server.refusals = 0
        if now_ms - self._urgent_looked_ms >= URGENT_EVERY_MS:
            self._urgent_looked_ms = now_ms
            self._watch_urgent(serving)

    def _seen(self, server: Server) -> capacity.Seen:
        stops, before = self._scheduler.slots.stops, server.stops_seen
        server.stops_seen = (stops.blocked, stops.paced)
        return capacity.Seen(
            in_flight=self._scheduler.slots.backends.by_name[server.name].in_flight,
            blocked=stops.blocked > before[0],
            paced=stops.paced > before[1],
            refusals=server.refusals,
        )

    def _watch_urgent(self, serving: Sequence[Server]) -> None:
        tiers = self._scheduler.line.tiers.values()
        urgent = [tier for tier in tiers if self.urgent(tier.rules.priority)]
        refused = self._scheduler.slots.stops.urgent_refused
        self.reserve = holdback.polled(
            self.reserve,
            refused=refused > self._urgent_refused_seen,
            waiting=sum(tier.waiting for tier in urgent),
            in_flight=sum(tier.in_flight for tier in urgent),
            base_limit=sum(server.law.base_limit for server in serving),
        )
        self._urgent_refused_seen = refused

    def share_out(self, serving: Sequence[Server], now_ms: int) -> list[Op]:
        """What the servers in service may run.  A holdback share of 0 switches the pace off too."""
        share = self.policy.holdback_share
        if not serving or not share:
            self._short_since_ms = None
            for server in serving:
                server.held_back = 0
            return [*map(_slots, serving), Pace(None)]
        limits = [server.law.base_limit for server in serving]
        ramping = sum(server.law.ramping and server.most is None for server in serving)
        reserve = holdback.share_out(self.reserve, limits, share, now_ms, ramping=ramping)
        if not reserve.short:
            self._short_since_ms = None
        elif self._short_since_ms is None:
            self._short_since_ms = now_ms
        for server, held_back in zip(serving, reserve.held_back, strict=True):
            server.held_back = held_back
        rate = sum(server.law.pace_tokens_per_s for server in serving)
        burst_tokens = capacity.PACE_BURST_TOKENS * len(serving)
        return [*map(_slots, serving), Pace(int(rate), burst_tokens)]


def _slots(server: Server) -> SetBackend:
    """An administrator's limit bounds everything, held-back slots included."""
    limit = server.law.base_limit
    if server.most is not None:
        server.held_back = min(server.held_back, server.most - 1)
        limit = server.most - server.held_back
    return SetBackend(server.name, limit, server.held_back, True, server.kv_tokens)
