"""What Prometheus reads of the line and the engines: read off at scrape time, so never stale."""

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from gateway.auth import Directory
from gateway.backends import Fleet
from gateway.core.snapshot import BackendView, TierView
from gateway.records import Recorder

OF_TIER = ("pool", "tier", "priority")
OF_BACKEND = ("pool", "backend")
Of = TypeVar("Of")


class Gauge(NamedTuple, Generic[Of]):
    name: str
    text: str
    value: Callable[[Of], float]


TIERS: tuple[Gauge[TierView], ...] = (
    Gauge("laneway_num_requests_waiting", "Requests waiting in the line.", lambda t: t.waiting),
    Gauge("laneway_num_requests_running", "Slots taken.", lambda t: t.in_flight),
    Gauge(
        "laneway_oldest_waiting_seconds", "Age of the oldest waiting.", lambda t: t.oldest_s or 0.0
    ),
    Gauge(
        "laneway_num_requests_aged", "Waiting, lifted above their tier by now.", lambda t: t.aged
    ),
    Gauge("laneway_num_requests_overdue", "Waiting past the target wait.", lambda t: t.overdue),
    Gauge(
        "laneway_tier_target_wait_seconds", "Target wait in the policy.", lambda t: t.target_wait_s
    ),
    Gauge("laneway_tier_max_waiting", "Limit of the line in the policy.", lambda t: t.max_waiting),
)
BACKENDS: tuple[Gauge[BackendView], ...] = (
    Gauge("laneway_slots", "Slots there are.", lambda b: b.limit),
    Gauge("laneway_slots_taken", "Slots taken of one backend.", lambda b: b.in_flight),
    Gauge("laneway_backend_up", "1 if usable.", lambda b: float(b.state == "up")),
    Gauge(
        "laneway_engine_num_requests_running",
        "Running in the engine, as it shows itself.",
        lambda b: b.engine_running or 0,
    ),
    Gauge(
        "laneway_engine_num_requests_waiting",
        "Waiting inside the engine, as it shows itself.",
        lambda b: b.engine_waiting or 0,
    ),
    Gauge(
        "laneway_engine_kv_cache_usage_perc",
        "Share of the engine's KV cache in use, 0 to 1.",
        lambda b: b.kv_usage or 0.0,
    ),
)


class Gauges(Collector):
    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        views = self._fleet.views(head=0)
        tiers = [
            ((view.name, tier.name, str(tier.priority)), tier)
            for view in views
            for tier in view.tiers
        ]
        backends = [((view.name, one.name), one) for view in views for one in view.backends]
        yield from (_family(gauge, OF_TIER, tiers) for gauge in TIERS)
        yield from (_family(gauge, OF_BACKEND, backends) for gauge in BACKENDS)
        policy = GaugeMetricFamily(
            "laneway_backend_scheduling_policy",
            "1 for the order the engine keeps, as stated, told or seen.",
            labels=(*OF_BACKEND, "policy"),
        )
        for where, backend in backends:
            policy.add_metric((*where, backend.scheduling_policy), 1)
        yield policy
        yield from self._totals()

    def _totals(self) -> Iterator[Metric]:
        """What the engines count, under their own names."""
        preempted = CounterMetricFamily(
            "laneway_engine_num_preemptions", "Preemptions in the engine.", labels=OF_BACKEND
        )
        queue_time = SummaryMetricFamily(
            "laneway_engine_request_queue_time_seconds",
            "Wait inside the engine, of the requests that it has finished.",
            labels=OF_BACKEND,
        )
        for pool in self._fleet.pools.values():
            for backend in pool.backends.values():
                scrape, where = backend.figures.scrape, (pool.name, backend.name)
                preempted.add_metric(where, scrape.preemptions_total)
                queue_time.add_metric(where, int(scrape.completions_total), scrape.queue_time_sum_s)
        yield from (preempted, queue_time)


class StoreGauges(Collector):
    """What a database that is away costs: decisions age, records wait, in the end some are lost."""

    def __init__(self, directory: Directory, recorder: Recorder) -> None:
        self._directory = directory
        self._recorder = recorder

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "laneway_policy_age_seconds",
            "Since keys and policy were last seen to be those of the database.",
            self._directory.age_s,
        )
        yield GaugeMetricFamily(
            "laneway_records_waiting", "Records not written yet.", self._recorder.buffered
        )
        yield CounterMetricFamily("laneway_records_lost", "Records given up.", self._recorder.lost)


def _family(
    gauge: Gauge[Of], labels: tuple[str, ...], shown: Iterable[tuple[tuple[str, ...], Of]]
) -> Metric:
    family = GaugeMetricFamily(gauge.name, gauge.text, labels=labels)
    for where, thing in shown:
        family.add_metric(where, gauge.value(thing))
    return family
