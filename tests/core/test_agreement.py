"""The scheduler against its judge: same operations, same moments, same decisions and tags."""

from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from gateway.core.ops import (
    Boost,
    Cancel,
    Edit,
    Evict,
    Move,
    Op,
    Pace,
    Pause,
    Release,
    RemoveBackend,
    Retry,
    SetBackend,
    Submit,
)
from gateway.core.scheduler import Scheduler
from tests.core.driving import BACKENDS, TENANTS, Trial, random_policy, trial
from tests.core.reference import Reference

STEPS = 400  # a run; each starts with another policy
MET = ("strict", "rescue", "reserved", "guarded", "Reject", "Expire", "Evicted")


def agree(seeds: range) -> dict[str, int]:
    outcomes: dict[str, int] = {}
    for seed in seeds:
        pair, traffic = trial(Random(seed))
        for _ in range(STEPS):
            traffic.hear(pair.step(traffic.operations(), traffic.now_ms))
        for kind, count in pair.outcomes.items():
            outcomes[kind] = outcomes.get(kind, 0) + count
    return outcomes


def test_twenty_thousand_random_steps_agree_with_the_reference():
    outcomes = agree(range(50))

    assert min(outcomes[kind] for kind in MET) > 0


@pytest.mark.long
@pytest.mark.parametrize("block", range(1, 10))
def test_two_hundred_thousand_random_steps_agree_with_the_reference(block):
    agree(range(block * 50, block * 50 + 50))


@pytest.mark.deep
@pytest.mark.parametrize("block", range(100))
def test_a_million_random_steps_agree_with_the_reference(block):
    agree(range(1_000 + block * 25, 1_000 + block * 25 + 25))


costs = st.sampled_from((0, 1, 10, 100, 3_000))


class Agreement(RuleBasedStateMachine):
    """Hypothesis chooses the story, and shortens it when the two differ."""

    def __init__(self) -> None:
        super().__init__()
        self.trial, traffic = trial(Random(0))
        self.policy = traffic.policy
        self.now_ms = 0
        self.submitted = 0
        self.version = 0

    def does(self, *ops: Op) -> None:
        self.trial.step(list(ops), self.now_ms)

    def known(self, which: int) -> str:
        return f"r{which % self.submitted}"

    @rule(seed=st.integers(0, 50))
    @precondition(lambda self: self.submitted == 0)
    def starts_with_another_policy(self, seed: int) -> None:
        self.policy = random_policy(Random(seed))
        self.trial = Trial(Scheduler(self.policy), Reference(self.policy))

    @rule(
        tier=st.integers(0, 5),
        tenant=st.sampled_from(TENANTS),
        cost=costs,
        patience_ms=st.sampled_from((None, 0, 2_000, 50_000)),
        prefix=st.sampled_from(("", "a", "b")),
        count=st.integers(1, 4),
    )
    def submit(
        self, tier: int, tenant: str, cost: int, patience_ms: int | None, prefix: str, count: int
    ) -> None:
        tiers = self.policy.tiers
        arrivals: list[Op] = [
            Submit(
                f"r{self.submitted + n}",
                tiers[tier % len(tiers)].name,
                tenant,
                cost,
                prompt_tokens=cost // 2,
                prefix=prefix,
                footprint=cost // 3,
                expires_at_ms=None if patience_ms is None else self.now_ms + patience_ms,
            )
            for n in range(count)
        ]
        self.submitted += count
        self.does(*arrivals)

    @precondition(lambda self: self.submitted > 0)
    @rule(which=st.integers(0, 200), cost=st.sampled_from((None, 0, 7, 5_000)))
    def release(self, which: int, cost: int | None) -> None:
        self.does(Release(self.known(which), cost))

    @precondition(lambda self: self.submitted > 0)
    @rule(which=st.integers(0, 200))
    def cancel(self, which: int) -> None:
        self.does(Cancel(self.known(which)))

    @precondition(lambda self: self.submitted > 0)
    @rule(which=st.integers(0, 200), avoid=st.sampled_from(("", *BACKENDS)))
    def retry(self, which: int, avoid: str) -> None:
        self.does(Retry(self.known(which), avoid))

    @precondition(lambda self: self.submitted > 0)
    @rule(which=st.integers(0, 200), by=st.integers(-6, 6))
    def boost(self, which: int, by: int) -> None:
        self.does(Boost(self.known(which), by))

    @precondition(lambda self: self.submitted > 0)
    @rule(which=st.integers(0, 200), tier=st.integers(0, 5))
    def move(self, which: int, tier: int) -> None:
        tiers = self.policy.tiers
        self.does(Move(self.known(which), tiers[tier % len(tiers)].name))

    @precondition(lambda self: self.submitted > 0)
    @rule(which=st.integers(0, 200))
    def evict(self, which: int) -> None:
        self.does(Evict(self.known(which)))

    @rule(ms=st.sampled_from((1, 999, 5_000, 30_000, 70_000)))
    def time_passes(self, ms: int) -> None:
        self.now_ms += ms
        self.does()

    @rule(
        name=st.sampled_from(BACKENDS),
        limit=st.integers(0, 6),
        is_open=st.booleans(),
        kv_tokens=st.sampled_from((None, 1_200)),
    )
    def set_backend(self, name: str, limit: int, is_open: bool, kv_tokens: int | None) -> None:
        self.does(SetBackend(name, limit, None, open=is_open, kv_tokens=kv_tokens))

    @rule(name=st.sampled_from(BACKENDS))
    def remove_backend(self, name: str) -> None:
        self.does(RemoveBackend(name))

    @rule(tier=st.integers(0, 5), paused=st.booleans())
    def pause(self, tier: int, paused: bool) -> None:
        self.does(Pause(self.policy.tiers[tier % len(self.policy.tiers)].name, paused))

    @rule(rate=st.sampled_from((None, 10, 1_000)))
    def pace(self, rate: int | None) -> None:
        self.does(Pace(rate, 200))

    @rule(seed=st.integers(0, 10_000))
    def edit(self, seed: int) -> None:
        self.version += 1
        self.policy = random_policy(Random(seed))
        self.does(Edit(self.policy, self.version))


Agreement.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAgreement = Agreement.TestCase
