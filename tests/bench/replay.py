"""Replay ten recorded minutes of two services through the simulator, once for every preset.

    python tests/bench/replay.py                 # prints the page
    python tests/bench/replay.py --write         # writes docs/scheduling-replay.md

Azure's conversation trace comes as ``chat``, its code trace as ``code_generation``; synthetic
batch work is added until all of it is 1.3 times what the modelled engine can do.  Everything is
drawn from one seed, so the page is the same wherever it is made.
"""

import argparse
import sys
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gateway.arrivals import BATCH, Arrival, recorded
from gateway.core.engine import Engine, EngineConfig
from gateway.core.presets import PRESETS, preset
from gateway.core.report import Report
from gateway.core.simulator import Setup, simulate

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "scheduling-replay.md"
TRACES = Path(__file__).resolve().parent / "traces"
ENGINE = EngineConfig(max_num_seqs=64, kv_tokens=200_000)
FULL = 66  # its base limit when it was last seen: the replay starts warm
FOR_S = 600
TASKS = ("chat", "code_generation", "batch_inference")


def interactive(seed: int) -> list[Arrival]:
    draw = Random(seed)
    found: list[Arrival] = []
    for name, task_type in (("conv", "chat"), ("code", "code_generation")):
        with (TRACES / f"azure_2023_{name}.csv").open() as lines:
            found += recorded(lines, draw, ["acme", "birch", "cedar"], task_type=task_type)
    return [one for one in found if one.at_s < FOR_S]


def batch(seed: int, count: int) -> list[Arrival]:
    """``count`` requests of two tenants, anywhere in the ten minutes."""
    draw = Random(seed)
    return [
        Arrival(
            draw.uniform(0, FOR_S),
            draw.choices(["dogwood", "elm"], [2, 1])[0],
            "batch_inference",
            *(lengths.draw(draw) for lengths in BATCH),
            stream=False,
        )
        for _ in range(count)
    ]


def work_s(arrivals: list[Arrival]) -> float:
    """How long the engine takes for all of it when it has everything from the start."""
    engine = Engine(ENGINE)
    for number, one in enumerate(arrivals):
        engine.submit(str(number), one.prompt_tokens, one.output_tokens)
    return max(event.at_s for event in engine.advance(10**6))


def traffic(load: float, seed: int) -> list[Arrival]:
    people = interactive(seed)
    needed_s = load * FOR_S - work_s(people)
    count = round(1000 * needed_s / work_s(batch(seed, 1000)))
    return sorted(people + batch(seed, count), key=lambda one: one.at_s)


def rows(name: str, report: Report) -> list[str]:
    found = []
    for task_type, told in sorted(report.task_types.items(), key=lambda pair: TASKS.index(pair[0])):
        wait, ttft = told.queue_wait, told.ttft
        cells = (
            f"**{name}**" if task_type == TASKS[0] else "",
            task_type,
            f"{told.n:,}",
            *(f"{value:.2f}" for value in (wait.p50, wait.p95, wait.p99, wait.worst)),
            *(f"{value:.2f}" for value in (ttft.p50, ttft.p95)),
            f"{told.refused + told.displaced:,}",
            f"{told.expired:,}",
        )
        found.append(f"| {' | '.join(cells)} |")
    return found


def replayed(name: str, arrivals: list[Arrival]) -> Report:
    return simulate(Setup(policy=preset(name), engines={"gpu": ENGINE}, stored=FULL), arrivals)


def page(load: float, seed: int) -> str:
    arrivals = traffic(load, seed)
    reports = {name: replayed(name, arrivals) for name in PRESETS}
    people = [one for one in arrivals if one.task_type != TASKS[2]]
    share_of_people = work_s(people) / FOR_S
    lines = [
        "# Replay: what each preset does to two recorded services",
        "",
        f"`python tests/bench/replay.py --load {load:g} --seed {seed} --write`",
        "",
        "Ten minutes of Azure's LLM inference traces of 2023 (CC-BY 4.0, tests/bench/traces): the",
        "conversation trace as `chat`, the code trace as `code_generation`, three tenants. With them",
        f"{sum(one.task_type == TASKS[2] for one in arrivals):,} synthetic batch requests of two"
        " tenants, spread evenly, so that all of it",
        f"together is {load:g} times what the engine can do; chat and code alone are"
        f" {share_of_people:.2f} of it.",
        "The scheduler, the capacity law, holdback and pace are the ones that serve. The engine is a",
        f"model: {ENGINE.max_num_seqs} sequences, {ENGINE.kv_tokens:,} tokens of KV cache, step"
        " times of a 7B model on one H200.",
        "A run lasts until everything that came is over. Caps and max waits are the presets' own.",
        "",
        "Seconds. A wait runs from arrival at the gateway to the slot, and counts for as long as it",
        "lasted where no slot came; a first token is counted from arrival too. The first two rows",
        "are chat and code with nothing beside them: the code trace comes in bursts (up to 163",
        "requests of 2,100 tokens in five seconds) that overload this engine by themselves, so its",
        "p95 is measured against theirs and not against nought.",
        "",
        "| preset | task type | n | wait p50 | p95 | p99 | worst | first token p50 | p95 "
        "| refused, displaced | expired |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
        *rows("classic, no batch", replayed("classic", people)),
        *(row for name, report in reports.items() for row in rows(name, report)),
        "",
        "Output over the ten minutes, and the starvation bound: the request that came closest to",
        "what the policy's rescue share allows (`strict` and `fcfs` have none; they are held to",
        "10 % here).",
        "",
        "| preset | output tokens/s | overdue | past the bound | closest | its wait, its bound |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, report in reports.items():
        bound = report.bound(preset(name).rescue_share or 0.1)
        lines.append(
            f"| {name} | {report.goodput_per_s(0, FOR_S):,.0f} | {bound.overdue:,} "
            f"| {bound.violations:,} | {bound.worst_share:.2f} "
            f"| {bound.wait_s:.0f} s, {bound.bound_s:.0f} s |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--load", type=float, default=1.3, help="times what the engine can do")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    asked = parser.parse_args()
    text = page(asked.load, asked.seed)
    if asked.write:
        PAGE.write_text(text)
    else:
        print(text, end="")
