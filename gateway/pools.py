"""The servers that share one line, and what their line needs to know of them.

A ``Pool`` joins the pure decisions with what was seen; it asks nobody anything.  ``backends`` asks,
``steering`` draws the conclusions.
"""

import asyncio

from gateway import errors
from gateway.backend import Backend, Cards
from gateway.core import estimate, outlook
from gateway.core.breaker import RetryBudget
from gateway.core.canary import Canary
from gateway.core.explain import cost_ahead
from gateway.core.policy import Placement, Policy, Tier
from gateway.core.snapshot import PoolView, pool_view
from gateway.core.wire import Call
from gateway.queue import Queue
from gateway.steering import Steering

HEAD = 50  # of those who wait, in each frame
NO_BACKEND_TTL_S = 60.0  # how long a line is held while no backend is up


class Pool:
    def __init__(self, name: str, policy: Policy, version: int) -> None:
        self.name = name
        self.queue = Queue(policy, version)
        self.backends: dict[str, Backend] = {}
        self.outputs = estimate.Outputs()
        self.produced: dict[str, estimate.Rate] = {}  # output tokens by tier
        self.steering = Steering(self.queue, self.backends, policy)
        self._retries = RetryBudget()
        self._dark_since: float | None = asyncio.get_running_loop().time()

    # Costs

    def work_of(self, call: Call, tenant: str, task_type: str) -> tuple[int, int]:
        """What a call will probably cost, in the scheduler's tokens, and what it will fill of a KV
        cache at its end, all its sequences together."""
        output_tokens = self.outputs.expect(
            tenant, task_type, call.model, max_tokens=call.max_tokens, sequences=call.sequences
        )
        prompt_tokens = call.prompt_tokens
        return estimate.cost(prompt_tokens, output_tokens), prompt_tokens + output_tokens

    def latest_start_ms(
        self, tier: Tier, tenant: str, deadline_s: float | None, arrived_at: float
    ) -> int | None:
        """The moment after which the caller has no use for an answer, where it named one.

        Raises:
            GatewayError: it would pass before the request's turn, by the middle estimate.
        """
        if deadline_s is None:
            return None
        latest_ms = round((arrived_at + deadline_s) * 1000)
        left_s = latest_ms / 1000 - self.queue.loop.time()
        wait = self._expected(tier, tenant, left_s)
        if wait is not None:
            raise errors.deadline_unreachable(wait.p50_s, wait.p50_s)
        return latest_ms

    def _expected(self, tier: Tier, tenant: str, left_s: float) -> estimate.Wait | None:
        """The wait of an arrival, if that is longer than ``left_s``.  A line that is short enough as
        a whole is not looked at closer; in a long one it matters whose it is."""
        queue, now_ms = self.queue, self.queue.now_ms()
        wait = queue.forecast.wait(tier.name, now_ms)
        if estimate.feasible(wait, tier.max_wait_s, left_s):
            return None
        ahead = cost_ahead(queue.scheduler, tier.name, tenant)
        wait = queue.forecast.wait(tier.name, now_ms, ahead)
        return None if estimate.feasible(wait, tier.max_wait_s, left_s) else wait

    def learn(self, call: Call, tenant: str, placement: Placement, output_tokens: int) -> None:
        """Take in how long a finished answer was."""
        self.outputs.learn(
            tenant, placement.task_type, call.model, output_tokens, sequences=call.sequences
        )
        rate = self.produced.setdefault(placement.tier.name, estimate.Rate())
        rate.add(output_tokens, self.queue.now_ms())

    def edit(self, policy: Policy, version: int, canary: Canary | None = None) -> None:
        self.queue.edit(policy, version, canary)
        self.steering.edit(policy)

    def may_retry(self) -> bool:
        """Whether a failed request may be sent once more; it then counts."""
        return self._retries.take(self.queue.dispatched_per_s(), self.queue.now_ms())

    # Who is there

    def any_backend(self) -> Backend:
        """A server for work that needs no slot."""
        usable = [backend for backend in self.backends.values() if backend.usable]
        usable = [backend for backend in usable if not backend.breaker.is_open] or usable
        if not usable:
            raise errors.no_backend(self.name)
        return min(usable, key=lambda backend: backend.figures.scrape.running)

    def models(self) -> Cards:
        merged: Cards = {}
        for backend in self.backends.values():
            for model, card in backend.models.items():
                merged.setdefault(model, card)
        return merged

    def refuse_if_dark(self, model: str) -> None:
        """The line is held while servers restart, but not for ever."""
        if self._dark_for_s() >= NO_BACKEND_TTL_S:
            raise errors.no_backend(model)

    def watch_darkness(self) -> None:
        serving = bool(self.steering.serving())
        self.queue.unserved = not serving
        if serving:
            self._dark_since = None
        elif self._dark_since is None:
            self._dark_since = asyncio.get_running_loop().time()
        if self._dark_for_s() >= NO_BACKEND_TTL_S:
            self.queue.refuse_waiting(errors.no_backend(self.name))

    def _dark_for_s(self) -> float:
        if self._dark_since is None:
            return 0.0
        return asyncio.get_running_loop().time() - self._dark_since

    def view(self, head: int = HEAD) -> PoolView:
        """The line as the pages see it, with the first ``head`` of those who wait."""
        now_ms = self.queue.now_ms()
        line = outlook.look(
            self.queue.scheduler, now_ms, head, self.queue.forecast.expect_at(now_ms)
        )
        engines = [backend.view() for backend in self.backends.values()]
        tokens_per_s = {tier: rate.per_s(now_ms) for tier, rate in self.produced.items()}
        short = self.steering.urgent_is_short
        models = sorted(self.models())
        return pool_view(self.name, models, line, engines, tokens_per_s, urgent_is_short=short)
