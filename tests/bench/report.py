"""The Markdown that docs/bench holds: figures of one run beside each other, and the machine."""

from typing import Any

from rig import COLUMNS

MEANING = {
    "req_s": "requests/s, closed loop",
    "of_nginx": "beside nginx",
    "of_floor": "beside the floor",
    "cpu_us_req": "CPU µs a request",
    "added_p50_ms": "added p50, ms",
    "p50_ms": "p50, ms",
    "p99_ms": "p99, ms",
    "cpu_us_token": "CPU µs a streamed token",
    "tok_p50_ms": "token delay p50, ms",
    "tok_p99_ms": "token delay p99, ms",
    "ttft_p50_ms": "first token p50, ms",
    "ttft_p99_ms": "first token p99, ms",
    "delivered": "share of tokens delivered",
    "kb_stream": "kB an open stream",
    "failed": "failed requests",
}
TARGETS = {  # what the finished product aims at, on the ASGI path under uvicorn
    "added_p50_ms": (0.7, "≤ 0.7"),
    "p99_ms": (5.0, "≤ 5"),
    "cpu_us_token": (45.0, "≤ 45"),
    "kb_stream": (25.0, "≤ 25"),
}


def markdown(result: dict[str, Any], taken_on: str, overload: dict[str, Any] | None) -> str:
    parts = [head(result, taken_on), stacks_table(result), storms(result["summary"])]
    if overload:
        parts.append(overload_table(overload))
    return "\n".join(part for part in parts if part)


def head(result: dict[str, Any], taken_on: str) -> str:
    facts, options, fitness = result["machine"], result["options"], result["fitness"]
    versions = ", ".join(
        f"{name} {facts[name]}"
        for name in ("daphne", "uvicorn", "uvloop", "httptools", "django")
        if name in facts
    )
    return f"""\
# What the gateway costs

Written by `make bench` on {taken_on}; the kit and the meaning of its columns are in
[tests/bench](../../tests/bench/README.md). Compare the columns of this run; figures of two runs
or two machines say little.

- **Machine**: {facts["cpu"]}, {facts["cores"]} cores, {facts["memory"]}, {facts["kernel"]},
  Python {facts["python"]}; {versions}. Every stack on one core.
- **Load**: {options["rounds"]} rounds of {options["seconds"]:g} s; {options["connections"]} \
connections; {options["rate"]:g} requests/s in the quiet phase; {options["streams"]} streams of \
20 tokens/s.
- **Fitness**: the machine's speed varied {fitness["speed_varied"]:.2f}x; a stack stood ready \
without a CPU for {fitness["ready_without_cpu"]:.0%} at most; the generator was busy for \
{fitness["generator_busy"]:.0%}. Above 1.25x or 5 %, something else was running.
"""


def stacks_table(result: dict[str, Any]) -> str:
    """Medians with [range], one column a stack."""
    summary, ranges = result["summary"], result["ranges"]
    names = list(summary)
    rows = ["| | " + " | ".join(names) + " | target |", "|---" * (len(names) + 2) + "|"]
    for key, (_, decimals) in COLUMNS.items():
        if not any(key in summary[name] for name in names):
            continue
        cells = [cell(summary[name], ranges[name], key, decimals) for name in names]
        aim = TARGETS[key][1] if key in TARGETS else ""
        rows.append(f"| {MEANING[key]} | " + " | ".join(cells) + f" | {aim} |")
    rows.append(f"| CPU a token beside the floor | {' | '.join(beside_floor(summary))} | |")
    return "\n".join(rows) + "\n"


def cell(
    row: dict[str, float], spread: dict[str, tuple[float, float]], key: str, decimals: int
) -> str:
    if key not in row:
        return "-"
    text = f"{row[key]:,.{decimals}f}"
    low, high = spread[key]
    if key == "failed" or low == high:
        return text
    return f"{text} [{low:,.{decimals}f}-{high:,.{decimals}f}]"


def beside_floor(summary: dict[str, Any]) -> list[str]:
    floor = summary["floor"].get("cpu_us_token")
    return [
        f"{row['cpu_us_token'] / floor:.2f}" if floor and "cpu_us_token" in row else "-"
        for row in summary.values()
    ]


def storms(summary: dict[str, Any]) -> str:
    lines = [
        f"- **{name}**: {row['hung_up']} clients hung up, half of them by a reset: "
        f"{row['slots_lost']} of {row['slots_before']} slots lost, {row['still_running']} left running."
        for name, row in summary.items()
        if "hung_up" in row
    ]
    return "\n".join(lines) + "\n" if lines else ""


def overload_table(overload: dict[str, Any]) -> str:
    """What each tier waited while more came than the backend could do."""
    rows = [
        "## Overload",
        "",
        f"`tests/bench/overload.py`, {overload['duration']:g} s of the mix `overload` against the "
        f"simulated vLLM, under {overload['server']}: {overload['asked_tokens_per_s']:.0f} tokens/s "
        f"were asked for, {overload['served_tokens_per_s']:.0f} were generated, so "
        f"{overload['factor']:.1f} times too many. Waits are of the served; `open` still waited, or "
        "ran, when the load ended.",
        "",
        "| tier | sent | served | refused | open | oldest open, s | queue wait p50, s | p95, s "
        "| first token p95, s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, tier in overload["tiers"].items():
        counts = f"{tier['sent']} | {tier['ok']} | {sum(tier['refused'].values())}"
        left = f"{tier['unfinished']} | {tier['oldest_unfinished_s']:.0f}"
        wait, ttft = tier["queue_wait_s"], tier["ttft_s"]
        times = " | ".join(
            "-" if s is None else f"{s:.2f}" for s in (wait["p50"], wait["p95"], ttft["p95"])
        )
        rows.append(f"| {name} | {counts} | {left} | {times} |")
    return "\n".join(rows) + "\n"
