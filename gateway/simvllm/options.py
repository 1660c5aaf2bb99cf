"""What a simulated vLLM can be told at the start, under vLLM's own names where it has one."""

from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, Namespace
from dataclasses import dataclass, field

from gateway.core.engine import EngineConfig

VERSION = "0.32.0"  # the vLLM whose behaviour is copied
KEEP_ALIVE_S = 5  # its VLLM_HTTP_TIMEOUT_KEEP_ALIVE

EXAMPLES = """examples:
  one server, 16 at once, on port 8100
    %(prog)s --port 8100 --max-num-seqs 16
  the default policy of vLLM, under which a priority is silently ignored
    %(prog)s --scheduling-policy fcfs
  little KV cache, so that running requests are preempted
    %(prog)s --max-num-seqs 64 --kv-tokens 20000
  ten times as fast as an H200, for tests
    %(prog)s --speed 10
"""


class HelpFormatter(ArgumentDefaultsHelpFormatter):
    """Shows defaults, and keeps the lines of the examples."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "".join(indent + line for line in text.splitlines(keepends=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    host: str = "127.0.0.1"
    port: int = 8100
    model: str = "qwen2.5-7b-instruct"
    max_model_len: int = 32_768
    speed: float = 1.0
    seed: int = 0
    output_mean_tokens: float = 200.0
    output_cv: float = 0.6
    api_keys: tuple[str, ...] = ()
    max_num_queued_reqs: int | None = None
    per_request_metrics: bool = False
    request_id_headers: bool = False
    sse_keep_alive_interval_s: float = 0.0
    stream_interval: int = 1
    dev_mode: bool = False
    engine: EngineConfig = field(default_factory=EngineConfig)

    @property
    def context_tokens(self) -> int:
        """The longest request.  vLLM refuses to start with a smaller KV cache than this asks for;
        a small one is a wish here, to see requests preempted."""
        return min(self.max_model_len, self.engine.most_tokens)


def add_arguments(parser: ArgumentParser) -> None:
    engine, options = EngineConfig(), Options()
    add = parser.add_argument
    add("--host", default=options.host, help="address to listen on")
    add("--port", type=int, default=options.port, help="port to listen on; 0 takes a free one")
    add("--model", default=options.model, help="name the model is served under")
    add("--max-model-len", type=int, default=options.max_model_len, help="prompt and output tokens")
    add("--max-num-seqs", type=int, default=engine.max_num_seqs, help="requests running at once")
    add("--max-num-batched-tokens", type=int, default=engine.max_num_batched_tokens, help="a step")
    add("--long-prefill-token-threshold", type=int, default=0, help="prefill tokens a step; 0: all")
    add("--kv-tokens", type=int, default=120_000, help="tokens the KV cache holds")
    add("--watermark", type=float, default=0.0, help="share of KV blocks kept free on admission")
    add("--enable-prefix-caching", action="store_true", help="skip the prefill of known prefixes")
    add(
        "--scheduling-policy",
        choices=["priority", "fcfs"],
        default="priority",
        help="fcfs, the default of vLLM itself, ignores priorities without a word",
    )
    add("--speed", type=float, default=options.speed, help="2 runs twice as fast as the model")
    add("--seed", type=int, default=options.seed, help="seed of output lengths and words")
    add("--output-mean-tokens", type=float, default=options.output_mean_tokens, help="when free")
    add("--output-cv", type=float, default=options.output_cv, help="their standard deviation/mean")
    add("--api-key", nargs="*", default=[], metavar="KEY", help="keys that open /v1 and /v2")
    add("--max-num-queued-reqs", type=int, help="answer 503 from so many waiting and running on")
    add("--enable-per-request-metrics", action="store_true", help="`metrics` in replies")
    add("--enable-request-id-headers", action="store_true", help="answer X-Request-Id")
    add("--sse-keep-alive-interval", type=float, default=0.0, help="seconds; 0: no comments")
    add("--stream-interval", type=int, default=1, help="tokens a chunk of a stream")
    add("--dev-mode", action="store_true", help="serve /server_info, as VLLM_SERVER_DEV_MODE=1")


def from_arguments(given: Namespace) -> Options:
    """Raises ValueError with a sentence when the numbers contradict each other."""
    if not 0 <= given.port <= 65535:
        raise ValueError("--port must be from 0 (a free one) to 65535")
    if given.speed <= 0:
        raise ValueError("--speed must be above 0")
    return Options(
        host=given.host,
        port=given.port,
        model=given.model,
        max_model_len=given.max_model_len,
        speed=given.speed,
        seed=given.seed,
        output_mean_tokens=given.output_mean_tokens,
        output_cv=given.output_cv,
        api_keys=tuple(given.api_key),
        max_num_queued_reqs=given.max_num_queued_reqs,
        per_request_metrics=given.enable_per_request_metrics,
        request_id_headers=given.enable_request_id_headers,
        sse_keep_alive_interval_s=given.sse_keep_alive_interval,
        stream_interval=given.stream_interval,
        dev_mode=given.dev_mode,
        engine=EngineConfig(
            max_num_seqs=given.max_num_seqs,
            max_num_batched_tokens=given.max_num_batched_tokens,
            kv_tokens=given.kv_tokens,
            scheduling_policy=given.scheduling_policy,
            long_prefill_token_threshold=given.long_prefill_token_threshold,
            watermark_share=given.watermark,
            prefix_cache=given.enable_prefix_caching,
        ),
    )
