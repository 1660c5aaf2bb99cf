import pytest

from gateway.core.breaker import Breaker, RetryBudget


def failing(breaker: Breaker, times: int, now_ms: int = 0) -> list[bool]:
    return [breaker.failed(now_ms) for _ in range(times)]


def test_five_failures_in_a_row_open_it():
    assert failing(Breaker(), 5) == [False, False, False, False, True]


def test_a_success_between_starts_the_count_anew():
    breaker = Breaker()
    failing(breaker, 4)

    breaker.succeeded(0)

    assert failing(breaker, 4) == [False] * 4


def test_half_of_ten_outcomes_in_ten_seconds_open_it():
    breaker = Breaker()
    opened = False
    for _ in range(5):
        breaker.succeeded(0)
        opened = breaker.failed(0)

    assert opened


def test_failures_long_ago_do_not_count():
    breaker = Breaker()
    for _ in range(4):
        breaker.succeeded(0)
        breaker.failed(0)

    breaker.succeeded(20_000)
    opened = breaker.failed(20_000)

    assert not opened


def test_it_stays_open_longer_each_time_and_never_over_a_minute():
    breaker, now_ms, waits = Breaker(), 0, []
    failing(breaker, 5)
    for _ in range(6):
        assert breaker.open_until_ms is not None
        waits.append(breaker.open_until_ms - now_ms)
        now_ms = breaker.open_until_ms
        breaker.failed(now_ms)

    assert waits == [5_000, 10_000, 20_000, 40_000, 60_000, 60_000]


def test_requests_that_were_under_way_when_it_opened_do_not_prolong_it():
    breaker = Breaker()
    failing(breaker, 5)

    breaker.failed(1_000)

    assert breaker.open_until_ms == 5_000


def test_a_probe_that_succeeds_closes_it():
    breaker = Breaker()
    failing(breaker, 5)

    assert not breaker.probe_due(4_999)
    assert breaker.probe_due(5_000)
    breaker.succeeded(5_000)

    assert not breaker.is_open
    assert failing(breaker, 4, 5_000) == [False] * 4


@pytest.mark.parametrize(("dispatched_per_s", "allowed"), [(0, 30), (100, 100), (2_000, 2_000)])
def test_a_tenth_of_what_a_pool_sends_may_be_sent_again_and_three_a_second_always(
    dispatched_per_s, allowed
):
    budget = RetryBudget()

    taken = [budget.take(dispatched_per_s, n) for n in range(allowed + 5)]

    assert taken == [True] * allowed + [False] * 5


def test_a_retry_counts_for_ten_seconds():
    budget = RetryBudget()
    for _ in range(30):
        budget.take(0, 500)

    assert not budget.take(0, 10_499)
    assert [budget.take(0, 10_500) for _ in range(31)] == [True] * 30 + [False]
