from random import Random

import pytest

from gateway.core import estimate
from gateway.core.estimate import Calibration, Outputs, Rate, Wait

# ------------------------------------------------------------------ cost


def test_a_generated_token_costs_as_much_as_two_of_the_prompt():
    assert estimate.cost(500, 200) == 900
    assert estimate.cost(500, 200, cached_tokens=400) == 500


def test_no_call_is_free():
    assert estimate.cost(64, 0, cached_tokens=64) == 1


def test_a_stranger_is_expected_to_do_as_its_task_and_model_usually_do():
    outputs = Outputs()
    outputs.learn("acme", "chat", "qwen", 100)
    outputs.learn("acme", "translate", "qwen", 700)

    assert outputs.expect("acme", "chat", "qwen") == 100
    assert outputs.expect("birch", "translate", "qwen") == 700
    assert outputs.expect("birch", "summarize", "qwen") == 400
    assert outputs.expect("birch", "chat", "llama") == 256


def test_max_tokens_bounds_what_is_expected_of_each_choice():
    outputs = Outputs()
    outputs.learn("acme", "chat", "qwen", 900, sequences=3)

    assert outputs.expect("acme", "chat", "qwen") == 300
    assert outputs.expect("acme", "chat", "qwen", max_tokens=16) == 16
    assert outputs.expect("acme", "chat", "qwen", max_tokens=200, sequences=4) == 800


def test_early_replies_are_averaged_and_later_ones_move_the_mean_by_a_tenth():
    outputs = Outputs()
    for tokens in [100] * 5 + [200] * 5:
        outputs.learn("acme", "chat", "qwen", tokens)
    assert outputs.expect("acme", "chat", "qwen") == 150

    outputs.learn("acme", "chat", "qwen", 250)

    assert outputs.expect("acme", "chat", "qwen") == 160


def test_made_up_task_names_cannot_fill_the_memory(monkeypatch):
    monkeypatch.setattr(estimate, "KNOWN_MOST", 50)
    outputs = Outputs()
    for number in range(500):
        outputs.learn("acme", f"task-{number}", "qwen", 10)

    assert len(outputs._means) == 50
    assert outputs.expect("acme", "task-0", "qwen") == 10  # known by its model still


# ------------------------------------------------------------------ rates


def test_a_rate_looks_back_thirty_seconds():
    rate = Rate()
    for second in range(60):
        rate.add(500 if second < 30 else 50, second * 1000)

    assert rate.per_s(59_999) == pytest.approx(50)
    assert rate.per_s(74_999) == pytest.approx(25)
    assert rate.per_s(200_000) == 0


def test_a_young_rate_is_taken_over_its_age():
    rate = Rate()
    for second in range(5):
        rate.add(100, second * 1000)

    assert rate.per_s(5000) == pytest.approx(100)
    assert Rate().per_s(5000) == 0


def test_a_pause_does_not_slow_the_rate_after_it():
    rate = Rate()
    rate.add(1000, 0)
    for second in range(600, 605):
        rate.add(100, second * 1000)

    assert rate.per_s(605_000) == pytest.approx(100)


# ------------------------------------------------------------------ what is ahead, how long


@pytest.mark.parametrize(
    ("ahead", "drain_per_s", "higher_per_s", "bound_s", "wait_s"),
    [
        (0, 0, 0, None, 0.0),
        (100, 0, 0, None, None),
        (6000, 1000, 0, None, 6.0),
        (6000, 1000, 500, None, 12.0),
        (6000, 1000, 5000, None, 120.0),
        (6000, 1000, 5000, 90, 90.0),
    ],
    ids=["nothing", "no drain", "alone", "half is higher", "overload", "guarantee"],
)
def test_a_raw_wait_counts_what_higher_levels_take(
    ahead, drain_per_s, higher_per_s, bound_s, wait_s
):
    found = estimate.raw_wait_s(ahead, drain_per_s, higher_per_s, bound_s)

    assert found == (None if wait_s is None else pytest.approx(wait_s))


# ------------------------------------------------------------------ calibration


def test_a_wait_is_unknown_until_thirty_dispatches_speak_for_it():
    calibration = Calibration()
    for _ in range(29):
        calibration.learn("standard", 10, 10)
    assert calibration.wait("standard", 10) is None

    calibration.learn("standard", 10, 10)

    assert calibration.wait("standard", 10) == Wait(pytest.approx(10), pytest.approx(10))
    assert calibration.wait("batch", 10) is None
    assert calibration.wait("standard", None) is None


def test_estimates_that_were_too_low_are_raised():
    calibration = Calibration()
    for number in range(100):
        calibration.learn("standard", 9.5, 19.5 if number < 80 else 39.5)

    assert calibration.wait("standard", 9.5) == Wait(pytest.approx(19.5), pytest.approx(39.5))


def test_only_the_last_two_hundred_dispatches_count():
    calibration = Calibration()
    for number in range(400):
        calibration.learn("standard", 10, 1000 if number < 200 else 10)

    assert calibration.wait("standard", 10) == Wait(pytest.approx(10), pytest.approx(10))


def test_an_empty_line_promises_no_wait_below_zero():
    calibration = Calibration()
    for _ in range(50):
        calibration.learn("realtime", 5, 0)

    assert calibration.wait("realtime", 0) == Wait(0, 0)


def test_the_ninetieth_percentile_covers_about_nine_in_ten():
    random, calibration = Random(3), Calibration()
    covered = told = 0
    for _ in range(3000):
        raw_s = random.uniform(1, 200)
        waited_s = raw_s * 1.8 * random.lognormvariate(0, 0.6)
        wait = calibration.wait("standard", raw_s)
        if wait:
            told += 1
            covered += waited_s <= wait.p90_s
        calibration.learn("standard", raw_s, waited_s)

    assert 0.85 <= covered / told <= 0.95


# ------------------------------------------------------------------ what follows from it


@pytest.mark.parametrize(
    ("until_room_s", "jitter", "retry_after_s"),
    [(10, 1.2, 12), (0.2, 0.8, 1), (300, 0.8, 60), (None, 1.0, 60)],
)
def test_a_retry_after_is_spread_and_kept_within_a_minute(until_room_s, jitter, retry_after_s):
    assert estimate.retry_after_s(until_room_s, jitter) == pytest.approx(retry_after_s)


@pytest.mark.parametrize(
    ("wait", "deadline_s", "in_time"),
    [
        (None, 0.1, True),
        (Wait(29, 90), None, True),
        (Wait(31, 90), None, False),
        (Wait(29, 90), 20, False),
        (Wait(29, 90), 100, True),
        (Wait(31, 90), 100, False),
        (Wait(29, 90), 0.0, False),
    ],
    ids=[
        "unknown",
        "under max wait",
        "over max wait",
        "over deadline",
        "late deadline",
        "over max wait, late deadline",
        "now",
    ],
)
def test_a_request_that_would_be_late_is_known_at_the_door(wait, deadline_s, in_time):
    assert estimate.feasible(wait, max_wait_s=30, deadline_s=deadline_s) is in_time
