"""Who asks for what, and when: drawn from a seed, or read from a recorded trace.

Shared by the load generator, the demo and the simulator, so it is pure: no Django, no clock, no
sockets, and every draw comes from the ``random.Random`` that is handed in.  The same seed gives
the same arrivals, one by one, whatever is done with them.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from heapq import merge
from itertools import pairwise
from math import log, pi, sin
from random import Random
from typing import NamedTuple

DROP_SPREAD_S = 2.0  # a script that submits its whole file at once needs about this long


class Arrival(NamedTuple):
    at_s: float  # after the start
    tenant: str
    task_type: str
    prompt_tokens: int
    output_tokens: int  # what it will generate: sent as max_tokens, with ignore_eos
    stream: bool


class Lengths(NamedTuple):
    """Token counts, log-normal: what prompts and answers of real services look like."""

    median: int
    sigma: float
    most: int

    def draw(self, rng: Random) -> int:
        return max(1, min(self.most, round(rng.lognormvariate(log(self.median), self.sigma))))


class Kind(NamedTuple):
    """One task type in a mix.  Of its requests ``dropped_share`` come in drops, all at once."""

    task_type: str
    share: float
    prompt: Lengths
    output: Lengths
    streamed_share: float = 1.0
    dropped_share: float = 0.0


class Mix(NamedTuple):
    """Traffic of several kinds, whose shares add up to 1.

    Each kind's rate swings slowly around its mean, each in its own phase, so that the tiers do
    not rise and fall together.
    """

    kinds: tuple[Kind, ...]
    swing_share: float = 0.0
    period_s: float = 240.0
    first_drop_s: float = 0.0
    drop_every_s: float = 60.0


# Medians of chat and code prompts, and of chat answers, are near those of the Azure LLM trace of
# 2023 (1,020, 1,500 and 130 tokens) or under them, so that a small simulated server shows a line
# at a handful of requests a second.
CHAT = (Lengths(500, 0.9, 6000), Lengths(110, 0.6, 800))
CODE = (Lengths(1200, 0.8, 6000), Lengths(150, 0.7, 1000))
SUMMARIZE = (Lengths(2500, 0.6, 7000), Lengths(140, 0.4, 600))
TRANSLATE = (Lengths(400, 0.7, 3000), Lengths(380, 0.7, 2500))
BATCH = (Lengths(800, 0.8, 6000), Lengths(400, 0.6, 2000))
AUGMENT = (Lengths(300, 0.5, 2000), Lengths(600, 0.6, 2500))

MIXES = {
    # A working day: people in front, documents behind, and a job that drops its file each minute.
    "demo": Mix(
        (
            Kind("chat", 0.30, *CHAT),
            Kind("code_generation", 0.20, *CODE),
            Kind("summarize", 0.20, *SUMMARIZE),
            Kind("translate", 0.10, *TRANSLATE),
            Kind("batch_inference", 0.15, *BATCH, streamed_share=0.5, dropped_share=0.6),
            Kind("data_augmentation", 0.05, *AUGMENT, streamed_share=0.5),
        ),
        swing_share=0.4,
        first_drop_s=12.0,
    ),
    # Two minutes' worth of batch work at once, and a trickle of chat that should not notice.
    "urgent-beside-backlog": Mix(
        (
            Kind("chat", 0.15, *CHAT),
            Kind("batch_inference", 0.85, *BATCH, dropped_share=1.0),
        ),
        drop_every_s=120.0,
    ),
    # At three times what the backend can do, chat and code alone are still less than it can do.
    "overload": Mix(
        (
            Kind("chat", 0.10, *CHAT),
            Kind("code_generation", 0.08, *CODE),
            Kind("summarize", 0.12, *SUMMARIZE),
            Kind("translate", 0.10, *TRANSLATE),
            Kind("batch_inference", 0.40, *BATCH),
            Kind("data_augmentation", 0.20, *AUGMENT),
        )
    ),
}


def seeded(mix: Mix, rate_per_s: float, rng: Random, tenants: Sequence[str]) -> Iterator[Arrival]:
    """Draw arrivals for ever, in order of time.

    Args:
        rate_per_s: the mean over all kinds, drops included: a drop brings at once what would
            have come until the next one.
        tenants: the first asks most, the n-th 1/n as often as the first.  A drop is the work of
            one of them.
    """
    streams = [_steady(mix, rate_per_s, Random(rng.getrandbits(64)), tenants)]
    for kind in mix.kinds:
        if kind.dropped_share:
            streams.append(_drops(mix, kind, rate_per_s, Random(rng.getrandbits(64)), tenants))
    return merge(*streams, key=lambda arrival: arrival.at_s)


def _steady(mix: Mix, rate_per_s: float, rng: Random, tenants: Sequence[str]) -> Iterator[Arrival]:
    """A Poisson stream at the highest rate there is, thinned to the rate of the moment."""
    most = 1 + mix.swing_share
    at_s = 0.0
    while True:
        at_s += rng.expovariate(rate_per_s * most)
        kind = _kind_at(mix, at_s, rng.random() * most)
        if kind:
            yield _arrival(kind, at_s, _tenant(rng, tenants), rng)


def _kind_at(mix: Mix, at_s: float, level: float) -> Kind | None:
    """The kind that ``level`` falls on when the kinds' rates of this moment are laid end to end."""
    for n, kind in enumerate(mix.kinds):
        wave = sin(2 * pi * (at_s / mix.period_s + n / len(mix.kinds)))
        level -= kind.share * (1 - kind.dropped_share) * (1 + mix.swing_share * wave)
        if level < 0:
            return kind
    return None


def _drops(
    mix: Mix, kind: Kind, rate_per_s: float, rng: Random, tenants: Sequence[str]
) -> Iterator[Arrival]:
    at_s = mix.first_drop_s
    while True:
        gap_s = mix.drop_every_s * rng.uniform(0.8, 1.2)
        size = int(rate_per_s * kind.share * kind.dropped_share * gap_s + rng.random())
        tenant = _tenant(rng, tenants)
        for later_s in sorted(rng.uniform(0, DROP_SPREAD_S) for _ in range(size)):
            yield _arrival(kind, at_s + later_s, tenant, rng)
        at_s += gap_s


def _arrival(kind: Kind, at_s: float, tenant: str, rng: Random) -> Arrival:
    return Arrival(
        at_s,
        tenant,
        kind.task_type,
        kind.prompt.draw(rng),
        kind.output.draw(rng),
        rng.random() < kind.streamed_share,
    )


def _tenant(rng: Random, tenants: Sequence[str]) -> str:
    return rng.choices(tenants, [1 / n for n in range(1, len(tenants) + 1)])[0]


def recorded(
    lines: Iterable[str],
    rng: Random,
    tenants: Sequence[str],
    *,
    task_type: str,
    speed: float = 1.0,
) -> list[Arrival]:
    """Read a trace in the format of Azure's LLM inference traces, the first request at 0 s.

    Args:
        lines: CSV with the columns TIMESTAMP, ContextTokens and GeneratedTokens.
        speed: 2.0 plays it in half the time, at twice the rate.

    Raises:
        ValueError: a column is missing, a line does not parse, or time runs backwards.
    """
    rows = csv.DictReader(lines)
    missing = {"TIMESTAMP", "ContextTokens", "GeneratedTokens"} - set(rows.fieldnames or ())
    if missing:
        raise ValueError(f"the trace has no column {', '.join(sorted(missing))}")
    read: list[tuple[datetime, int, int]] = []
    for row in rows:
        try:
            tokens = int(row["ContextTokens"]), int(row["GeneratedTokens"])
            read.append((datetime.fromisoformat(row["TIMESTAMP"]), *tokens))
        except (TypeError, ValueError) as error:
            raise ValueError(f"line {rows.line_num} of the trace: {error}") from error
    if any(later[0] < earlier[0] for earlier, later in pairwise(read)):
        raise ValueError("the trace is not in order of time")
    return [
        Arrival(
            (moment - read[0][0]).total_seconds() / speed,
            _tenant(rng, tenants),
            task_type,
            max(1, prompt_tokens),
            max(1, output_tokens),
            stream=True,
        )
        for moment, prompt_tokens, output_tokens in read
    ]
