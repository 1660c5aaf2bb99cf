from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import quota
from gateway.core.quota import Answer, Rule, Standing

TOKENS = Rule(key="tenant:acme:tokens", unit="tokens", per_min=6000)
REQUESTS = Rule(key="tenant:acme:requests", unit="requests", per_min=60)


def admitted(tats: dict[str, int], rules: list[Rule], now_ms: int, tokens: int = 1) -> int:
    """How many requests in a row pass at one moment."""
    count = 0
    while not quota.spend(tats, rules, now_ms, tokens=tokens).exceeded:
        count += 1
    return count


def test_a_full_bucket_holds_ten_seconds_of_the_limit():
    tats: dict[str, int] = {}

    assert admitted(tats, [REQUESTS], now_ms=5000) == 10
    assert admitted(tats, [REQUESTS], now_ms=5999) == 0
    assert admitted(tats, [REQUESTS], now_ms=6000) == 1


def test_a_burst_may_be_set():
    assert admitted({}, [Rule(key="k", unit="requests", per_min=60, burst=3)], now_ms=0) == 3


def test_a_limit_under_one_in_ten_seconds_still_lets_one_pass():
    rule = Rule(key="k", unit="requests", per_min=2)
    tats: dict[str, int] = {}

    assert admitted(tats, [rule], now_ms=0) == 1
    assert admitted(tats, [rule], now_ms=29_999) == 0
    assert admitted(tats, [rule], now_ms=30_000) == 1


def test_the_retry_after_of_a_refusal_is_exact():
    tats: dict[str, int] = {}
    quota.spend(tats, [TOKENS], 0, tokens=1000)

    refused = quota.spend(tats, [TOKENS], 0, tokens=250)

    assert refused == Answer((), (TOKENS,), 2500)
    assert quota.spend(tats, [TOKENS], 2499, tokens=250).exceeded
    assert not quota.spend(tats, [TOKENS], 2500, tokens=250).exceeded


def test_a_refusal_leaves_no_trace():
    tats: dict[str, int] = {}
    admitted(tats, [REQUESTS], now_ms=0)
    before = dict(tats)

    refused = quota.spend(tats, [TOKENS, REQUESTS], 0, tokens=500)

    assert refused.exceeded == (REQUESTS,)
    assert tats == before  # tokens would have had room, and were not charged


def test_every_rule_in_the_way_is_named_with_the_longest_wait():
    tats: dict[str, int] = {}
    quota.spend(tats, [TOKENS], 0, tokens=1000)
    admitted(tats, [REQUESTS], now_ms=0)

    refused = quota.spend(tats, [TOKENS, REQUESTS], 0, tokens=300)

    assert refused.exceeded == (TOKENS, REQUESTS)
    assert refused.retry_after_ms == 3000


def test_what_to_do_on_excess_comes_with_the_rule():
    urgent = Rule(key="tenant:acme:tier:realtime", unit="requests", per_min=6, on_excess="demote")
    tats: dict[str, int] = {}
    quota.spend(tats, [urgent], 0, tokens=1)

    refused = quota.spend(tats, [urgent], 0, tokens=1)

    assert [rule.on_excess for rule in refused.exceeded] == ["demote"]


def test_a_cost_above_the_burst_is_charged_as_a_burst_and_the_rest_at_settlement():
    tats: dict[str, int] = {}

    passed = quota.spend(tats, [TOKENS], 0, tokens=5000)
    assert passed.charges[0].amount == 1000
    quota.settle(tats, passed.charges, 1000, tokens=5000)

    assert quota.spend(tats, [TOKENS], 1000, tokens=1).retry_after_ms == 39_010


@pytest.mark.parametrize(("actual", "room"), [(200, 800), (1000, 0), (400, 600)])
def test_settlement_moves_the_bucket_both_ways(actual, room):
    tats: dict[str, int] = {}
    passed = quota.spend(tats, [TOKENS, REQUESTS], 0, tokens=600)

    quota.settle(tats, passed.charges, 0, tokens=actual)

    assert quota.standing(tats, TOKENS, 0).remaining == room
    assert quota.standing(tats, REQUESTS, 0).remaining == 9


def test_a_request_that_left_the_line_is_refunded_whole():
    tats: dict[str, int] = {}
    passed = quota.spend(tats, [TOKENS, REQUESTS], 70, tokens=7)

    quota.refund(tats, passed.charges, 70)

    assert quota.standing(tats, TOKENS, 70) == Standing(6000, 1000, 0)
    assert quota.standing(tats, REQUESTS, 70) == Standing(60, 10, 0)


def test_a_standing_tells_what_may_be_spent_and_when_all_is_back():
    tats: dict[str, int] = {}
    quota.spend(tats, [TOKENS], 0, tokens=700)

    assert quota.standing(tats, TOKENS, 2000) == Standing(limit=6000, remaining=500, reset_ms=5000)


def test_a_bucket_that_nobody_asked_for_is_full_and_no_fuller():
    tats: dict[str, int] = {}
    quota.spend(tats, [TOKENS], 0, tokens=700)

    assert quota.standing(tats, TOKENS, 60_000) == Standing(6000, 1000, 0)
    assert admitted(tats, [TOKENS], now_ms=60_000, tokens=100) == 10


def test_of_two_empty_rules_a_client_hears_of_the_slower_one():
    key = Rule(key="key:ab12cd34:tokens", unit="tokens", per_min=60)
    tats: dict[str, int] = {}
    tenant_spent = quota.spend(tats, [TOKENS, key], 0, tokens=1000)
    quota.settle(tats, tenant_spent.charges, 0, tokens=1000)

    assert quota.tightest(tats, [TOKENS, key], "tokens", 0) == Standing(60, 0, 1_000_000)


def test_a_client_hears_of_the_rule_with_the_least_room():
    key = Rule(key="key:ab12cd34:tokens", unit="tokens", per_min=600)
    tats: dict[str, int] = {}
    quota.spend(tats, [TOKENS], 0, tokens=950)

    assert quota.tightest(tats, [TOKENS, key, REQUESTS], "tokens", 0) == Standing(6000, 50, 9500)
    assert quota.tightest(tats, [TOKENS, key], "requests", 0) is None


def test_absent_limits_make_no_rules():
    rules = quota.rules_of("key:ab12cd34", requests_per_min=None, tokens_per_min=600)

    assert rules == [Rule(key="key:ab12cd34:tokens", unit="tokens", per_min=600)]


def test_idle_buckets_are_forgotten_without_a_difference():
    tats = {"idle": 1_000_000, "recent": 3_000_000_000, "busy": 3_700_000_000}

    quota.forget_idle(tats, now_ms=3_601_001)

    assert tats == {"recent": 3_000_000_000, "busy": 3_700_000_000}


# ------------------------------------------------------------------ use in any window


class Post(NamedTuple):
    at_ms: int
    amount: int
    admits: bool


def most_over(posts: list[Post], rule: Rule) -> float:
    """How far use in the worst window that ends with an admission passes limit + burst."""
    worst = 0.0
    for end, last in enumerate(posts):
        if last.admits:
            used = 0
            for first in reversed(posts[: end + 1]):
                used += first.amount
                earned = rule.per_min * (last.at_ms - first.at_ms) / 60_000
                worst = max(worst, used - earned - rule.depth)
    return worst


def play(rule: Rule, steps: list[tuple[int, int, int]], bucket: Any = quota) -> list[list[Post]]:
    """Ask for each (pause, cost, actual) in turn; a request settles at the second pause after it.

    Returns what was posted without upward settlements, and with them.
    """
    tats: dict[str, int] = {}
    now_ms, open_charges = 1000, []
    without: list[Post] = []
    with_all: list[Post] = []
    for pause_ms, cost, actual in steps:
        now_ms += pause_ms
        if len(open_charges) > 1:
            charges, really = open_charges.pop(0)
            change = really - charges[0].amount
            bucket.settle(tats, charges, now_ms, tokens=really)
            with_all.append(Post(now_ms, change, False))
            without.append(Post(now_ms, min(0, change), False))
        answer = bucket.spend(tats, [rule], now_ms, tokens=cost)
        if not answer.exceeded:
            open_charges.append((answer.charges, actual))
            for posts in (without, with_all):
                posts.append(Post(now_ms, answer.charges[0].amount, True))
    return [without, with_all]


STEPS = st.lists(
    st.tuples(st.integers(0, 20_000), st.integers(1, 3000), st.integers(1, 3000)), max_size=30
)


@settings(deadline=None, max_examples=150)
@given(steps=STEPS, per_min=st.integers(1, 20_000), burst=st.integers(0, 2000))
def test_use_in_any_window_stays_under_limit_and_burst_and_the_settlements_in_it(
    steps, per_min, burst
):
    rule = Rule(key="k", unit="tokens", per_min=per_min, burst=burst)

    without_true_ups, posts = play(rule, steps)

    assert most_over(without_true_ups, rule) <= 1
    # A settlement upwards is a debt: over all, nobody is admitted until it is worked off.
    earned = [rule.per_min * (post.at_ms - 1000) / 60_000 + rule.depth for post in posts]
    used = 0
    for post, most in zip(posts, earned, strict=True):
        used += post.amount
        assert not post.admits or used <= most + 1


class MinuteCounter:
    """What a quota must not be: a count that starts anew each calendar minute."""

    @staticmethod
    def spend(tats: dict[str, int], rules: list[Rule], now_ms: int, *, tokens: int) -> Answer:
        minute = f"{now_ms // 60_000}"
        tats[minute] = tats.get(minute, 0) + tokens
        if tats[minute] > rules[0].per_min:
            return Answer((), tuple(rules), 1)
        return Answer((quota.Charge(rules[0], tokens),))

    @staticmethod
    def settle(tats: dict[str, int], charges: Any, now_ms: int, *, tokens: int) -> None:
        """It charges once."""


def test_a_count_by_calendar_minutes_would_be_caught():
    rule = Rule(key="k", unit="tokens", per_min=600)
    minute_end = [(58_990, 600, 600), (20, 600, 600)]

    assert most_over(play(rule, minute_end, MinuteCounter)[0], rule) > 600
    assert most_over(play(rule, minute_end)[0], rule) <= 1
