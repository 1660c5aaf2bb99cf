"""One model server as the gateway sees it at the moment: its row, its health, its figures."""

import asyncio
from dataclasses import dataclass, field

from gateway.core import capacity
from gateway.core.breaker import Breaker
from gateway.core.snapshot import BackendState, EngineView
from gateway.models import BackendRow
from gateway.scrape import Figures
from gateway.upstream import Origin

Cards = dict[str, dict[str, object]]  # as /v1/models gives them, by model id


@dataclass
class Backend:
    """One model server as the gateway sees it at the moment."""

    row: BackendRow
    origin: Origin
    api_key: str = ""
    up: bool = False
    seen: bool = False  # has answered at least once since this process started
    failures: int = 0
    error: str = "not asked yet"
    models: Cards = field(default_factory=dict)
    figures: Figures = field(default_factory=Figures)
    before: Figures = field(default_factory=Figures)
    law: capacity.Law = field(default_factory=capacity.start)
    refusals: int = 0  # since the last poll
    breaker: Breaker = field(default_factory=Breaker)
    stops_seen: tuple[int, int] = (0, 0)
    discovered_at: float = float("-inf")
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def name(self) -> str:
        return self.row.name

    @property
    def usable(self) -> bool:
        """Whether it may be sent to, its breaker apart."""
        return self.up and self.row.enabled

    @property
    def honours_priority(self) -> bool:
        """Only a server known to run first-come-first-served gets no number: it would ignore it,
        silently and with status 200 (vllm/config/scheduler.py)."""
        return self.row.scheduling_policy != "fcfs"

    @property
    def state(self) -> BackendState:
        if not self.row.enabled:
            return "draining"
        if self.up:
            return "up"
        return "down" if self.seen or self.failures else "unknown"

    def view(self) -> EngineView:
        scrape = self.figures.scrape
        return EngineView(
            name=self.name,
            url=self.row.url,
            state=self.state,
            engine_running=scrape.running,
            engine_waiting=scrape.waiting,
            kv_usage=scrape.kv_usage,
            tokens_per_s=self.figures.tokens_per_s(self.before),
            preemptions=int(scrape.preemptions_total),
            scheduling_policy=self.row.scheduling_policy,
            error="" if self.up else self.error,
        )
