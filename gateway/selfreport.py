"""What a vLLM server says of itself: its models, and its settings by ``/server_info``, which is
open with VLLM_SERVER_DEV_MODE=1.

Read from vLLM 0.32.0, where that is the whole VllmConfig; what is missing or of another kind stays
unknown, as other versions dump other fields.  Nothing is asked here.
"""

from typing import NamedTuple

from gateway.core.snapshot import SchedulingPolicy

PATH = "/server_info?config_format=json"
POLICIES: dict[str, SchedulingPolicy] = {"priority": "priority", "fcfs": "fcfs"}


class SelfReport(NamedTuple):
    """None: the server did not say."""

    policy: SchedulingPolicy = "unknown"
    max_num_seqs: int | None = None
    kv_tokens: int | None = None
    prefix_caching: bool | None = None
    queue_backstop: bool | None = None  # --max-num-queued-reqs or --max-num-queued-tokens
    long_prefill_token_threshold: int | None = None
    idle_timeout_s: int | None = None


def read_server_info(document: object) -> SelfReport:
    config = _part(document, "vllm_config")
    scheduler, cache = _part(config, "scheduler_config"), _part(config, "cache_config")
    caching = cache.get("enable_prefix_caching")
    caps = ("max_num_queued_reqs", "max_num_queued_tokens")
    return SelfReport(
        policy=POLICIES.get(str(scheduler.get("policy")), "unknown"),
        max_num_seqs=_whole(scheduler.get("max_num_seqs")),
        kv_tokens=_whole(cache.get("kv_cache_size_tokens")),
        prefix_caching=caching if isinstance(caching, bool) else None,
        queue_backstop=any(scheduler.get(cap) for cap in caps) if caps[0] in scheduler else None,
        long_prefill_token_threshold=_whole(scheduler.get("long_prefill_token_threshold")),
        idle_timeout_s=_whole(_part(document, "vllm_env").get("VLLM_HTTP_TIMEOUT_KEEP_ALIVE")),
    )


def read_models(document: object) -> dict[str, dict[str, object]]:
    """The cards of ``/v1/models`` by model id.

    Raises:
        ValueError: it is no list of models.
    """
    cards = document.get("data") if isinstance(document, dict) else None
    if not isinstance(cards, list):
        raise ValueError("/v1/models answered with something else than a list of models")
    named = [card for card in cards if isinstance(card, dict) and isinstance(card.get("id"), str)]
    return {card["id"]: card for card in named}


def _part(whole: object, name: str) -> dict[str, object]:
    part = whole.get(name) if isinstance(whole, dict) else None
    return part if isinstance(part, dict) else {}


def _whole(value: object) -> int | None:
    """A whole number, which ``vllm_env`` gives as text."""
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
