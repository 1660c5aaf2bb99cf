"""The values of the engine model: its settings, what it reports, one request in it."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from gateway.core.engine.kv import BLOCK_TOKENS

PS = 10**12  # picoseconds in a second


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """vLLM's settings and the cost of a step.

    The costs are a first fit for a 7B model on one H200: 154 tokens/s for one request, 10,000 at
    256 requests of 500 in and 200 out.
    """

    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    kv_tokens: int = 1_000_000
    scheduling_policy: Literal["priority", "fcfs"] = "priority"
    long_prefill_token_threshold: int = 0  # 0: a prompt may take the whole budget
    watermark_share: float = 0.0  # of the KV blocks, kept free on admission
    prefix_cache: bool = False
    step_base_s: float = 6.5e-3
    step_per_decoding_s: float = 10e-6
    step_per_prefill_token_s: float = 23e-6
    step_per_kv_token_s: float = 12e-9

    def __post_init__(self) -> None:
        if not 1 <= self.max_num_seqs <= self.max_num_batched_tokens:
            raise ValueError("max_num_seqs must be between 1 and max_num_batched_tokens")
        if not 0 <= self.watermark_share < 1 or self.most_tokens < 1:
            raise ValueError("the KV cache must hold at least one block above the watermark")

    @property
    def watermark_blocks(self) -> int:
        return round(self.watermark_share * (self.kv_tokens // BLOCK_TOKENS))

    @property
    def most_tokens(self) -> int:
        """The longest request, prompt and output, that can ever run."""
        return (self.kv_tokens // BLOCK_TOKENS - self.watermark_blocks) * BLOCK_TOKENS


class Started(NamedTuple):
    """Taken into the running set; again after each preemption."""

    id: str
    at_s: float


class FirstToken(NamedTuple):
    id: str
    at_s: float


class Preempted(NamedTuple):
    id: str
    at_s: float


class Finished(NamedTuple):
    """The end of a request with all that vLLM observes then.  ``started_s`` is its first start."""

    id: str
    at_s: float
    arrived_s: float
    started_s: float
    first_token_s: float
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    preemptions: int


Event = Started | FirstToken | Preempted | Finished


@dataclass(slots=True)
class Counters:
    """What only grows, under vLLM's rules: queue time counts when a request finishes."""

    steps: int = 0
    preemptions: int = 0
    prompt_tokens: int = 0  # computed, so a recomputed prompt counts twice
    generation_tokens: int = 0
    finished: int = 0
    queue_time_s: float = 0.0
    prefix_queries_tokens: int = 0
    prefix_hits_tokens: int = 0


@dataclass(slots=True, eq=False)
class Sequence:
    """One request in the engine.  ``generated`` and ``computed`` stand still while it decodes:
    then ``steps done - base`` is what it has generated."""

    id: str
    prompt_tokens: int
    output_tokens: int
    rank: tuple[int, int, str, int]  # place in the waiting line, kept through a preemption
    arrived: int
    cached_tokens: int
    prefix: str
    prefix_tokens: int
    waiting: bool = True
    decoding: bool = False
    started: int = -1  # first start, -1 before it
    first_token: int = -1
    preemptions: int = 0
    generated: int = 0
    computed: int = 0
    chunk: int = 0  # prefill tokens in the step under way
    base: int = 0

    @property
    def target_tokens(self) -> int:
        """What a prefill has to compute: after a preemption, the tokens generated so far too."""
        return self.prompt_tokens + self.generated

    def chunk_within(self, left: int, most: int) -> int:
        """How much of its prefill a step takes of ``left`` tokens, ``most`` at a time (0: all)."""
        chunk = min(self.target_tokens - self.computed, left)
        return min(chunk, most) if most else chunk

    def resident_tokens(self, steps: int) -> int:
        """Tokens whose KV is computed, while it runs and ``steps`` are done."""
        if not self.decoding:
            return self.computed
        return self.prompt_tokens + steps - self.base - 1

    @property
    def last_step(self) -> int:
        return self.base + self.output_tokens

    def ending(self, now: int) -> Finished:
        return Finished(
            id=self.id,
            at_s=now / PS,
            arrived_s=self.arrived / PS,
            started_s=self.started / PS,
            first_token_s=self.first_token / PS,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            output_tokens=self.output_tokens,
            preemptions=self.preemptions,
        )
