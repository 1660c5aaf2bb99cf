"""The longest wait that a draft promises each tier, from what the last hour brought."""

from datetime import timedelta

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dashboard.policies.bounds import Seen, last_hour, longest_waits
from gateway.core.policy import default_policy
from tests.support.usage import used

POLICY = default_policy()
SEEN = Seen({"batch": 1_800_000}, each=1_000, largest=5_000, rate_per_s=10_000)


def test_a_wait_is_the_target_and_the_rescue_lane_s_work():
    batch, realtime = POLICY.tier("batch"), POLICY.tier("realtime")
    overdue = 500 * (batch.max_wait_s - batch.target_wait_s)
    rescue_s = (min(overdue, batch.max_waiting * 1_000) + 5_000) / (POLICY.rescue_share * 10_000)
    assert realtime.max_wait_s < rescue_s < batch.max_wait_s - batch.target_wait_s

    found = {one.tier.name: one for one in longest_waits(POLICY, SEEN)}

    assert found["batch"].seconds == pytest.approx(batch.target_wait_s + rescue_s)
    assert not found["batch"].gives_up
    assert (found["realtime"].seconds, found["realtime"].gives_up) == (
        realtime.max_wait_s,
        True,
    )


def test_without_a_share_nothing_is_promised():
    assert longest_waits(replace(POLICY, rescue_share=0.0), SEEN) == []


@given(st.floats(0.01, 0.5), st.floats(0.01, 0.5), st.integers(0, 10**8), st.integers(1, 10**6))
def test_a_larger_share_never_makes_a_wait_longer(one, other, arrived, largest):
    seen = Seen({"standard": arrived, "batch": arrived}, 500, largest, 5_000)
    less, more = (
        longest_waits(replace(POLICY, rescue_share=share), seen) for share in sorted((one, other))
    )

    for slow, fast in zip(less, more, strict=True):
        assert fast.seconds <= slow.seconds <= slow.tier.max_wait_s


@pytest.mark.django_db
def test_the_last_hour_is_added_up(acme):
    now = timezone.now()
    minute = now.replace(second=30, microsecond=0) - timedelta(minutes=5)
    for n in range(3):
        used(acme, "k", arrived_at=minute, prompt_tokens=100 + n, completion_tokens=50)
    used(acme, "k", arrived_at=minute - timedelta(minutes=9), prompt_tokens=5, completion_tokens=1)
    used(
        acme, "k", arrived_at=minute, outcome="rejected", prompt_tokens=None, completion_tokens=None
    )
    used(acme, "k", ago=timedelta(hours=2), prompt_tokens=10**6)

    seen = last_hour(now)

    assert seen.largest == 202
    assert seen.rate_per_s == pytest.approx((303 + 2 * 150) / 60)
    assert seen.each == (303 + 300 + 7) // 4
    assert seen.arrived == {"standard": 5 * seen.each}


@pytest.mark.django_db
def test_an_hour_without_answers_says_nothing(acme):
    used(acme, "k", outcome="rejected", prompt_tokens=None, completion_tokens=None)

    assert last_hour(timezone.now()) is None


def test_the_editor_prints_it(as_ada, acme, sent):
    assert "Longest wait" not in as_ada.get("/policy/draft/tiers/").content.decode()
    used(acme, "k", times=3)

    assert "Longest wait" in as_ada.get("/policy/draft/tiers/").content.decode()
    sent(as_ada, "pool", {"rescue_share": "0%"})
    assert "nothing bounds a wait" in as_ada.get("/policy/draft/tiers/").content.decode()
