"""One model server as the gateway sees it at the moment: its row, its health, its figures."""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from gateway.core import capacity
from gateway.core.breaker import Breaker
from gateway.core.snapshot import BackendState, EngineView, SchedulingPolicy
from gateway.core.wire import Call
from gateway.core.witness import Witness
from gateway.models import BackendRow
from gateway.scrape import Figures
from gateway.upstream import Origin

Cards = dict[str, dict[str, object]]  # as /v1/models gives them, by model id

# Streams of these begin with their first token; those of /v1/responses say "created" before it.
TELL_START = ("/v1/chat/completions", "/v1/completions")
MINUTE_S = 60.0
COMMENT = b":"  # what --sse-keep-alive-interval sends while a stream waits in the engine


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
    held_back: int = 0
    preempted: deque[tuple[float, int]] = field(default_factory=deque)  # when seen, how many
    refusals: int = 0  # since the last poll
    breaker: Breaker = field(default_factory=Breaker)
    stops_seen: tuple[int, int] = (0, 0)
    discovered_at: float = float("-inf")
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    witness: Witness = field(default_factory=Witness)
    told_policy: SchedulingPolicy = "unknown"  # by /server_info, where that is open

    @property
    def name(self) -> str:
        return self.row.name

    @property
    def most(self) -> int | None:
        return self.row.max_in_flight

    @property
    def kv_tokens(self) -> int | None:
        return self.figures.kv_tokens

    @property
    def usable(self) -> bool:
        """Whether it may be sent to, its breaker apart."""
        return self.up and self.row.enabled

    @property
    def scheduling_policy(self) -> SchedulingPolicy:
        """What the server says of itself; else first-come-first-served if its starts showed that,
        whatever an administrator stated; else the statement; else what its starts showed."""
        if self.told_policy != "unknown":
            return self.told_policy
        stated, shown = self.row.scheduling_policy, self.witness.verdict
        return shown if stated == "unknown" or shown == "fcfs" else stated

    @property
    def honours_priority(self) -> bool:
        """False for a server known to run first-come-first-served: it ignores the number, silently
        and with status 200 (vllm/config/scheduler.py)."""
        return self.scheduling_policy != "fcfs"

    @property
    def takes_priority(self) -> bool:
        """Whether to send the number.  A server found out by its starts still gets it, which costs
        nothing, so that a wrong verdict shows itself; versions that refuse it are stated as fcfs."""
        return self.row.scheduling_policy != "fcfs"

    @contextmanager
    def watched(self, id: str, priority: int, call: Call) -> Iterator[None]:
        """One exchange, of which the witness hears, whatever comes of it."""
        tells_start = call.stream and call.endpoint in TELL_START
        self.witness.sent(id, priority, call.prompt_tokens, _now_ms(), tells_start=tells_start)
        try:
            yield
        finally:
            self.witness.left(id)

    def saw(self, figures: Figures) -> None:
        """A look at its metrics; after a restart the counters begin anew."""
        before = self.figures
        more = int(figures.scrape.preemptions_total - before.scrape.preemptions_total)
        if before.at_s and more > 0:
            self.preempted.append((figures.at_s, more))
        while self.preempted and figures.at_s - self.preempted[0][0] > MINUTE_S:
            self.preempted.popleft()
        self.before, self.figures = before, figures

    def answered(self, id: str, first: bytes) -> None:
        """The first bytes of an answer came."""
        if not first.startswith(COMMENT):
            self.witness.started(id, _now_ms())

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
            preempted_per_min=sum(count for _, count in self.preempted),
            lookahead=self.law.lookahead,
            scheduling_policy=self.scheduling_policy,
            strangers=max(0, self.law.slot_drift),
            blind=self.law.is_blind,
            error="" if self.up else self.error,
        )


def _now_ms() -> int:
    return int(asyncio.get_running_loop().time() * 1000)
