"""What Prometheus reads of requests: names and units after vLLM's where vLLM has the thing.

Counters move as requests pass; what is read off the line at scrape time is ``gauges``.  Labels are
tiers with their priorities, pools and outcomes, and the busiest tenants: nothing a caller can make
up, and no more series than there are of those.
"""

from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from gateway.backends import Fleet
from gateway.busiest import Busiest
from gateway.gauges import Gauges
from gateway.journey import Journey

WAIT_BUCKETS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800)
LATENCY_BUCKETS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
OF_TIER = ("pool", "tier", "priority")


class Metrics:
    def __init__(self, fleet: Fleet) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(Gauges(fleet))
        self._waits = {
            name: Histogram(
                f"laneway_{name}_seconds", text, OF_TIER, buckets=buckets, registry=self.registry
            )
            for name, text, buckets in (
                (
                    "request_queue_time",
                    "Arrival at the gateway to dispatch, by tier and its priority.",
                    WAIT_BUCKETS_S,
                ),
                (
                    "request_engine_queue_time",
                    "Wait inside the engine, of requests whose engine told it "
                    "(vLLM with --enable-per-request-metrics).",
                    WAIT_BUCKETS_S,
                ),
                (
                    "request_joined_queue_time",
                    "Wait at the gateway and inside the engine together, of the same requests.",
                    WAIT_BUCKETS_S,
                ),
                (
                    "time_to_first_token",
                    "Arrival at the gateway to the first byte of the answer.",
                    LATENCY_BUCKETS_S,
                ),
                (
                    "e2e_request_latency",
                    "Arrival at the gateway to the end of the answer.",
                    LATENCY_BUCKETS_S,
                ),
            )
        }
        self._requests = Counter(
            "laneway_requests",
            "Finished requests by tier, outcome and, for failures, reason.",
            ["pool", "tier", "outcome", "reason"],
            registry=self.registry,
        )
        self._tokens = Counter(
            "laneway_tokens",
            "Tokens of finished requests, by tier and kind.",
            ["pool", "tier", "kind"],
            registry=self.registry,
        )
        self._busiest = Busiest(self.registry)
        self._tiers: dict[tuple[str, str, str], _OfTier] = {}
        self._ends: dict[tuple[str, str, str, str], Counter] = {}

    def dispatched(self, journey: Journey) -> None:
        self._of_tier(journey).queue_time.observe(journey.queue_wait_s)

    def finished(self, journey: Journey) -> None:
        pool, tier_name, _ = _where(journey)
        end = (pool, tier_name, journey.outcome, journey.code)
        counter = self._ends.get(end)
        if counter is None:
            counter = self._ends[end] = self._requests.labels(*end)
        counter.inc()
        self._busiest.finished(journey)
        if journey.first_byte_at is not None and journey.placement is not None:
            usage, tier = journey.tokens(), self._of_tier(journey)
            tier.ttft.observe(journey.first_byte_at - journey.arrived_at)
            tier.e2e.observe(journey.e2e_s)
            tier.prompt.inc(usage.prompt_tokens or 0)
            tier.generation.inc(usage.completion_tokens or 0)
            if usage.engine_wait_s is not None:
                tier.engine_queue_time.observe(usage.engine_wait_s)
                tier.joined_queue_time.observe(journey.queue_wait_s + usage.engine_wait_s)

    def _of_tier(self, journey: Journey) -> "_OfTier":
        """Series are looked up once: ``labels`` costs as much as the parsing of a small body."""
        where = _where(journey)
        tier = self._tiers.get(where)
        if tier is None:
            waits = {name: waits.labels(*where) for name, waits in self._waits.items()}
            tier = self._tiers[where] = _OfTier(
                queue_time=waits["request_queue_time"],
                engine_queue_time=waits["request_engine_queue_time"],
                joined_queue_time=waits["request_joined_queue_time"],
                ttft=waits["time_to_first_token"],
                e2e=waits["e2e_request_latency"],
                prompt=self._tokens.labels(*where[:2], "prompt"),
                generation=self._tokens.labels(*where[:2], "generation"),
            )
        return tier

    def text(self) -> bytes:
        return generate_latest(self.registry)


class _OfTier(NamedTuple):
    queue_time: Histogram
    engine_queue_time: Histogram
    joined_queue_time: Histogram
    ttft: Histogram
    e2e: Histogram
    prompt: Counter
    generation: Counter


def _where(journey: Journey) -> tuple[str, str, str]:
    pool = journey.pool.name if journey.pool else ""
    tier = journey.placement.tier if journey.placement else None
    return pool, tier.name if tier else "", str(tier.priority) if tier else ""
