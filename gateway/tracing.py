"""Traces by OpenTelemetry, where ``OTEL_EXPORTER_OTLP_ENDPOINT`` names a collector (extra [otel]).

A request's span continues the caller's ``traceparent`` and is what vLLM's span hangs on; its child
``queued`` is the wait in the line.  Both are finished when the request is, from its ``Journey``, so
the token path itself does nothing; a thread of the SDK's sends them.  Its other variables
(``OTEL_TRACES_SAMPLER``, ``OTEL_EXPORTER_OTLP_HEADERS`` …) are read by the SDK itself.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gateway.aside import Aside
from gateway.core import wire
from gateway.journey import Journey

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

logger = logging.getLogger(__name__)

LAST_SEND_S = 2.0


def start(endpoint: str) -> "Tracing | None":
    """Send to the collector at ``endpoint``; None for none, and where the extra is missing."""
    if not endpoint:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        logger.warning(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but the extra is not installed: no traces are "
            "sent. Install laneway[otel], or unset it."
        )
        return None
    provider = TracerProvider(resource=Resource.create({"service.name": "laneway"}))
    exporter = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Tracing(provider)


class Tracing:
    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._api = trace
        self._context = TraceContextTextMapPropagator()
        self._provider = provider
        self._aside = Aside("traces")
        self._tracer = provider.get_tracer("laneway")

    async def close(self) -> None:
        """Send what is left.  A collector that hangs holds the SDK for half a minute, and must not
        keep a gateway from ending."""
        try:
            async with asyncio.timeout(LAST_SEND_S):
                await self._aside.run(self._provider.shutdown)
        except TimeoutError:
            logger.warning("the collector of traces hangs: the last spans may be lost")
        self._aside.close()

    def begin(self, journey: Journey) -> None:
        """A model call begins; what is answered here is no part of anybody's trace."""
        path = journey.request.path
        if path in wire.ENDPOINTS:
            journey.span = self._tracer.start_span(
                f"POST {path}",
                context=self._context.extract(dict(journey.request.headers)),
                kind=self._api.SpanKind.SERVER,
                start_time=_ns(journey.arrived_at),
            )

    def continued(self, journey: Journey) -> Mapping[str, str]:
        """The caller's headers, so that the model server's span becomes a child of ours."""
        if journey.span is None:
            return journey.request.headers
        carrier: dict[str, str] = {}
        self._context.inject(carrier, self._api.set_span_in_context(journey.span))
        plain = dict(journey.request.headers)
        plain.pop("tracestate", None)
        return plain | carrier

    def finished(self, journey: Journey) -> None:
        span = journey.span
        if span is None:
            return
        now = asyncio.get_running_loop().time()
        if span.is_recording():
            told = _attributes(journey)
            if journey.charged is not None:  # it joined the line
                queued = self._tracer.start_span(
                    "queued",
                    context=self._api.set_span_in_context(span),
                    start_time=_ns(journey.arrived_at),
                    attributes={name: told[name] for name in told if name in OF_THE_WAIT},
                )
                queued.end(_ns(now if journey.dispatched_at is None else journey.dispatched_at))
            span.set_attributes(told)
            if journey.outcome == "failed" or journey.status >= 500:
                span.set_status(self._api.StatusCode.ERROR, journey.code)
        span.end(_ns(now))


OF_THE_WAIT = frozenset(
    ("laneway.tier", "laneway.priority", "laneway.tenant", "laneway.queue_wait_s")
)


def _attributes(journey: Journey) -> dict[str, Any]:
    """Names after OpenTelemetry's where it has the thing; nothing of what was said."""
    told: dict[str, Any] = {
        "http.response.status_code": journey.status,
        "laneway.request_id": journey.id,
        "laneway.outcome": journey.outcome,
    }
    if journey.code:
        told["error.type"] = journey.code
    if journey.caller is not None:
        told["laneway.tenant"] = journey.caller.tenant
    if journey.call is not None:
        told["gen_ai.request.model"] = journey.call.model
    if journey.placement is not None:
        dispatch, tier = journey.dispatch, journey.placement.tier
        told["laneway.tier"] = tier.name
        told["laneway.priority"] = dispatch.priority if dispatch else tier.priority
        told["laneway.queue_wait_s"] = journey.queue_wait_s
    if journey.backend is not None:
        told["laneway.backend"] = journey.backend.name
    usage = journey.tokens()
    for name, value in (
        ("gen_ai.usage.input_tokens", usage.prompt_tokens),
        ("gen_ai.usage.output_tokens", usage.completion_tokens),
        ("laneway.engine_wait_s", usage.engine_wait_s),
    ):
        if value is not None:
            told[name] = value
    return told


def _ns(loop_s: float) -> int:
    """A moment of the loop's clock in nanoseconds of the epoch, as spans have it."""
    ago_s = asyncio.get_running_loop().time() - loop_s
    return time.time_ns() - int(ago_s * 1e9)
