#!/usr/bin/env python3
"""What the fitted model foretells of the proof's own arrivals if vLLM were set otherwise.

    whatif.py docs/gpu --gateways present frozen \\
        --engine max_num_batched_tokens=4096,long_prefill_token_threshold=1024

Each ``--engine`` is one set of changes of ``EngineConfig``; as measured comes first.  It prints the
median over the runs of each load, and judges nothing: what it says is to be run on a GPU, by
``prove.py --vllm-options``.
"""

import argparse
import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from statistics import median

from fit import NAMES, foretold, read, told

from gateway.core.engine import EngineConfig

SHOWN = ("tok_s", "urgent_ttft_p50", "urgent_ttft_p95", "urgent_ttft_p99")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gateways", nargs="+", required=True)
    parser.add_argument("--engine", action="append", default=[], help="NAME=NUMBER,NAME=NUMBER")
    parser.add_argument("--kv-tokens", type=int, default=400_000)
    given = parser.parse_args()
    fitted = json.loads((given.folder / "fit.json").read_text())["fitted"]
    costs = {f"step_{name}": fitted[name] for name in NAMES}
    measured = EngineConfig(kv_tokens=given.kv_tokens, **costs)
    runs = [
        run
        for run in read(given.folder)
        if run["about"]["gateway"] in given.gateways
        and run["about"]["arrangement"] in ("priority", "laneway")
        and run["about"]["experiment"] != "starved"
    ]
    for changes in ("", *given.engine):
        pairs = (change.split("=") for change in changes.split(",") if change)
        config = replace(measured, **{name: int(number) for name, number in pairs})
        print(changes or "as measured")
        groups: dict[tuple[str, ...], list[dict[str, float]]] = defaultdict(list)
        for run in runs:
            about = run["about"]
            figures = told(foretold(run, runs, config, fitted["front_s"]), fitted["late_s"])
            groups[about["experiment"], about["arrangement"], about["state"]].append(figures)
        for name, rows in groups.items():
            shown = [
                f"{key} {median(row[key] for row in rows):g}" for key in SHOWN if key in rows[0]
            ]
            print(f"  {' '.join(name):24} {len(rows)} runs   {'   '.join(shown)}", flush=True)


if __name__ == "__main__":
    main()
