"""Arrivals for simulated runs, drawn from seeds, and the engines they meet."""

from collections.abc import Iterable
from math import exp, log, sqrt
from random import Random

from gateway.arrivals import Arrival
from gateway.core.engine import EngineConfig

# About 15 requests/s of 500 tokens in and 200 out: minutes cost little to simulate.
SMALL = {"gpu": EngineConfig(max_num_seqs=32, kv_tokens=100_000)}
SMALL_FULL = 33  # its base limit when it was last seen
SIGMA = sqrt(log(1.36))  # of a log-normal with a coefficient of variation of 0.6


def length(draw: Random, mean: int, most: int = 20_000) -> int:
    return min(most, max(1, round(mean * exp(draw.gauss(-SIGMA * SIGMA / 2, SIGMA)))))


def poisson(
    seed: int, tenant: str, task_type: str, per_s: float, prompt: int, output: int, for_s: float
) -> list[Arrival]:
    draw, at_s, drawn = Random(seed), 0.0, []
    while (at_s := at_s + draw.expovariate(per_s)) < for_s:
        lengths = length(draw, prompt), length(draw, output, 4_000)
        drawn.append(Arrival(at_s, tenant, task_type, *lengths, stream=True))
    return drawn


def backlog(
    seed: int, tenant: str, task_type: str, prompt: int, output: int, count: int
) -> list[Arrival]:
    """All of it at once."""
    draw = Random(seed)
    return [
        Arrival(0.0, tenant, task_type, length(draw, prompt), length(draw, output, 4_000), True)
        for _ in range(count)
    ]


def together(*streams: Iterable[Arrival]) -> list[Arrival]:
    return sorted((one for stream in streams for one in stream), key=lambda one: one.at_s)
