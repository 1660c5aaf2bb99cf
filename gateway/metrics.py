"""What Prometheus reads: names and units after vLLM's where vLLM has the thing.

Counters move as requests pass; gauges are read off the line at scrape time, so they cannot go
stale.  Labels are tiers, pools and outcomes: nothing a caller can make up.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.backends import Fleet

if TYPE_CHECKING:
    from gateway.journey import Journey

WAIT_BUCKETS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800)
LATENCY_BUCKETS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)


class Metrics:
    def __init__(self, fleet: Fleet) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Line(fleet))
        self._queue_time = Histogram(
            "laneway_request_queue_time_seconds",
            "Arrival at the gateway to dispatch, by tier.",
            ["pool", "tier"],
            buckets=WAIT_BUCKETS_S,
            registry=self.registry,
        )
        self._ttft = Histogram(
            "laneway_time_to_first_token_seconds",
            "Arrival at the gateway to the first byte of the answer, by tier.",
            ["pool", "tier"],
            buckets=LATENCY_BUCKETS_S,
            registry=self.registry,
        )
        self._e2e = Histogram(
            "laneway_e2e_request_latency_seconds",
            "Arrival at the gateway to the end of the answer, by tier.",
            ["pool", "tier"],
            buckets=LATENCY_BUCKETS_S,
            registry=self.registry,
        )
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

        self._tiers: dict[tuple[str, str], _OfTier] = {}
        self._ends: dict[tuple[str, str, str, str], Counter] = {}

    def dispatched(self, journey: "Journey") -> None:
        self._of_tier(journey).queue_time.observe(journey.queue_wait_s)

    def finished(self, journey: "Journey") -> None:
        end = (*_where(journey), journey.outcome, journey.code)
        counter = self._ends.get(end)
        if counter is None:
            counter = self._ends[end] = self._requests.labels(*end)
        counter.inc()
        if journey.first_byte_at is not None and journey.placement is not None:
            usage, tier = journey.tokens(), self._of_tier(journey)
            tier.ttft.observe(journey.first_byte_at - journey.arrived_at)
            tier.e2e.observe(journey.e2e_s)
            tier.prompt.inc(usage.prompt_tokens or 0)
            tier.generation.inc(usage.completion_tokens or 0)

    def _of_tier(self, journey: "Journey") -> "_OfTier":
        """Series are looked up once: ``labels`` costs as much as the parsing of a small body."""
        where = _where(journey)
        tier = self._tiers.get(where)
        if tier is None:
            tier = self._tiers[where] = _OfTier(
                queue_time=self._queue_time.labels(*where),
                ttft=self._ttft.labels(*where),
                e2e=self._e2e.labels(*where),
                prompt=self._tokens.labels(*where, "prompt"),
                generation=self._tokens.labels(*where, "generation"),
            )
        return tier

    def text(self) -> bytes:
        return generate_latest(self.registry)


class _OfTier(NamedTuple):
    queue_time: Histogram
    ttft: Histogram
    e2e: Histogram
    prompt: Counter
    generation: Counter


def _where(journey: "Journey") -> tuple[str, str]:
    pool = journey.pool.name if journey.pool else ""
    return pool, journey.placement.tier.name if journey.placement else ""


class _Line(Collector):
    """Gauges of the line and the backends, read when asked."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily(
            "laneway_num_requests_waiting", "Requests waiting in the line.", labels=["pool", "tier"]
        )
        running = GaugeMetricFamily(
            "laneway_num_requests_running", "Slots taken.", labels=["pool", "tier"]
        )
        oldest = GaugeMetricFamily(
            "laneway_oldest_waiting_seconds", "Age of the oldest waiting.", labels=["pool", "tier"]
        )
        limit = GaugeMetricFamily("laneway_slots", "Slots there are.", labels=["pool", "backend"])
        up = GaugeMetricFamily("laneway_backend_up", "1 if usable.", labels=["pool", "backend"])
        taken = GaugeMetricFamily(
            "laneway_slots_taken", "Slots taken of one backend.", labels=["pool", "backend"]
        )
        inside = GaugeMetricFamily(
            "laneway_engine_num_requests_waiting",
            "Waiting inside the engine, as it shows itself.",
            labels=["pool", "backend"],
        )
        policy = GaugeMetricFamily(
            "laneway_backend_scheduling_policy",
            "1 for the order the engine keeps, as stated, told or seen.",
            labels=["pool", "backend", "policy"],
        )
        for view in self._fleet.views():
            for tier in view.tiers:
                where = [view.name, tier.name]
                waiting.add_metric(where, tier.waiting)
                running.add_metric(where, tier.in_flight)
                oldest.add_metric(where, tier.oldest_s or 0.0)
            for backend in view.backends:
                limit.add_metric([view.name, backend.name], backend.limit)
                up.add_metric([view.name, backend.name], float(backend.state == "up"))
                taken.add_metric([view.name, backend.name], backend.in_flight)
                inside.add_metric([view.name, backend.name], backend.engine_waiting or 0)
                policy.add_metric([view.name, backend.name, backend.scheduling_policy], 1)
        yield from (waiting, running, oldest, limit, up, taken, inside, policy)
