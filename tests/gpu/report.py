#!/usr/bin/env python3
"""Tables and plots from what prove.py wrote.

report.py docs/gpu [--chromium /usr/bin/chromium]     writes results.md, *.html and, with a
                                                      Chromium, *.png into the same folder
"""

import argparse
import gzip
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import plotly.graph_objects as go
from figures import AT, FIRST, KIND, OK, STATUS, STREAM, quantile
from plotly.subplots import make_subplots

Run = dict[str, Any]
Figures = dict[str, Any]
SCRIPT = "../../static/vendor/plotly-basic.min.js"
SIZE = "1100,520"
BURSTS = {"urgent5": 5, "urgent15": 15}
COLOURS = {"fcfs": "#868e96", "priority": "#d9480f", "shipped": "#9775fa", "present": "#087f5b",
           "frozen": "#1971c2"}  # fmt: skip
DRAWN = tuple(COLOURS)[2:]  # the first gateway and the last two; the tables have all


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--chromium", default=shutil.which("chromium") or "")
    given = parser.parse_args()
    runs = list(read(given.folder))
    drawn = [run for run in runs if run["about"]["gateway"] in DRAWN]
    (given.folder / "results.md").write_text("\n".join(document(runs, given.folder)) + "\n")
    for name, figure in (("ttft", first_tokens(drawn)), ("burst", bursts(drawn))):
        page = given.folder / f"{name}.html"
        figure.write_html(page, include_plotlyjs=SCRIPT, config={"displayModeBar": False})
        if given.chromium:
            picture(given.chromium, page)


def read(folder: Path) -> Iterator[Run]:
    for file in sorted((folder / "runs").glob("*.json.gz")):
        with gzip.open(file, "rt") as text:
            yield json.load(text)


# Tables


def document(runs: list[Run], folder: Path) -> Iterator[str]:
    figures = [run["figures"] for run in runs]
    yield "# Measured on a GPU\n"
    yield "Written by `python tests/gpu/report.py docs/gpu`; README.md beside this reads it.\n"
    yield from machines(folder)
    yield "\n## Goodput, saturated: everything sent at once\n"
    yield "Output tokens/s of requests answered between 15 % and 80 % of the backlog.\n"
    yield from table(
        "load | gateway | state | repeat | direct | Laneway | Laneway/direct | whole run, Laneway/direct",
        goodput(figures),
    )
    yield "\n## Urgent streams (300 in / 60 out, Poisson) beside a backlog of 1,000 (500 / 200)\n"
    yield "All runs of a row together; TTFT from the moment a request was due.\n"
    yield from table(
        "urgent/s | arrangement | gateway | state | n | p50 | p95 | p99 | worst | p99/direct priority | goodput/direct priority",
        urgent(runs),
    )
    yield "\nThe same by run: a repeat's own direct run is the fairest comparison.\n"
    yield from table(
        "urgent/s | repeat | arrangement | gateway | state | p50 | p95 | p99 | tok/s | engine waiting, mean",
        urgent_runs(figures),
    )
    yield "\n## Changing mix: chat, long, short, chat by turns at 1.15 times capacity, 5 urgent/s\n"
    yield "All urgent requests of a turn that had a first token; the low ones by when they were due.\n"
    yield from table(
        "arrangement | gateway | repeat | turn | urgent | p50 | p95 | p99 | worst | low answered | refused (429) | cut at the end",
        mixed(runs),
    )
    yield "\n## Requests waiting inside vLLM while the gateway queues\n"
    yield from table(
        "load | gateway | state | repeat | waiting, mean | B + holdback | waiting, most",
        waiting(figures),
    )
    yield "\n## Starvation: batch under urgent load at 1.1 times capacity\n"
    yield from table(
        "arrangement | gateway | batch requests | wait p50 | worst | bound printed once overdue | broken | printed before | broken",
        starvation(figures),
    )
    yield "\n## Cost: 256 streams, and one at a time\n"
    yield from table(
        "arrangement | tok/s | TTFT p50 | p95 | queued p95 | gateway, CPU µs/token | its share of a core | vLLM's HTTP server, CPU µs/token | its share",
        streams(runs),
    )
    yield from idle(figures)


def table(head: str, rows: Iterable[Iterable[Any]]) -> Iterator[str]:
    names = head.split(" | ")
    yield f"| {head} |"
    yield "|" + "---|" * len(names)
    for row in rows:
        yield "| " + " | ".join(shown(cell) for cell in row) + " |"


def shown(cell: Any) -> str:
    if cell is None:
        return "-"
    return f"{cell:,.3g}" if isinstance(cell, float) and abs(cell) < 1000 else (
        f"{cell:,.0f}" if isinstance(cell, float) else str(cell)
    )  # fmt: skip


def percent(value: float | None, of: float | None) -> str:
    return f"{100 * value / of:.1f} %" if value and of else "-"


def machines(folder: Path) -> Iterator[str]:
    rows = [json.loads(line) for line in (folder / "machine.jsonl").read_text().splitlines()]
    seen = set()
    for row in rows:
        key = (row.get("gateway"), row["laneway"])
        if key in seen:
            continue
        seen.add(key)
        versions = ", ".join(f"{name} {version}" for name, version in row["versions"].items())
        yield f"- {row.get('gateway', 'shipped')}: Laneway {row['laneway']}, {row['at']}, {row.get('gpu', 'no GPU')}; "
        yield f"  {versions}; Python {row['python']}; `{row['command']}`"


def goodput(figures: list[Figures]) -> Iterator[list[Any]]:
    for name in ("chat", "streamed", "short", "long"):
        of = [one for one in figures if one["experiment"] == name]
        direct = {one["repeat"]: one for one in of if one["arrangement"] == "fcfs"}
        for one in of:
            base = direct.get(one["repeat"])
            if one["arrangement"] == "laneway" and base:
                yield [name, one["gateway"], one["state"], one["repeat"], base["tok_s"], one["tok_s"],
                       percent(one["tok_s"], base["tok_s"]),
                       percent(one["whole_tok_s"], base["whole_tok_s"])]  # fmt: skip


def urgent(runs: list[Run]) -> Iterator[list[Any]]:
    for name, per_s in BURSTS.items():
        of = [run for run in runs if run["about"]["experiment"] == name]
        direct = {
            run["about"]["repeat"]: run for run in of if run["about"]["arrangement"] == "priority"
        }
        for rows in grouped(of):
            told = rows[0]["about"]
            waits = [wait for run in rows for wait in first_token_waits(run)]
            beside = [direct[run["about"]["repeat"]] for run in rows]
            direct_p99 = quantile([w for run in beside for w in first_token_waits(run)], 0.99)
            ratio = fmean(
                run["figures"]["tok_s"] / other["figures"]["tok_s"]
                for run, other in zip(rows, beside, strict=True)
            )
            p99 = quantile(waits, 0.99)
            yield [per_s, told["arrangement"], gateway(told), told["state"], len(waits),
                   quantile(waits, 0.5), quantile(waits, 0.95), p99, quantile(waits, 1),
                   None if p99 is None or direct_p99 is None else round(p99 / direct_p99, 2),
                   f"{100 * ratio:.1f} %"]  # fmt: skip


def mixed(runs: list[Run]) -> Iterator[list[Any]]:
    for run in runs:
        told, phase_s = run["about"], run["figures"].get("phase_s")
        if told["experiment"] != "mixed":
            continue
        for turn in (1, 2, 3, 4, "all"):
            rows = [
                row
                for row in run["records"]
                if turn == "all" or int(row[AT] // phase_s) == turn - 1
            ]
            waits = [row[FIRST] - row[AT] for row in rows if row[KIND] == "urgent" and row[FIRST]]
            low = [row[STATUS] for row in rows if row[KIND] == "low"]
            yield [told["arrangement"], gateway(told), told["repeat"], turn, len(waits),
                   *(quantile(waits, share) for share in (0.5, 0.95, 0.99, 1)),
                   *(low.count(status) for status in (OK, 429, 0))]  # fmt: skip


def grouped(runs: list[Run]) -> list[list[Run]]:
    groups: dict[tuple[str, str, str], list[Run]] = {}
    for run in runs:
        told = run["about"]
        groups.setdefault((told["arrangement"], gateway(told), told["state"]), []).append(run)
    order = ["fcfs", "priority", "laneway"]
    return [groups[key] for key in sorted(groups, key=lambda key: (order.index(key[0]), key[1:]))]


def gateway(told: dict[str, Any]) -> str:
    return str(told["gateway"]) if told["arrangement"] == "laneway" else "-"


def first_token_waits(run: Run) -> list[float]:
    """Of the urgent ones that came while the engine was full."""
    return [
        row[FIRST] - row[AT]
        for row in run["records"]
        if row[KIND] == "urgent"
        and row[STATUS] == OK
        and row[STREAM]
        and row[AT] < run["figures"]["to_s"]
    ]


def urgent_runs(figures: list[Figures]) -> Iterator[list[Any]]:
    for name, per_s in BURSTS.items():
        of = [one for one in figures if one["experiment"] == name]
        for one in sorted(of, key=lambda one: one["repeat"]):
            yield [per_s, one["repeat"], one["arrangement"], gateway(one), one["state"],
                   one["urgent_ttft_p50"], one["urgent_ttft_p95"], one["urgent_ttft_p99"],
                   one["tok_s"], one["engine_waiting"]]  # fmt: skip


def waiting(figures: list[Figures]) -> Iterator[list[Any]]:
    for one in figures:
        queued = one["experiment"] != "streams" and one.get("lookahead") is not None
        if one["arrangement"] == "laneway" and queued:
            yield [one["experiment"], one["gateway"], one["state"], one["repeat"],
                   one["engine_waiting"], one["lookahead"] + one["held_back"],
                   one["engine_waiting_most"]]  # fmt: skip


def starvation(figures: list[Figures]) -> Iterator[list[Any]]:
    for one in figures:
        if one["experiment"] == "starved":
            span = "-"
            if "bound_most_s" in one:
                span = f"{one['bound_least_s']}-{one['bound_most_s']} s ({one['bounds_printed']})"
            yield [one["arrangement"], gateway(one), one["batch_n"], one["batch_wait_p50_s"],
                   one["batch_wait_worst_s"], span, one.get("bounds_broken"),
                   one.get("early_printed"), one.get("early_broken")]  # fmt: skip


def streams(runs: list[Run]) -> Iterator[list[Any]]:
    for run in runs:
        one, watched = run["figures"], run["watched"]
        if one["experiment"] != "streams":
            continue
        start, end = one["window"]
        inside = [place for place, t in enumerate(watched["t"]) if start <= t <= end]
        first, last = inside[0], inside[-1]

        def grown(name: str, a: int = first, b: int = last, rows: Any = watched) -> float | None:
            values = rows.get(name)
            return values[b] - values[a] if values and values[a] is not None else None

        seconds, tokens = grown("t") or 1.0, grown("generation_tokens") or 1.0
        cells: list[Any] = []
        for name in ("cpu_laneway", "cpu_vllm_api"):
            cpu_s = grown(name)
            cells += [None if cpu_s is None else 1e6 * cpu_s / tokens, percent(cpu_s, seconds)]
        yield [one["arrangement"], tokens / seconds, one["ttft_p50"], one["ttft_p95"],
               one["queued_p95_ms"] / 1000, *cells]  # fmt: skip


def idle(figures: list[Figures]) -> Iterator[str]:
    for one in figures:
        if one["experiment"] == "idle":
            p50 = [one[f"idle_ttft_p50_{name}"] * 1000 for name in ("fcfs", "laneway")]
            p95 = [one[f"idle_ttft_p95_{name}"] * 1000 for name in ("fcfs", "laneway")]
            yield (
                f"\nOne at a time, TTFT direct → Laneway: p50 {p50[0]:.1f} → {p50[1]:.1f} ms, "
                f"p95 {p95[0]:.1f} → {p95[1]:.1f} ms."
            )


# Plots


def first_tokens(runs: list[Run]) -> go.Figure:
    """The share of urgent requests that had their first token within a time."""
    figure = make_subplots(1, 2, subplot_titles=[f"{n} urgent/s" for n in BURSTS.values()])
    for column, name in enumerate(BURSTS, 1):
        for rows in grouped([run for run in runs if run["about"]["experiment"] == name]):
            told = rows[0]["about"]
            waits = sorted(wait for run in rows for wait in first_token_waits(run))
            direct = told["arrangement"] != "laneway"
            label = (
                told["arrangement"] if direct else f"Laneway, {told['gateway']}, {told['state']}"
            )
            figure.add_scatter(
                x=waits,
                y=[(place + 1) / len(waits) for place in range(len(waits))],
                name=f"direct, {label}" if direct else label,
                legendgroup=label,
                showlegend=column == 1,
                line={
                    "color": COLOURS.get(told["arrangement"] if direct else told["gateway"]),
                    "dash": "dot" if told["state"] == "cold" else "solid",
                    "shape": "hv",
                },
                row=1,
                col=column,
            )
    figure.update_xaxes(type="log", title="time to first token, s")
    figure.update_yaxes(title="share of urgent requests", range=[0.5, 1.0])
    figure.update_layout(template="plotly_white", width=1100, height=520)
    return figure


def bursts(runs: list[Run]) -> go.Figure:
    """What a cold gateway and the engine did in the first seconds of a backlog."""
    of = {
        run["about"]["gateway"]: run
        for run in runs
        if (run["about"]["experiment"], run["about"]["state"]) == ("urgent5", "cold")
    }
    figure = make_subplots(1, len(of), subplot_titles=list(of), shared_yaxes=True)
    for column, run in enumerate(of.values(), 1):
        traced, watched = run["traced"], run["watched"]
        lines = [
            ("base limit", traced["t"], traced["base_limit"], "#868e96"),
            ("in flight", traced["t"], traced["in_flight"], "#1971c2"),
            ("running in vLLM", watched["t"], watched["running"], "#74b816"),
            ("waiting in vLLM", watched["t"], watched["waiting"], "#d9480f"),
        ]
        for name, x, y, colour in lines:
            figure.add_scatter(
                x=x, y=y, name=name, legendgroup=name, showlegend=column == 1,
                line={"color": colour}, row=1, col=column,
            )  # fmt: skip
    figure.update_xaxes(range=[0, 12], title="s after 1,000 requests came")
    figure.update_yaxes(title="requests", col=1)
    figure.update_layout(template="plotly_white", width=1100, height=520)
    return figure


def picture(chromium: str, page: Path) -> None:
    words = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    words += [
        f"--window-size={SIZE}",
        "--virtual-time-budget=4000",
        "--allow-file-access-from-files",
    ]
    words += [f"--screenshot={page.with_suffix('.png').resolve()}", page.resolve().as_uri()]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    if done.returncode:
        sys.exit(done.stderr[-2000:])


if __name__ == "__main__":
    main()
