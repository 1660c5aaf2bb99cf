"""Metrics by tenant for the busiest, the others as one: ``other``.

A tenant is named from its first request on while there is room.  Once an hour the busiest of late
are chosen anew; who is no longer among them loses the series and counts in ``other`` from then on.
So every series only ever rises, and ``rate()`` stays true.
"""

from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Summary

from gateway.journey import Journey

NAMED = 20
CHOSEN_EVERY_S = 3600.0
OTHER = "other"


class Busiest:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "laneway_tenant_requests",
            f"Finished requests of the {NAMED} busiest tenants and of the others together.",
            ["tenant", "outcome"],
            registry=registry,
        )
        self._tokens = Counter(
            "laneway_tenant_tokens",
            "Tokens of finished requests, by tenant and kind.",
            ["tenant", "kind"],
            registry=registry,
        )
        self._queue_time = Summary(
            "laneway_tenant_request_queue_time_seconds",
            "Arrival at the gateway to dispatch, by tenant.",
            ["tenant"],
            registry=registry,
        )
        self._named: dict[str, _Series] = {}
        self._recent: dict[str, float] = {}  # requests, halved each time the busiest are chosen
        self._chosen_at: float | None = None
        self._others = self._series(OTHER)

    def finished(self, journey: Journey) -> None:
        if journey.caller is None or journey.placement is None:
            return
        series = self._of(journey.caller.tenant, journey.arrived_at)
        counter = series.requests.get(journey.outcome)
        if counter is None:
            counter = self._requests.labels(series.name, journey.outcome)
            series.requests[journey.outcome] = counter
        counter.inc()
        if journey.dispatched_at is not None:
            series.queue_time.observe(journey.queue_wait_s)
        if journey.first_byte_at is not None:
            usage = journey.tokens()
            series.prompt.inc(usage.prompt_tokens or 0)
            series.generation.inc(usage.completion_tokens or 0)

    def _of(self, tenant: str, now_s: float) -> "_Series":
        """What this tenant counts in.  ``now_s`` is the loop's time."""
        self._recent[tenant] = self._recent.get(tenant, 0.0) + 1
        if self._chosen_at is None:
            self._chosen_at = now_s
        if now_s - self._chosen_at >= CHOSEN_EVERY_S:
            self._chosen_at = now_s
            self._choose()
        if tenant not in self._named and tenant != OTHER and len(self._named) < NAMED:
            self._named[tenant] = self._series(tenant)
        return self._named.get(tenant, self._others)

    def _choose(self) -> None:
        """Keep the names of the busiest.  Who is named already stays on a draw, with its series."""
        order = sorted(self._recent, key=lambda t: (-self._recent[t], t not in self._named, t))
        for gone in self._named.keys() - order[:NAMED]:
            del self._named[gone]
            for metric in (self._requests, self._tokens, self._queue_time):
                metric.remove_by_labels({"tenant": gone})
        self._recent = {t: n / 2 for t, n in self._recent.items() if n >= 1}

    def _series(self, name: str) -> "_Series":
        prompt, generation = (self._tokens.labels(name, kind) for kind in ("prompt", "generation"))
        return _Series(name, {}, self._queue_time.labels(name), prompt, generation)


class _Series(NamedTuple):
    """Looked up once: ``labels`` is dear."""

    name: str
    requests: dict[str, Counter]  # by outcome
    queue_time: Summary
    prompt: Counter
    generation: Counter
