"""Statistics of one tier: quantiles that admit what they do not know, and rates."""

import math
from random import Random

import pytest

from gateway.core.ledger import BUCKET_RATIO, TierLedger, bucket_of, middle_ms


def ledger_with(waits_ms: list[int], now_ms: int = 0) -> TierLedger:
    ledger = TierLedger()
    for wait_ms in waits_ms:
        ledger.dispatched(now_ms, wait_ms, rescued=False)
    return ledger


@pytest.mark.parametrize("wait_ms", [1, 2, 7, 99, 12_345, 1_800_000])
def test_a_bucket_is_five_percent_wide(wait_ms):
    assert middle_ms(bucket_of(wait_ms)) == pytest.approx(wait_ms, rel=BUCKET_RATIO - 1)


def test_no_wait_at_all_is_a_wait_of_nought():
    assert ledger_with([0] * 5).waits(0).p50 == (0, False)


@pytest.mark.parametrize(("n", "known"), [(4, 0), (5, 1), (19, 1), (20, 2), (99, 2), (100, 3)])
def test_a_quantile_needs_enough_waits(n, known):
    waits = ledger_with([100] * n).waits(0)

    assert waits.n == n
    assert sum(quantile is not None for quantile in (waits.p50, waits.p95, waits.p99)) == known


def test_quantiles_are_those_of_the_sorted_waits_within_a_bucket():
    draw = Random(4)
    waits_ms = [round(draw.lognormvariate(6, 1.5)) for _ in range(2_000)]

    waits = ledger_with(waits_ms).waits(0)

    ranked = sorted(waits_ms)
    for q, quantile in ((50, waits.p50), (95, waits.p95), (99, waits.p99)):
        assert quantile is not None
        assert not quantile.at_least
        assert quantile.value_ms == pytest.approx(ranked[math.ceil(20 * q) - 1], rel=0.05)
    assert waits.worst_ms == ranked[-1]


def test_a_stuck_queue_does_not_look_healthy():
    ledger = ledger_with([10] * 100)
    for _ in range(100):
        ledger.joined(arrived_ms=500, cost=1)

    waits = ledger.waits(120_000)

    assert waits.n == 200
    assert waits.p50 is not None
    assert not waits.p50.at_least
    assert waits.p95 is not None
    assert waits.p95.at_least
    assert 110_000 <= waits.p95.value_ms <= 119_500
    assert 118_000 <= waits.worst_ms <= 119_500


def test_a_few_fresh_waiters_do_not_blur_what_is_known():
    ledger = ledger_with([1_000] * 200)
    ledger.joined(arrived_ms=60_000, cost=1)

    assert ledger.waits(60_000).p95 == (pytest.approx(1_000, rel=0.05), False)


def test_waits_leave_the_window_after_five_minutes():
    ledger = ledger_with([9_000] * 30, now_ms=1_000)
    ledger.dispatched(200_000, 10, rescued=False)

    assert ledger.waits(300_999).n == 31
    assert ledger.waits(301_000).n == 1
    assert ledger.waits(301_000).worst_ms == 10
    assert ledger.waits(10_000_000).n == 0


def test_quantiles_forget_what_left_the_window():
    ledger = ledger_with([10] * 30, now_ms=1_000)
    for _ in range(10):
        ledger.dispatched(200_000, 9_000, rescued=False)
    assert ledger.waits(300_000).p50 == (pytest.approx(10, rel=0.05), False)

    assert ledger.waits(301_000).p50 == (pytest.approx(9_000, rel=0.05), False)


def test_running_totals_equal_a_count_from_scratch():
    draw = Random(8)
    ledger = TierLedger()
    events: list[tuple[int, int]] = []
    now_ms = 0
    for _ in range(3_000):
        now_ms += draw.choice((0, 10, 700, 5_000))
        wait_ms = draw.randrange(60_000)
        ledger.dispatched(now_ms, wait_ms, rescued=False)
        events.append((now_ms // 1000, wait_ms))
        if draw.random() < 0.05:
            recent = [wait for second, wait in events if second > now_ms // 1000 - 300]
            assert ledger.waits(now_ms).n == len(recent)
            assert ledger.waits(now_ms).worst_ms == max(recent)


def test_rates_are_a_mean_of_thirty_seconds_that_follows_the_newest():
    ledger = TierLedger()
    for second in range(60):
        for _ in range(10 if second >= 45 else 2):
            ledger.admitted(second * 1000)
        ledger.dispatched(second * 1000, 1, rescued=False)

    come, gone = ledger.rates_per_s(60_000)

    assert gone == 1
    assert 6 < come < 10
    assert ledger.rates_per_s(200_000) == (0, 0)


def test_losses_are_counted_by_reason_for_a_minute():
    ledger = TierLedger()
    ledger.lost(0, "rejected")
    ledger.lost(0, "expired")
    ledger.lost(30_000, "expired")
    ledger.dispatched(30_000, 5, rescued=True)

    rescued, lost = ledger.last_minute(59_999)
    assert rescued == 1
    assert lost == {"rejected": 1, "expired": 2, "evicted": 0, "cancelled": 0}
    assert ledger.last_minute(60_000)[1]["expired"] == 1


def test_aged_waiters_are_counted_without_looking_at_them():
    ledger = TierLedger()
    for second in range(60):
        ledger.joined(second * 1000, cost=7)
    for second in range(0, 60, 2):
        ledger.left(second * 1000, cost=7)

    assert ledger.aged(60_000, 30_000) == 15
    assert ledger.waiting_since(9_000) == (5, 35)


def test_late_requests_burn_what_the_objective_allows():
    ledger = TierLedger()
    for n in range(100):
        ledger.dispatched(1_000, 10, rescued=False, late=n < 3)

    assert ledger.burn(2_000, overdue=0) == [pytest.approx(3.0)] * 4
    assert ledger.burn(2_000, overdue=100)[0] == pytest.approx(51.5)


@pytest.mark.parametrize(
    ("after_min", "known"),
    [(0, "5m 30m 1h 6h"), (6, "30m 1h 6h"), (31, "1h 6h"), (61, "6h"), (361, "")],
)
def test_who_expired_was_late_and_longer_windows_remember_longer(after_min, known):
    ledger = TierLedger()
    ledger.lost(1_000, "expired")

    burns = ledger.burn(after_min * 60_000 + 2_000, 0)

    named = dict(zip(("5m", "30m", "1h", "6h"), burns, strict=True))
    assert {name: burn for name, burn in named.items() if burn is not None} == {
        name: pytest.approx(100) for name in known.split()
    }


def test_a_minute_of_waits_forgets_the_minute_before():
    ledger = ledger_with([9_000] * 20, now_ms=1_000)
    for _ in range(20):
        ledger.dispatched(100_000, 10, rescued=False)

    minute = ledger.waits_of_minute(100_000)

    assert (minute.n, minute.worst_ms) == (20, 10)
    assert (ledger.waits(100_000).n, ledger.waits(100_000).worst_ms) == (40, 9_000)


def test_what_an_earlier_process_judged_counts_in_the_long_windows_only():
    ledger = TierLedger()
    now_ms = 10_000 * 60_000
    ledger.dispatched(now_ms, 5, rescued=False)

    ledger.remember([(10_000 - 400, 50, 50), (10_000 - 300, 5, 1), (10_000, 4, 0)])

    m5, m30, h1, h6 = ledger.burn(now_ms, overdue=0)
    assert (m5, m30, h1) == (0, 0, 0)
    assert h6 == pytest.approx(1 / 10 / 0.01)


def test_events_after_remembering_join_the_minute_that_runs():
    ledger = TierLedger()
    ledger.remember([(7, 1, 1)])

    ledger.dispatched(7 * 60_000, 90, rescued=False, late=False)

    assert ledger.burn(7 * 60_000, overdue=0)[1] == pytest.approx(50)
