"""What the simulated vLLM tells Prometheus: vLLM's names, labels and buckets.

As in vLLM, queue time and E2E are observed when a request ends, and a client that hangs up is
counted nowhere but in the first token it may have had (``vllm/v1/metrics/loggers.py``).
Seconds are those of the wall, whatever the speed.
"""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from gateway.core.engine import BLOCK_TOKENS, Engine, Finished
from gateway.simvllm.options import Options

CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8"

_STEPS = (1, 2.5, 5, 7.5, 10, 20, 40, 80)
_TTFT_S = (
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    *_STEPS,
    160,
    640,
    2560,
)
_TOKEN_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, *_STEPS)
_MINUTES_S = (60, 120, 240, 480, 960, 1920, 7680)
_LATENCY_S = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, *_MINUTES_S)
_TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)


class Metrics:
    def __init__(self, options: Options) -> None:
        self.registry = CollectorRegistry()
        self._labels = {"engine": "0", "model_name": options.model}
        self._speed = options.speed
        self._steps = 0
        self._shown_waiting = 0
        self._counted = {"preemptions": 0, "generation_tokens": 0, "queries": 0, "hits": 0}

        self._running = self._gauge("num_requests_running", "Requests in execution batches.")
        self._waiting = self._gauge("num_requests_waiting", "Requests waiting to be processed.")
        by_reason = Gauge(
            "vllm:num_requests_waiting_by_reason",
            "Requests waiting, by what they wait for.",
            [*self._labels, "reason"],
            registry=self.registry,
        )
        self._waiting_for_capacity = by_reason.labels(**self._labels, reason="capacity")
        by_reason.labels(**self._labels, reason="deferred").set(0)
        self._kv = self._gauge("kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent.")

        self._preemptions = self._counter("num_preemptions", "Preemptions by the engine.")
        self._prompt = self._counter("prompt_tokens", "Prefill tokens processed.")
        self._generation = self._counter("generation_tokens", "Generation tokens processed.")
        self._queries = self._counter("prefix_cache_queries", "Tokens looked up in the cache.")
        self._hits = self._counter("prefix_cache_hits", "Tokens found in the prefix cache.")
        self._success = Counter(
            "vllm:request_success",
            "Requests processed to their end.",
            [*self._labels, "finished_reason"],
            registry=self.registry,
        )
        for reason in ("stop", "length", "abort", "error", "repetition"):
            self._success.labels(**self._labels, finished_reason=reason)
        rejections = Counter(
            "vllm:admission_rejections",
            "Requests refused before the engine saw them.",
            ["model_name", "reason"],
            registry=self.registry,
        )
        self._rejections = rejections.labels(options.model, "max_num_queued_reqs")

        self._queue_s = self._histogram("request_queue_time_seconds", "WAITING phase.", _LATENCY_S)
        self._ttft_s = self._histogram("time_to_first_token_seconds", "TTFT.", _TTFT_S)
        self._itl_s = self._histogram("inter_token_latency_seconds", "Each token.", _TOKEN_S)
        self._e2e_s = self._histogram("e2e_request_latency_seconds", "End to end.", _LATENCY_S)
        self._inference_s = self._histogram("request_inference_time_seconds", "RUN", _LATENCY_S)
        self._prefill_s = self._histogram("request_prefill_time_seconds", "PREFILL", _LATENCY_S)
        self._decode_s = self._histogram("request_decode_time_seconds", "DECODE", _LATENCY_S)
        self._per_token_s = self._histogram(
            "request_time_per_output_token_seconds", "Mean of a request.", _TOKEN_S
        )
        self._prompts = self._histogram("request_prompt_tokens", "Prompt tokens.", _TOKENS)
        self._outputs = self._histogram("request_generation_tokens", "Output tokens.", _TOKENS)

        self._cache_config(options)
        self._http = Counter(
            "http_requests",
            "Requests by handler, method and status.",
            ["handler", "method", "status"],
            registry=self.registry,
        )

    def text(self) -> bytes:
        return generate_latest(self.registry)

    def count(self, engine: Engine) -> None:
        """Take over what the engine counts itself; called after each advance."""
        counters = engine.counters
        waiting = engine.waiting
        if counters.steps == self._steps:
            # vLLM sets its gauges after a step has scheduled: who came since is not seen waiting,
            # who left is.
            waiting = min(waiting, self._shown_waiting)
        self._steps, self._shown_waiting = counters.steps, waiting
        self._running.set(engine.running)
        self._waiting.set(waiting)
        self._waiting_for_capacity.set(waiting)
        self._kv.set(engine.kv_usage)
        for name, metric, total in (
            ("preemptions", self._preemptions, counters.preemptions),
            ("generation_tokens", self._generation, counters.generation_tokens),
            ("queries", self._queries, counters.prefix_queries_tokens),
            ("hits", self._hits, counters.prefix_hits_tokens),
        ):
            metric.inc(total - self._counted[name])
            self._counted[name] = total

    def first_token(self, ttft_s: float, prompt_tokens: int) -> None:
        self._prompt.inc(prompt_tokens)
        self._ttft_s.observe(ttft_s / self._speed)

    def gained(self, tokens: int, over_s: float) -> None:
        """So many tokens of one request, ``over_s`` engine seconds after the one before them."""
        each_s = over_s / tokens / self._speed
        for _ in range(tokens):
            self._itl_s.observe(each_s)

    def ended(self, event: Finished, reason: str) -> None:
        run_s = (event.at_s - event.started_s) / self._speed
        decode_s = (event.at_s - event.first_token_s) / self._speed
        self._queue_s.observe((event.started_s - event.arrived_s) / self._speed)
        self._e2e_s.observe((event.at_s - event.arrived_s) / self._speed)
        self._inference_s.observe(run_s)
        self._prefill_s.observe(run_s - decode_s)
        self._decode_s.observe(decode_s)
        if event.output_tokens > 1:
            self._per_token_s.observe(decode_s / (event.output_tokens - 1))
        self._prompts.observe(event.prompt_tokens)
        self._outputs.observe(event.output_tokens)
        self._success.labels(**self._labels, finished_reason=reason).inc()

    def refused(self) -> None:
        self._rejections.inc()

    def answered(self, handler: str, method: str, status: int) -> None:
        self._http.labels(handler, method, f"{status // 100}xx").inc()

    def _gauge(self, name: str, text: str) -> Gauge:
        metric = Gauge(f"vllm:{name}", text, [*self._labels], registry=self.registry)
        return metric.labels(**self._labels)

    def _counter(self, name: str, text: str) -> Counter:
        metric = Counter(f"vllm:{name}", text, [*self._labels], registry=self.registry)
        return metric.labels(**self._labels)

    def _histogram(self, name: str, text: str, buckets: Sequence[float]) -> Histogram:
        labels = [*self._labels]
        metric = Histogram(f"vllm:{name}", text, labels, registry=self.registry, buckets=buckets)
        return metric.labels(**self._labels)

    def _cache_config(self, options: Options) -> None:
        blocks = options.engine.kv_tokens // BLOCK_TOKENS
        config = {
            "engine": "0",
            "block_size": str(BLOCK_TOKENS),
            "enable_prefix_caching": str(options.engine.prefix_cache),
            "kv_cache_size_tokens": str(blocks * BLOCK_TOKENS),
            "num_gpu_blocks": str(blocks),
        }
        metric = Gauge(
            "vllm:cache_config_info",
            "Information of the LLMEngine CacheConfig.",
            list(config),
            registry=self.registry,
        )
        metric.labels(**config).set(1)
