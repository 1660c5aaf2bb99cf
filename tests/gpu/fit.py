#!/usr/bin/env python3
"""Fit the engine model to records of the proof, and say how well it foretells the other half.

    fit.py docs/gpu [--gateways shipped …] [--kv-tokens 400000] [--max-num-seqs 256]

A step takes ``base + a·decoding + c·prefill tokens + e·KV tokens resident``: non-negative least
squares over the quarter seconds of the runs of repeat 0.  The later repeats are held out: their
arrivals go through the model, the direct ones through the engine alone, Laneway's through the
production scheduler and law as well, and what comes out is set beside what was measured.  Two
things are vLLM's HTTP server's and not its engine's: ``front_s``, the time it takes for a request
of a burst, one after the other, and ``late_s``, by how much a first token comes later than from
the engine (the server itself, and the step that asynchronous scheduling is ahead).
"""

import argparse
import gzip
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from figures import (
    AT,
    FIRST,
    KIND,
    LAST,
    OK,
    OUTPUT,
    PROMPT,
    STATUS,
    STREAM,
    full_between,
    quantile,
)

from gateway.core.engine import Engine, EngineConfig, Finished, FirstToken
from gateway.core.policy import default_policy
from gateway.core.simulator import Setup, simulate

STEPS_LEAST = 3
GAP_S = 6.0  # between a cold run and the warm one after it
NAMES = ("base_s", "per_decoding_s", "per_prefill_token_s", "per_kv_token_s")
Vector = list[float]


class Arrived(NamedTuple):
    at_s: float
    tenant: str
    task_type: str
    prompt_tokens: int
    output_tokens: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kv-tokens", type=int, default=400_000)
    parser.add_argument("--max-num-seqs", type=int, default=256)
    parser.add_argument(
        "--gateways", nargs="+", default=["shipped"], help="those whose runs the law here steered"
    )
    given = parser.parse_args()
    runs = [
        run
        for run in read(given.folder)
        if run["about"]["arrangement"] != "laneway"
        or run["about"]["repeat"] == 0
        or run["about"]["gateway"] in given.gateways
    ]
    fitting = [run for run in runs if run["about"]["repeat"] == 0]
    held_out = [run for run in runs if run["about"]["repeat"] != 0] or fitting
    steps = [row for run in fitting for row in quarters(run, given.kv_tokens)]
    costs = least_squares(steps)
    front_s = median(filter(None, map(front, fitting)))
    config = EngineConfig(
        max_num_seqs=given.max_num_seqs,
        kv_tokens=given.kv_tokens,
        **{f"step_{name}": cost for name, cost in zip(NAMES, costs, strict=True)},
    )
    late_s = median(
        row["measured"]["urgent_ttft_p50"] - row["foretold"]["urgent_ttft_p50"]
        for run in fitting
        if run["about"]["arrangement"] == "priority"
        and (row := compared(run, fitting, config, front_s, 0.0))
    )
    off = sorted(abs(error) for error in errors(steps, costs))
    report = {
        "fitted": dict(zip(NAMES, costs, strict=True)) | {"front_s": front_s, "late_s": late_s},
        "gateways": given.gateways,
        "quarter_seconds": len(steps),
        "step_error_p50": round(off[len(off) // 2], 3),
        "step_error_p90": round(off[int(0.9 * len(off))], 3),
        "held_out": [
            row for run in held_out if (row := compared(run, held_out, config, front_s, late_s))
        ],
    }
    (given.folder / "fit.json").write_text(json.dumps(report, indent=1) + "\n")
    show(report)


def read(folder: Path) -> Iterator[dict[str, Any]]:
    for file in sorted((folder / "runs").glob("*.json.gz")):
        with gzip.open(file, "rt") as text:
            run = json.load(text)
        if run["about"]["experiment"] not in ("idle", "streams", "streamed"):
            # of many streams vLLM's HTTP server is the bottleneck, not what is fitted here
            yield run


# Fitting


def quarters(run: dict[str, Any], kv_tokens: int) -> Iterator[tuple[float, Vector, float]]:
    """(seconds a step, [1, decoding, prefill tokens, KV tokens], steps) of each quarter second."""
    watched = run["watched"]
    rows = [
        dict(zip(watched, values, strict=True)) for values in zip(*watched.values(), strict=True)
    ]
    for before, after in itertools.pairwise(rows):
        steps = after["steps"] - before["steps"]
        if steps < STEPS_LEAST or min(before["running"], after["running"]) < 2:
            continue
        decoding = (after["generation_tokens"] - before["generation_tokens"]) / steps
        prefill = max(0.0, (after["step_tokens"] - before["step_tokens"]) / steps - decoding)
        resident = (before["kv"] + after["kv"]) / 2 * kv_tokens
        yield (after["t"] - before["t"]) / steps, [1.0, decoding, prefill, resident], steps


def least_squares(rows: list[tuple[float, Vector, float]]) -> Vector:
    """Non-negative, of relative errors: the best over all choices of terms that are not 0."""
    best: tuple[float, Vector] | None = None
    for size in range(1, len(NAMES) + 1):
        for terms in itertools.combinations(range(len(NAMES)), size):
            costs = [0.0] * len(NAMES)
            for term, cost in zip(terms, _solved(rows, terms), strict=True):
                costs[term] = cost
            if min(costs) < 0:
                continue
            off = sum(
                weight * error**2
                for error, (_, _, weight) in zip(errors(rows, costs), rows, strict=True)
            )
            if best is None or off < best[0]:
                best = off, costs
    assert best is not None
    return best[1]


def errors(rows: list[tuple[float, Vector, float]], costs: Vector) -> Vector:
    return [
        sum(cost * amount for cost, amount in zip(costs, amounts, strict=True)) / took - 1
        for took, amounts, _ in rows
    ]


def _solved(rows: list[tuple[float, Vector, float]], terms: tuple[int, ...]) -> Vector:
    """The normal equations by Gauss's elimination; four terms need no library."""
    size = len(terms)
    table = [[0.0] * (size + 1) for _ in range(size)]
    for took, amounts, weight in rows:
        shares = [amounts[term] / took for term in terms]
        for line, share in enumerate(shares):
            for column, other in enumerate(shares):
                table[line][column] += weight * share * other
            table[line][size] += weight * share
    for pivot in range(size):
        table[pivot:] = sorted(table[pivot:], key=lambda line: -abs(line[pivot]))
        if not table[pivot][pivot]:
            return [-1.0] * size
        for line in range(size):
            if line != pivot:
                factor = table[line][pivot] / table[pivot][pivot]
                table[line] = [
                    x - factor * y for x, y in zip(table[line], table[pivot], strict=True)
                ]
    return [table[line][size] / table[line][line] for line in range(size)]


def front(run: dict[str, Any]) -> float | None:
    """Seconds vLLM's HTTP server takes for one request of a direct burst, before the engine has it."""
    if run["about"]["arrangement"] == "laneway" or "n" not in run["about"]:
        return None
    watched, n = run["watched"], run["about"]["n"]
    known = [
        (t, running + waiting)
        for t, running, waiting in zip(
            watched["t"], watched["running"], watched["waiting"], strict=True
        )
        if t > 0 and 0.05 * n < running + waiting < 0.9 * n
    ]
    return min(t / requests for t, requests in known) if known else None


# Foretelling


def compared(
    run: dict[str, Any],
    runs: list[dict[str, Any]],
    config: EngineConfig,
    front_s: float,
    late_s: float,
) -> dict[str, Any] | None:
    """What was measured of a run and what is foretold of it; None where it can't be told."""
    about = run["about"]
    if about["experiment"] == "starved":
        return None
    row = {key: about[key] for key in ("experiment", "arrangement", "gateway", "state", "repeat")}
    measured = [record for record in run["records"] if record[STATUS] == OK]
    row["measured"] = told(measured)
    row["foretold"] = told(foretold(run, runs, config, front_s), late_s)
    return row


def foretold(
    run: dict[str, Any], runs: list[dict[str, Any]], config: EngineConfig, front_s: float
) -> list[list[Any]]:
    """The records of a run's arrivals as the model gives them."""
    about = run["about"]
    if about["arrangement"] != "laneway":
        return direct(run, config, front_s)
    if about["state"] == "cold":
        return through_laneway([run], config)
    before = [
        one
        for one in runs
        if one["about"] | {"state": ""} == about | {"state": ""} and one["about"]["state"] == "cold"
    ]
    return through_laneway([*before, run], config)


def told(records: list[list[Any]], late_s: float = 0.0) -> dict[str, float]:
    """The figures of a run, in tokens/s and seconds."""
    window = full_between(records)
    assert window is not None
    start, end = window
    tokens = sum(one[OUTPUT] for one in records if start <= one[LAST] < end)
    urgent = [one[FIRST] - one[AT] for one in records if one[KIND] == "urgent" and one[AT] < end]
    ends = [one[LAST] - one[AT] for one in records if one[KIND] == "low"]
    figures = {"tok_s": round(tokens / (end - start))}
    for label, share in (("p50", 0.5), ("p95", 0.95)):
        figures[f"low_e2e_{label}"] = round(quantile(ends, share) or 0, 3)
    for label, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        if urgent:
            figures[f"urgent_ttft_{label}"] = round((quantile(urgent, share) or 0) + late_s, 4)
    return figures


def direct(run: dict[str, Any], config: EngineConfig, front_s: float) -> list[list[Any]]:
    """Through vLLM's front end, one by one, and the engine."""
    numbers = {"low": 5, "urgent": -10} if run["about"]["arrangement"] == "priority" else {}
    engine = Engine(config)
    rows = sorted(([*row] for row in run["records"]), key=lambda row: row[AT])
    free_s = 0.0
    for place, row in enumerate(rows):
        free_s = max(free_s, row[AT]) + front_s
        _take_in(engine, rows, free_s)
        number = numbers.get(row[KIND], 0)
        engine.submit(str(place), row[PROMPT], row[OUTPUT], number, free_s)
    _take_in(engine, rows, 1e6)
    return rows


def _take_in(engine: Engine, rows: list[list[Any]], until_s: float) -> None:
    for event in engine.advance(until_s):
        row = rows[int(event.id)]
        if isinstance(event, FirstToken):
            row[FIRST] = event.at_s
        elif isinstance(event, Finished):
            row[LAST] = event.at_s
            row[FIRST] = row[FIRST] if row[STREAM] else event.at_s


def through_laneway(runs: list[dict[str, Any]], config: EngineConfig) -> list[list[Any]]:
    """The last of ``runs``, after those before it: a warm gateway is one that has seen them."""
    arrivals, starts, start = [], [], 0.0
    for run in runs:
        starts.append(start)
        rows = sorted(run["records"], key=lambda row: row[AT])
        arrivals += [
            Arrived(
                start + row[AT],
                "proof",
                "chat" if row[KIND] == "urgent" else "batch_inference",
                row[PROMPT],
                row[OUTPUT],
            )
            for row in rows
        ]
        start += max(row[LAST] or 0 for row in rows) + GAP_S
    report = simulate(Setup(policy=default_policy(), engines={"gpu": config}), arrivals)
    foretold = []
    for outcome in report.outcomes:
        at_s = outcome.arrived_ms / 1000 - starts[-1]
        if at_s < -GAP_S / 2 or outcome.finished_s is None or outcome.first_token_s is None:
            continue
        kind = "urgent" if outcome.tier == "realtime" else "low"
        first_s, last_s = outcome.first_token_s - starts[-1], outcome.finished_s - starts[-1]
        row = [kind, at_s, outcome.prompt_tokens, outcome.output_tokens, 0, OK, at_s, None]
        foretold.append([*row, first_s, last_s, 0])
    return foretold


def show(report: dict[str, Any]) -> None:
    for name, value in report["fitted"].items():
        print(f"{name:22} {value:.3e}")
    print(
        f"step time: median error {report['step_error_p50']:.1%}, p90 {report['step_error_p90']:.1%}"
    )
    for row in report["held_out"]:
        name = " ".join(str(row[key]) for key in ("experiment", "arrangement", "state", "repeat"))
        pairs = [
            f"{key} {row['measured'][key]:g} → {row['foretold'][key]:g}"
            for key in row["measured"]
            if row["measured"][key] and row["foretold"].get(key)
        ]
        print(f"{name:32} {'   '.join(pairs)}")


if __name__ == "__main__":
    main()
