"""What a call will cost, and how long it will wait, before either is known.

All of it learns from what happened: output lengths, dispatches, waits.  Costs leave as integers,
since they order the line; waits are for people and headers, two numbers and never a promise.
Nothing here holds a queue: the caller adds up what is ahead and hands the sum in.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from math import ceil
from typing import NamedTuple

DECODE_WEIGHT = 2  # one generated token costs the engine about as much as two of prompt
FIRST_GUESS_TOKENS = 256.0
KNOWN_MOST = 20_000  # (tenant, task, model): clients invent task names, the map must not grow
RATE_OVER_S = 30
REMEMBERED = 200  # dispatches a tier's calibration looks back on
TRUSTED_FROM = 30
SLACK_S = 0.5  # below this a wait is as good as none, and ratios of it would only be noise


def cost(prompt_tokens: int, output_tokens: int, *, cached_tokens: int = 0) -> int:
    """The engine's work in tokens; before the call with expected, after it with real output."""
    return max(1, prompt_tokens - cached_tokens + DECODE_WEIGHT * output_tokens)


@dataclass(slots=True)
class Outputs:
    """How long replies are: an EWMA for each (tenant, task, model).

    A stranger is taken for what his task, then his model, usually gives.
    """

    guess_tokens: float = FIRST_GUESS_TOKENS
    _means: OrderedDict[tuple[str, ...], tuple[float, int]] = field(default_factory=OrderedDict)

    def expect(
        self,
        tenant: str,
        task: str,
        model: str,
        *,
        max_tokens: int | None = None,
        sequences: int = 1,
    ) -> int:
        """Output tokens of all ``sequences``; ``max_tokens`` bounds each of them."""
        known = (self._means.get(key) for key in self._keys(tenant, task, model))
        mean = next((entry[0] for entry in known if entry), self.guess_tokens)
        each = mean if max_tokens is None else min(mean, max_tokens)
        return ceil(each * sequences)

    def learn(self, tenant: str, task: str, model: str, tokens: int, *, sequences: int = 1) -> None:
        """Take in a finished reply.  One cut off by a hang-up teaches nothing: leave it out."""
        each = tokens / max(1, sequences)
        for key in self._keys(tenant, task, model):
            mean, count = self._means.pop(key, (0.0, 0))
            weight = max(0.1, 1 / (count + 1))  # a plain mean of the first ten, then 0.9/0.1
            self._means[key] = (mean + weight * (each - mean), min(count + 1, 10))
        while len(self._means) > KNOWN_MOST:
            self._means.popitem(last=False)

    @staticmethod
    def _keys(tenant: str, task: str, model: str) -> tuple[tuple[str, ...], ...]:
        return (tenant, task, model), (task, model), (model,)


@dataclass(slots=True)
class Rate:
    """An amount per second over the last 30 s, in cells of one second."""

    _cells: deque[tuple[int, float]] = field(default_factory=deque)
    _sum: float = 0.0
    _since_ms: int | None = None

    def add(self, amount: float, now_ms: int) -> None:
        self._drop(now_ms)
        if self._since_ms is None:
            self._since_ms = now_ms
        self._sum += amount
        second = now_ms // 1000
        if self._cells and self._cells[-1][0] == second:
            amount += self._cells.pop()[1]
        self._cells.append((second, amount))

    def per_s(self, now_ms: int) -> float:
        """0.0 when nothing was added in that time.  Young rates divide by their age, not by 30."""
        self._drop(now_ms)
        if self._since_ms is None or not self._cells:
            return 0.0
        return self._sum / max(1.0, min(RATE_OVER_S, (now_ms - self._since_ms) / 1000))

    def _drop(self, now_ms: int) -> None:
        oldest = now_ms // 1000 - RATE_OVER_S
        while self._cells and self._cells[0][0] <= oldest:
            self._sum -= self._cells.popleft()[1]
        if not self._cells:
            self._sum, self._since_ms = 0.0, None  # no residue, and a pause is no slow drain


def raw_wait_s(
    ahead: int, drain_per_s: float, higher_per_s: float = 0.0, bound_s: float | None = None
) -> float | None:
    """How long ``ahead`` takes while higher levels keep arriving; None while nothing drains.

    ``bound_s`` is what the rescue lane guarantees, so no estimate lies above it.
    """
    if ahead <= 0:
        return 0.0
    if drain_per_s <= 0:
        return None
    wait_s = ahead / (drain_per_s * max(0.05, 1 - higher_per_s / drain_per_s))
    return wait_s if bound_s is None else min(wait_s, bound_s)


class Wait(NamedTuple):
    p50_s: float
    p90_s: float


@dataclass(slots=True)
class Calibration:
    """How raw estimates turned out, one ring a tier; it turns the next one into p50 and p90."""

    _ratios: dict[str, deque[float]] = field(default_factory=dict)

    def learn(self, tier: str, raw_s: float, waited_s: float) -> None:
        """A request of ``tier`` was dispatched after ``waited_s``; on arrival it was told raw_s."""
        ratios = self._ratios.setdefault(tier, deque(maxlen=REMEMBERED))
        ratios.append((waited_s + SLACK_S) / (raw_s + SLACK_S))

    def wait(self, tier: str, raw_s: float | None) -> Wait | None:
        """None: not known, for nothing drains or fewer than 30 dispatches speak for it."""
        return calibrated(raw_s, self.ratios(tier))

    def ratios(self, tier: str) -> tuple[float, float] | None:
        """How far off estimates of a tier are, at p50 and p90; None while too few speak for it."""
        ratios = sorted(self._ratios.get(tier, ()))
        if len(ratios) < TRUSTED_FROM:
            return None
        p50, p90 = (ratios[ceil(share * len(ratios)) - 1] for share in (0.5, 0.9))
        return p50, p90


def calibrated(raw_s: float | None, ratios: tuple[float, float] | None) -> Wait | None:
    if raw_s is None or ratios is None:
        return None
    return Wait(*(max(0.0, (raw_s + SLACK_S) * ratio - SLACK_S) for ratio in ratios))


def retry_after_s(until_room_s: float | None, jitter: float) -> float:
    """When to come back to a full tier.  ``jitter``, 0.8 to 1.2, is drawn outside the core.

    Clamped to 1 to 60 s: official clients treat longer waits in three different ways.
    """
    return 60.0 if until_room_s is None else max(1.0, min(60.0, until_room_s * jitter))


def feasible(wait: Wait | None, max_wait_s: float, deadline_s: float | None = None) -> bool:
    """Whether a request is likely to be dispatched in time; an unknown wait refuses nobody."""
    allowed_s = max_wait_s if deadline_s is None else min(max_wait_s, deadline_s)
    return wait is None or wait.p50_s <= allowed_s
