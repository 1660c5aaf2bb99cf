"""vLLM's ``/metrics`` text → the few numbers that matter here.

A line scan instead of a full Prometheus parser: a server has about a thousand lines, is asked
twice a second, and this runs on the event loop.  Names are those of vllm/v1/metrics/loggers.py;
series of several engines (data parallel) are added up, the KV cache's fill is their worst.
"""

from math import isfinite
from typing import NamedTuple

from gateway.core.capacity import Scrape


class Figures(NamedTuple):
    """One look at a server: what its capacity follows from, and what only people read."""

    at_s: float = 0.0  # loop time; 0.0 for no look at all
    scrape: Scrape = Scrape(0, 0)
    generated_tokens: float = 0.0
    kv_tokens: int | None = None  # the KV cache's size, where the server tells it

    def tokens_per_s(self, before: "Figures") -> float:
        """Output rate since an earlier look; 0.0 across a restart, when counters fall."""
        elapsed_s = self.at_s - before.at_s
        produced = self.generated_tokens - before.generated_tokens
        return produced / elapsed_s if before.at_s and elapsed_s > 0 and produced > 0 else 0.0


_SUMS = {
    "vllm:num_requests_running": "running",
    "vllm:num_requests_waiting": "waiting",
    'vllm:num_requests_waiting_by_reason{reason="capacity"}': "waiting_for_capacity",
    "vllm:num_preemptions_total": "preemptions_total",
    "vllm:generation_tokens_total": "generated_tokens",
    "vllm:request_success_total": "completions_total",
    "vllm:request_queue_time_seconds_sum": "queue_time_sum_s",
    "vllm:inter_token_latency_seconds_sum": "itl_sum_s",
    "vllm:inter_token_latency_seconds_count": "itl_count",
}


def read_figures(text: str, at_s: float) -> Figures:
    """Add up what the text says.

    Raises:
        ValueError: a line that is named as expected does not end in a finite number.
    """
    sums: dict[str, float] = {}
    kv_usage = 0.0
    kv_tokens = 0
    for line in text.splitlines():
        if not line.startswith("vllm:"):
            continue
        name, _, labels = line.partition("{")
        if not labels:
            name = line.split(" ", 1)[0]
        if name == "vllm:num_requests_waiting_by_reason" and 'reason="capacity"' in labels:
            name += '{reason="capacity"}'
        field = _SUMS.get(name)
        if field is not None:
            sums[field] = sums.get(field, 0.0) + _value(line)
        elif name == "vllm:kv_cache_usage_perc":
            kv_usage = max(kv_usage, _value(line))
        elif name == "vllm:cache_config_info":
            kv_tokens += _label(labels, "num_gpu_blocks") * _label(labels, "block_size")
    return Figures(
        at_s=at_s,
        scrape=Scrape(
            running=int(sums.get("running", 0)),
            waiting=int(sums.get("waiting_for_capacity", sums.get("waiting", 0))),
            kv_usage=kv_usage,
            preemptions_total=sums.get("preemptions_total", 0.0),
            queue_time_sum_s=sums.get("queue_time_sum_s", 0.0),
            completions_total=sums.get("completions_total", 0.0),
            itl_sum_s=sums.get("itl_sum_s", 0.0),
            itl_count=sums.get("itl_count", 0.0),
        ),
        generated_tokens=sums.get("generated_tokens", 0.0),
        kv_tokens=kv_tokens or None,
    )


def _value(line: str) -> float:
    value = float(line.rpartition(" ")[2])
    if not isfinite(value):  # Prometheus allows them, and no count or share is one
        raise ValueError(f"not a finite number: {line}")
    return value


def _label(labels: str, name: str) -> int:
    """The whole number in a label, or 0 where there is none."""
    _, found, rest = labels.partition(f'{name}="')
    text = rest.split('"', 1)[0] if found else ""
    return int(text) if text.isdecimal() else 0
