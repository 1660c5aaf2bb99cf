"""That the kit's arithmetic is right; the proof itself needs a GPU."""

import json
import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import figures
import fit
import load

COSTS = [5e-3, 15e-6, 22e-6, 12e-9]


def answered(kind, at_s, first_s, last_s, output=100):
    row = load.Record(load.Job(kind, at_s, 500, output, stream=True)).row()
    row[figures.STATUS], row[figures.FIRST], row[figures.LAST] = 200, first_s, last_s
    return row


def test_goodput_counts_what_ended_while_the_engine_was_full():
    rows = [answered("low", 0.0, n + 0.5, n + 1.0) for n in range(100)]

    found = figures.summary(rows, [], [])

    assert (found["from_s"], found["to_s"]) == (16.0, 81.0)
    assert found["tok_s"] == 100


def test_a_first_token_is_timed_from_the_moment_the_request_was_due():
    rows = [answered("low", 0.0, n + 0.5, n + 1.0) for n in range(100)]
    rows.append(answered("urgent", 20.0, 20.25, 22.0))

    assert figures.summary(rows, [], [])["urgent_ttft_p50"] == 0.25


def test_the_fit_finds_the_costs_that_made_the_steps():
    rng = random.Random(4)
    rows = []
    for _ in range(200):
        amounts = [1.0, rng.uniform(1, 256), rng.uniform(0, 8000), rng.uniform(0, 400_000)]
        took = sum(cost * amount for cost, amount in zip(COSTS, amounts, strict=True))
        rows.append((took, amounts, 1.0))

    assert fit.least_squares(rows) == pytest.approx(COSTS, rel=1e-6)


def test_a_cost_that_would_come_out_below_zero_is_left_out():
    rows = [(1.0 / n, [1.0, float(n), 0.0, 0.0], 1.0) for n in range(1, 20)]

    assert min(fit.least_squares(rows)) == 0


def test_equal_seeds_give_equal_work_and_no_prompt_twice():
    first, again = (load.backlog("low", 50, load.Shape(500, 200), seed=3) for _ in range(2))
    target = load.Target(80, priority={"low": 5})

    sent = [load.request(target, job, "qwen") for job in (first[0], again[0])]

    assert first == again
    bodies = [json.loads(one.split(b"\r\n\r\n", 1)[1]) for one in sent]
    assert len(bodies[0]["prompt"]) == first[0].prompt
    assert bodies[0]["prompt"] != bodies[1]["prompt"]
    assert bodies[0]["priority"] == 5
