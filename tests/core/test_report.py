import pytest

from gateway.core.outlook import look
from gateway.core.policy import default_policy
from gateway.core.report import Outcome, Report, Sample, Spread, jain, spread
from gateway.core.scheduler import Scheduler
from gateway.core.starvation import Passed


def outcome(**changes: object) -> Outcome:
    told = {
        "id": "r0", "tenant": "acme", "task_type": "chat", "tier": "realtime", "arrived_ms": 1_000,
        "prompt_tokens": 100, "output_tokens": 50,
    }  # fmt: skip
    return Outcome(**(told | changes))


def report(*outcomes: Outcome, samples: tuple[Sample, ...] = ()) -> Report:
    return Report(60_000, outcomes, samples, look(Scheduler(default_policy()), 60_000))


def sample(at_s: float, generated: int, engine_waiting: int = 0) -> Sample:
    return Sample(at_s, generated, 0, 0, engine_waiting, 8, 1, 2, 0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], Spread(0, 0, 0, 0)),
        ([3.0], Spread(3, 3, 3, 3)),
        (range(1, 101), Spread(50, 95, 99, 100)),
        ([4, 1, 3, 2], Spread(2, 4, 4, 4)),
    ],
)
def test_quantiles_are_values_that_occurred(values, expected):
    assert spread(values) == expected


@pytest.mark.parametrize(
    ("shares", "expected"), [([5, 5, 5], 1), ([9, 0, 0], 1 / 3), ([0, 0], 1), ([1, 3], 0.8)]
)
def test_jains_index_runs_from_one_over_n_to_one(shares, expected):
    assert jain(shares) == pytest.approx(expected)


def test_who_never_got_a_slot_counts_with_the_time_waited():
    told = report(
        outcome(fate="completed", left_ms=3_000, dispatched_ms=3_000),
        outcome(fate="expired", left_ms=11_000),
        outcome(fate="waiting"),
        outcome(fate="queue_full"),
        outcome(fate="displaced", left_ms=2_000),
    ).tiers["realtime"]

    assert told[:6] == (5, 1, 1, 1, 1, 1)
    assert told.queue_wait == Spread(2, 59, 59, 59)
    assert (told.prompt_tokens, told.output_tokens) == (100, 50)


def test_a_first_token_is_timed_from_the_arrival_at_the_gateway():
    assert outcome(arrived_ms=1_000, first_token_s=1.25).ttft_s == pytest.approx(0.25)
    assert outcome().ttft_s is None


def test_goodput_and_means_are_of_the_time_asked_for():
    told = report(samples=(sample(0, 0), sample(10, 500, 4), sample(20, 2_500, 8)))

    assert told.goodput_per_s(10, 20) == 200
    assert told.goodput_per_s(0, 20) == 125
    assert told.mean(lambda one: one.engine_waiting, 10) == 6


def test_tenants_are_compared_by_what_their_requests_really_cost():
    told = report(
        outcome(tenant="acme", dispatched_ms=5_000, cost=999),
        outcome(tenant="birch", dispatched_ms=5_000),
        outcome(tenant="birch", dispatched_ms=9_000),
        outcome(tenant="cedar"),
    )

    assert told.served(0, 8) == {"acme": 200, "birch": 200, "cedar": 0}
    assert told.jain(0, 8) == pytest.approx(2 / 3)


def test_the_bound_is_told_in_seconds_at_the_rate_served_meanwhile():
    told = report(
        outcome(left_ms=21_000, dispatched_ms=21_000, passed=Passed(11_000, 300, 100)),
        outcome(left_ms=16_000, dispatched_ms=16_000, passed=Passed(11_000, 100, 100)),
        outcome(left_ms=2_000, dispatched_ms=2_000),
    ).bound(0.2)

    assert (told.overdue, told.violations) == (2, 0)
    assert told.worst_share == pytest.approx(0.6)
    assert told.wait_s == 20
    assert told.bound_s == pytest.approx(10 + 10 / 0.6)
    assert "2 overdue, 0 past the bound; closest: waited 20.0 s of 26.7 s" in str(told)


def test_a_broken_bound_is_counted():
    told = report(outcome(left_ms=21_000, passed=Passed(11_000, 1_500, 100))).bound(0.1)

    assert told.violations == 1
    assert told.worst_share == pytest.approx(1.5)
