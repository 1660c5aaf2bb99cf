"""The engine model against the event loop's clock.

Holds the jobs and wakes those that gained tokens; knows nothing of HTTP.  When the loop is late,
the engine catches up and a job simply finds several tokens, which is what vLLM's own streams do.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from gateway.core.engine import Engine, Finished, FirstToken
from gateway.simvllm.metrics import Metrics

TICK_S = 0.001  # the loop is not woken more often, however fast the engine runs

Reason = Literal["stop", "length", "abort"]


@dataclass(slots=True, eq=False)
class Choice:
    """One sequence in the engine.  ``pieces`` is its output, a piece for each token."""

    id: str
    index: int
    prompt_tokens: int
    pieces: list[str]
    reason: Reason
    stop: str | None = None
    tool: str | None = None  # the function it calls instead of answering in text
    prefix: str = ""
    prefix_tokens: int = 0
    generated: int = 0
    arrived_s: float = 0.0  # engine time, as the next
    gained_at_s: float = 0.0  # of the last token
    finished: Finished | None = None
    over: bool = False
    job: "Job | None" = None

    @property
    def text(self) -> str:
        return "".join(self.pieces[: self.generated])


@dataclass(slots=True, eq=False)
class Job:
    """One HTTP request: all its choices, and the event that says that some of them gained."""

    choices: list[Choice]
    vllm_priority: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def over(self) -> bool:
        return all(choice.over for choice in self.choices)

    @property
    def output_tokens(self) -> int:
        return sum(choice.generated for choice in self.choices)

    async def finished(self) -> None:
        while not self.over:
            self.changed.clear()
            await self.changed.wait()


class Pacer:
    def __init__(self, engine: Engine, metrics: Metrics, speed: float) -> None:
        self.engine = engine
        self._metrics = metrics
        self._speed = speed
        self._choices: dict[str, Choice] = {}
        self._origin: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def submit(self, job: Job) -> None:
        """Raises ValueError when the engine could never hold one of the choices."""
        now_s = self._now_s()
        for choice in job.choices:
            choice.job = job
            choice.arrived_s = now_s
            self.engine.submit(
                choice.id,
                choice.prompt_tokens,
                len(choice.pieces),
                job.vllm_priority,
                now_s,
                prefix=choice.prefix,
                prefix_tokens=choice.prefix_tokens,
            )
            self._choices[choice.id] = choice
        self._arm(0)

    def abandon(self, job: Job) -> None:
        """The client is gone, or the answer is out: nothing of the job stays in the engine."""
        self._drop(choice for choice in job.choices if not choice.over)

    def abort_all(self) -> None:
        """The server stops: every job ends here, with what it has and the reason "abort"."""
        dropped = list(self._choices.values())
        self._drop(dropped)
        for choice in dropped:
            choice.reason = "abort"
            choice.over = True
            if choice.job:
                choice.job.changed.set()

    def _drop(self, choices: Iterable[Choice]) -> None:
        now_s = self._now_s()
        for choice in choices:
            if self._choices.pop(choice.id, None):
                self.engine.abort(choice.id, now_s)
        self._metrics.count(self.engine)

    def _now_s(self) -> float:
        now_s = asyncio.get_running_loop().time()
        if self._origin is None:
            self._origin = now_s
        return (now_s - self._origin) * self._speed

    def _arm(self, delay_s: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now_s = self._now_s()
        for event in self.engine.advance(now_s):
            choice = self._choices.get(event.id)
            if choice is None:
                continue  # aborted in the meantime
            if isinstance(event, FirstToken):
                self._metrics.first_token(event.at_s - choice.arrived_s, choice.prompt_tokens)
                self._gain(choice, 1, event.at_s)
            elif isinstance(event, Finished):
                self._end(choice, event)
        for id, generated in self.engine.progress():
            choice = self._choices[id]
            if generated > choice.generated:
                self._gain(choice, generated, self.engine.now_s)
        self._metrics.count(self.engine)
        next_s = self.engine.next_s
        if next_s is not None:
            self._arm(max(TICK_S, (next_s - now_s) / self._speed))

    def _gain(self, choice: Choice, generated: int, at_s: float) -> None:
        gained = generated - choice.generated
        if choice.generated and gained:
            self._metrics.gained(gained, (at_s - choice.gained_at_s) / self._speed)
        choice.generated = generated
        choice.gained_at_s = at_s
        if choice.job:
            choice.job.changed.set()

    def _end(self, choice: Choice, event: Finished) -> None:
        self._gain(choice, event.output_tokens, event.at_s)
        choice.finished = event
        choice.over = True
        del self._choices[choice.id]
        self._metrics.ended(event, choice.reason)
