"""One modelled vLLM as the gateway's capacity law meets it: an engine, its gauges and counters.

The engine's rules are ``engine``'s, the law is ``capacity``'s; this shows the one to the other as
``/metrics`` would.
"""

from math import ceil

from gateway.core import capacity
from gateway.core.capacity import Law, Scrape
from gateway.core.engine import Engine, EngineConfig, Event


class Server:
    kv_tokens: int | None = None  # unknown, so no token guard: what it would prevent is seen

    def __init__(
        self, name: str, config: EngineConfig, stored: int | None, most: int | None
    ) -> None:
        self.name = name
        self.most = most
        self.engine = Engine(config)
        self.law: Law = capacity.start(stored)
        self.by_priority = config.scheduling_policy == "priority"
        self.poll_ms = 0
        self.held_back = 0
        self.refusals = 0
        self.stops_seen = (0, 0)  # blocked, paced: as of the last poll
        self._running = 0
        self._waiting = 0
        self._itl_s = 0.0
        self._step_ended_s = 0.0

    @property
    def next_ms(self) -> int | None:
        """When something may have happened in the engine."""
        next_s = self.engine.next_s
        return None if next_s is None else ceil(next_s * 1000)

    @property
    def running(self) -> int:
        return self._running

    @property
    def waiting(self) -> int:
        return self._waiting

    def submit(self, id: str, prompt: int, output: int, vllm_priority: int, now_ms: int) -> None:
        if self.engine.next_s is None:
            self._step_ended_s = now_ms / 1000
        self.engine.submit(id, prompt, output, vllm_priority, now_ms / 1000)

    def advance(self, now_ms: int) -> list[Event]:
        """Move on, and set the gauges as vLLM does, at the end of a step: what arrived while a
        step ran is on its way then, not waiting."""
        count, engine = self.engine.counters, self.engine
        tokens, steps = count.generation_tokens, count.steps
        events = engine.advance(now_ms / 1000)
        if count.steps > steps:
            self._running, self._waiting = engine.running, engine.waiting
            step_s = (engine.now_s - self._step_ended_s) / (count.steps - steps)
            self._itl_s += step_s * (count.generation_tokens - tokens)
            self._step_ended_s = engine.now_s
        return events

    def scrape(self) -> Scrape:
        count = self.engine.counters
        return Scrape(
            running=self._running,
            waiting=self._waiting,
            kv_usage=self.engine.kv_usage,
            preemptions_total=count.preemptions,
            queue_time_sum_s=count.queue_time_s,
            completions_total=count.finished,
            itl_sum_s=self._itl_s,
            itl_count=count.generation_tokens,
        )
