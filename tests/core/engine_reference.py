"""vLLM's scheduling rules written out naively, to hold the fast engine model against.

One step at a time, one request after the other, no counting tricks; only requests that arrive and
finish, no aborts.  Slow on purpose.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.core.engine import BLOCK_TOKENS, EngineConfig

PS = 10**12


class Arrival(NamedTuple):
    id: str
    at_s: float
    prompt_tokens: int
    output_tokens: int
    vllm_priority: int


@dataclass(eq=False)
class Request:
    asked: Arrival
    number: int
    generated: int = 0
    computed: int = 0
    blocks: int = 0
    preemptions: int = 0
    first_token: int = -1
    decodes: bool = False  # its last step gave a token; a preempted one prefills until it caught up

    @property
    def tokens(self) -> int:
        return self.asked.prompt_tokens + self.generated


def ceil_blocks(tokens: int) -> int:
    return (tokens + BLOCK_TOKENS - 1) // BLOCK_TOKENS


@dataclass
class ReferenceEngine:
    config: EngineConfig
    arrivals: list[Arrival]
    ends: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Fills ``ends``: id → finish, first token (picoseconds), preemptions; and ``order``."""
        coming = [Request(arrival, i) for i, arrival in enumerate(self.arrivals)]
        waiting: list[Request] = []
        running: list[Request] = []
        free = self.config.kv_tokens // BLOCK_TOKENS
        now = 0
        while coming or waiting or running:
            if not waiting and not running:
                now = max(now, round(coming[0].asked.at_s * PS))
            while coming and round(coming[0].asked.at_s * PS) <= now:
                waiting.append(coming.pop(0))
            budget = self.config.max_num_batched_tokens
            share: dict[Request, int] = {}
            preempted = False
            for request in [*running]:
                if request not in running:
                    continue
                chunk = self.chunk(request, budget)
                wants = ceil_blocks(request.computed + chunk) - request.blocks
                while wants > free and request in running:
                    victim = self.victim(running)
                    running.remove(victim)
                    free += victim.blocks
                    victim.blocks = victim.computed = 0
                    victim.preemptions += 1
                    victim.decodes = False
                    budget += share.pop(victim, 0)
                    waiting.append(victim)
                    preempted = True
                if request in running:
                    free -= wants
                    request.blocks += wants
                    share[request] = chunk
                    budget -= chunk
            waiting.sort(key=self.rank)
            while waiting and not preempted and len(running) < self.config.max_num_seqs and budget:
                request = waiting[0]
                if ceil_blocks(request.tokens) > free:
                    break
                waiting.pop(0)
                running.append(request)
                self.order.append(request.asked.id)
                chunk = self.chunk(request, budget)
                request.blocks = ceil_blocks(chunk)
                free -= request.blocks
                share[request] = chunk
                budget -= chunk
            now += self.lasts(running, share)
            for request, chunk in share.items():
                request.computed += chunk
                if request.computed < request.tokens:
                    continue
                request.generated += 1
                request.decodes = True
                if request.first_token < 0:
                    request.first_token = now
                if request.generated == request.asked.output_tokens:
                    running.remove(request)
                    free += request.blocks
                    ended = (now, request.first_token, request.preemptions)
                    self.ends[request.asked.id] = ended

    def chunk(self, request: Request, budget: int) -> int:
        chunk = min(request.tokens - request.computed, budget)
        most = self.config.long_prefill_token_threshold
        return min(chunk, most) if most else chunk

    def rank(self, request: Request) -> tuple[float, ...]:
        if self.config.scheduling_policy == "fcfs":
            return (request.number,)
        return (request.asked.vllm_priority, request.asked.at_s, request.number)

    def victim(self, running: list[Request]) -> Request:
        if self.config.scheduling_policy == "fcfs":
            return running[-1]
        return max(running, key=lambda r: (r.asked.vllm_priority, r.asked.at_s))

    def lasts(self, running: list[Request], share: dict[Request, int]) -> int:
        decoding = [r for r in share if r.decodes]
        prefill = sum(chunk for r, chunk in share.items() if r not in decoding)
        resident = sum(r.computed for r in running)
        config = self.config
        return (
            round(config.step_base_s * PS)
            + round(config.step_per_decoding_s * PS) * len(decoding)
            + round(config.step_per_prefill_token_s * PS) * prefill
            + round(config.step_per_kv_token_s * PS) * resident
        )
