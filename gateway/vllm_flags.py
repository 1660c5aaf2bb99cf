"""The flags under which vLLM works well behind this gateway, each with its reason.

Pure: a model and a few numbers in, an argument list out.  Names are those of vLLM 0.32.0
(vllm/engine/arg_utils.py, vllm/entrypoints/launchers/cli_args.py).
"""

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

# A step of the engine, half of vLLM's default on an H100 or H200. An urgent request waits for the step
# it meets, and 8,192 prompt tokens take 0.18 s. The model fitted to docs/gpu foretells 0.16-0.19 s at
# p95 becoming 0.15-0.16 s, p99 0.25 s becoming 0.19-0.22 s, at the same tokens/s.
BATCHED_TOKENS = 4096
TOOL_PARSERS = (  # by what a model's name contains; Qwen 2.5 and 3 write calls as Hermes does
    ("qwen3-coder", "qwen3_coder"),
    ("qwen", "hermes"),
    ("hermes", "hermes"),
    ("llama-4", "llama4_pythonic"),
    ("llama-3", "llama3_json"),
    ("mistral", "mistral"),
    ("deepseek", "deepseek_v3"),
)


class Wanted(NamedTuple):
    model: str
    slots: int = 256  # requests of every tier at once
    holdback_share: float = 0.05  # of the policy in force: slots above them for urgent tiers
    max_model_len: int | None = None
    host: str = "127.0.0.1"
    port: int = 8001
    served_name: str = ""

    @property
    def max_num_seqs(self) -> int:
        """What all tiers may fill and what is held back above it, so that an urgent request finds
        a sequence and not only a place in the engine's queue."""
        return self.slots + ceil(self.holdback_share * self.slots)


class Flag(NamedTuple):
    name: str
    value: str = ""
    reason: str = ""


def flags(wanted: Wanted) -> list[Flag]:
    """Those that matter, in the order to read them in."""
    chosen = [
        Flag("--host", wanted.host),
        Flag("--port", str(wanted.port)),
        Flag("--scheduling-policy", "priority", "the default ignores priorities without a word"),
        Flag("--max-num-seqs", str(wanted.max_num_seqs), f"{wanted.slots} and the held-back slots"),
        Flag(
            "--max-num-batched-tokens",
            str(BATCHED_TOKENS),
            "half of the usual step: an urgent request waits for the one it meets",
        ),
        Flag(
            "--long-prefill-token-threshold",
            str(BATCHED_TOKENS // 4),
            "a long prompt takes a quarter of a step at most, so urgent ones start beside it",
        ),
        Flag(
            "--max-num-queued-reqs",
            str(2 * wanted.max_num_seqs),
            "a backstop against other clients; Laneway stays far below it",
        ),
        Flag("--enable-prefix-caching"),
        Flag("--enable-per-request-metrics", "", "the engine's own queue time of each request"),
    ]
    if wanted.max_model_len:
        chosen.append(Flag("--max-model-len", str(wanted.max_model_len)))
    if wanted.served_name:
        chosen.append(Flag("--served-model-name", wanted.served_name))
    parser = tool_parser(wanted.model)
    if parser:
        chosen += [Flag("--enable-auto-tool-choice"), Flag("--tool-call-parser", parser)]
    return chosen


def tool_parser(model: str) -> str:
    """The parser for a family of models; "" for one that is not known here."""
    name = model.lower()
    return next((parser for part, parser in TOOL_PARSERS if part in name), "")


def command(wanted: Wanted, extra: Sequence[str] = (), program: str = "vllm") -> list[str]:
    """The whole line.  A flag in ``extra`` takes the place of ours."""
    given = {part.split("=", 1)[0] for part in extra if part.startswith("--")}
    ours = [flag for flag in flags(wanted) if flag.name not in given]
    parts = [part for flag in ours for part in (flag.name, flag.value) if part]
    return [program, "serve", wanted.model, *parts, *extra]
