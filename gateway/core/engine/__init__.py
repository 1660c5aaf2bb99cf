"""A model of vLLM's scheduler: continuous batching, KV blocks, recompute preemption.

The simulated vLLM, the what-if simulator and the tests share it.  It follows
``vllm/v1/core/sched/scheduler.py``: running requests first, in admission order, then waiting ones
while slots, token budget and KV blocks last; a head that does not fit blocks all behind it;
nothing is admitted in a step that preempted; a waiting request never preempts anything.  Blocks
are granted to decoding requests before prefill chunks, which is vLLM's order as long as at most
one prompt is cut short by the budget.

A step takes ``base + a·decoding + c·prefill tokens + e·KV tokens resident``.  Between an
admission and the next finish all steps are alike, so they are leapt over at once: the cost is
O(log n) a request, not O(running) a step.  Times are whole picoseconds inside, so one leap and
many single steps agree exactly; callers give and get seconds.

``vllm_priority`` is vLLM's own field, lower first: only ``wire.vllm_priority`` makes one.
"""

from gateway.core.engine.kv import BLOCK_TOKENS
from gateway.core.engine.model import (
    Counters,
    EngineConfig,
    Event,
    Finished,
    FirstToken,
    Preempted,
    Started,
)
from gateway.core.engine.stepping import Engine

__all__ = [
    "BLOCK_TOKENS",
    "Counters",
    "Engine",
    "EngineConfig",
    "Event",
    "Finished",
    "FirstToken",
    "Preempted",
    "Started",
]
