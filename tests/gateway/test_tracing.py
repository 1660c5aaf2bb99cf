"""Traces: one span a request with its wait as a child, the caller's trace continued to the engine."""

import asyncio
import sys
import threading

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from gateway import tracing
from gateway.tracing import Tracing
from tests.support.clock import until

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
BODY = {"model": "qwen", "messages": [{"role": "user", "content": "my secret"}], "stream": True}
PATH = "/v1/chat/completions"


@pytest.fixture
def spans(gateway) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    gateway.proxy.tracing = Tracing(provider)
    return exporter


async def served(gateway, **headers: str) -> dict[str, str]:
    """One request to its end; what the engine got as headers."""
    async with gateway.ask(PATH, BODY, headers={"x-task-type": "chat", **headers}) as call:
        await until(lambda: gateway.vllm.generations)
        generation = gateway.vllm.generations.pop()
        generation.token()
        generation.finish(prompt_tokens=12, completion_tokens=5)
        await call.done()
    assert call.status == 200
    return generation.headers


async def test_a_request_is_a_span_and_its_wait_a_child(gateway, spans):
    got = await served(gateway, traceparent=f"00-{TRACE}-{PARENT}-01", tracestate="a=1")

    queued, request = spans.get_finished_spans()
    assert (queued.name, request.name) == ("queued", f"POST {PATH}")
    assert f"{request.context.trace_id:032x}" == TRACE
    assert f"{request.parent.span_id:016x}" == PARENT
    assert queued.parent.span_id == request.context.span_id
    told = request.attributes
    assert (told["laneway.tier"], told["laneway.tenant"]) == ("realtime", "acme")
    assert (told["laneway.priority"], told["http.response.status_code"]) == (10, 200)
    assert (told["gen_ai.request.model"], told["gen_ai.usage.output_tokens"]) == ("qwen", 5)
    assert queued.attributes["laneway.queue_wait_s"] == told["laneway.queue_wait_s"]
    assert request.start_time <= queued.start_time + 1e6
    assert queued.start_time <= queued.end_time <= request.end_time
    assert request.status.status_code == StatusCode.UNSET
    told = request.to_json() + queued.to_json()
    assert "secret" not in told
    assert gateway.keys["acme"].split("_")[3] not in told
    span_id = f"{request.context.span_id:016x}"
    assert got["traceparent"] == f"00-{TRACE}-{span_id}-01"
    assert got["tracestate"] == "a=1"


async def test_a_request_without_a_trace_begins_one(gateway, spans):
    got = await served(gateway)

    request = spans.get_finished_spans()[-1]
    assert request.parent is None
    assert got["traceparent"].split("-")[1] == f"{request.context.trace_id:032x}"


async def test_a_trace_that_is_not_sampled_costs_no_span_and_goes_on(gateway, spans):
    got = await served(gateway, traceparent=f"00-{TRACE}-{PARENT}-00")

    assert spans.get_finished_spans() == ()
    assert got["traceparent"].split("-")[1] == TRACE
    assert got["traceparent"].endswith("-00")


@pytest.mark.parametrize("header", ["nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "\xff"])
async def test_a_header_that_is_no_trace_harms_nothing(gateway, spans, header):
    await served(gateway, traceparent=header)

    assert spans.get_finished_spans()[-1].parent is None


async def test_who_leaves_the_line_has_a_wait_and_no_dispatch(gateway, spans):
    async with gateway.chat("chat"), gateway.chat("chat"):
        await until(lambda: len(gateway.vllm.generations) == 2)
        async with gateway.chat("translate"):
            await until(lambda: gateway.waiting == 1)
        queued, request = spans.get_finished_spans()

    assert queued.name == "queued"
    assert request.attributes["laneway.outcome"] == "hung_up"
    assert "laneway.backend" not in request.attributes


async def test_a_failure_is_marked_and_a_refusal_has_no_wait(gateway, spans):
    async with gateway.ask(PATH, BODY, key="nobody") as stranger:
        await stranger.done()
    async with gateway.ask(PATH, BODY, headers={"x-task-type": "chat"}) as call:
        await until(lambda: gateway.vllm.generations)
        gateway.vllm.generations[0].reply(500, {"error": {"message": "no", "code": 500}})
        await call.done()

    refused, *_, failed = spans.get_finished_spans()
    assert refused.attributes["http.response.status_code"] == 401
    assert (failed.status.status_code, call.status) == (
        StatusCode.ERROR,
        failed.attributes["http.response.status_code"],
    )


async def test_what_is_answered_here_is_no_part_of_a_trace(gateway, spans):
    async with gateway.ask("/v1/models", method="GET") as call:
        await call.done()

    assert spans.get_finished_spans() == ()


async def test_without_tracing_the_caller_s_trace_passes_through(gateway):
    assert gateway.proxy.tracing is None

    got = await served(gateway, traceparent=f"00-{TRACE}-{PARENT}-01", tracestate="a=1")

    assert got["traceparent"] == f"00-{TRACE}-{PARENT}-01"
    assert got["tracestate"] == "a=1"


def test_it_is_off_unless_a_collector_is_named():
    assert tracing.start("") is None


def test_without_the_extra_it_says_so_and_stays_off(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)

    assert tracing.start("http://127.0.0.1:4318") is None
    assert "Install laneway[otel]" in caplog.text


async def test_with_a_collector_it_starts_and_ends():
    found = tracing.start("http://127.0.0.1:9")

    assert isinstance(found, Tracing)
    await found.close()


async def test_a_collector_that_hangs_does_not_keep_the_gateway_from_ending(monkeypatch, caplog):
    monkeypatch.setattr(tracing, "LAST_SEND_S", 0.05)
    answering = threading.Event()

    class Hanging(InMemorySpanExporter):
        def shutdown(self) -> None:
            answering.wait(20)

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(Hanging()))
    async with asyncio.timeout(5):
        await Tracing(provider).close()

    assert "the last spans may be lost" in caplog.text
    assert all(one.daemon for one in threading.enumerate() if one.name == "traces")
    answering.set()
