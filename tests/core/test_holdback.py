"""What urgent traffic makes a pool keep free for it."""

from dataclasses import dataclass, field

import pytest

from gateway.core import capacity, steering
from gateway.core.holdback import Reserve, arrived, finished, polled, share_out
from gateway.core.policy import default_policy
from gateway.core.scheduler import Scheduler


@pytest.mark.parametrize(
    ("arrivals_per_s", "held_back", "short"),
    [(0, 13, False), (5, 15, False), (15, 36, False), (60, 64, True)],
    ids=["none: the policy's share", "some", "many", "too many: a quarter"],
)
def test_the_holdback_covers_what_urgent_requests_hold_by_themselves(
    arrivals_per_s, held_back, short
):
    reserve = Reserve(arrivals=arrivals_per_s * 10, arrived_at_ms=0, e2e_s=1.6)

    assert share_out(reserve, [256], 0.05, now_ms=0) == ((held_back,), short)


def test_one_slot_is_held_back_on_the_smallest_backend():
    assert share_out(Reserve(), [1], 0.0, now_ms=0).held_back == (1,)


def test_a_backend_whose_limit_is_still_being_found_holds_back_more():
    assert share_out(Reserve(), [8], 0.05, now_ms=0, ramping=1).held_back == (8,)
    assert share_out(Reserve(), [256, 16], 0.05, now_ms=0, ramping=1).held_back == (14, 1)


def test_a_pools_holdback_is_shared_out_by_base_limit():
    reserve = Reserve(arrivals=100, e2e_s=1.6)

    assert share_out(reserve, [100, 50, 106], 0.05, now_ms=0).held_back == (11, 6, 11)


def test_a_share_above_a_quarter_is_what_the_administrator_wants():
    assert share_out(Reserve(), [100], 0.4, now_ms=0).held_back == (40,)


def test_a_reserve_above_a_quarter_is_not_short_of_less():
    reserve = Reserve(arrivals=10, e2e_s=0.9)

    assert share_out(reserve, [8], 0.5, now_ms=0) == ((4,), False)


def test_the_arrival_rate_settles_and_fades():
    reserve = Reserve()
    for at_ms in range(0, 60_000, 200):
        reserve = arrived(reserve, at_ms)
    reserve = finished(finished(reserve, 2.0), 1.0)

    assert reserve.e2e_s == pytest.approx(1.9)
    assert reserve.load(59_800) == pytest.approx(5 * 1.9, rel=0.02)
    assert reserve.load(69_800) == pytest.approx(5 * 1.9 / 2.718, rel=0.02)


def test_urgent_overload_gives_the_holdback_up_until_no_urgent_request_waits():
    told = {"refused": True, "waiting": 9, "in_flight": 50, "base_limit": 100}

    once = polled(Reserve(), **told)
    twice = polled(once, **told)
    still = polled(twice, **told | {"refused": False, "in_flight": 10})
    over = polled(still, **told | {"waiting": 0, "refused": False})

    assert [r.overloaded for r in (once, twice, still, over)] == [False, True, True, False]
    assert share_out(twice, [60, 40], 0.05, now_ms=0) == ((0, 0), True)


def test_urgent_requests_that_hold_little_are_no_overload():
    reserve = Reserve()
    for _ in range(5):
        reserve = polled(reserve, refused=True, waiting=9, in_flight=49, base_limit=100)

    assert not reserve.overloaded


@dataclass
class Server:
    name: str = "gpu"
    law: capacity.Law = field(default_factory=lambda: capacity.start(20))
    held_back: int = 0
    refusals: int = 0
    stops_seen: tuple[int, int] = (0, 0)
    most: int | None = None
    kv_tokens: int | None = None


def test_urgent_traffic_above_its_reserve_is_told_after_a_minute():
    policy = default_policy()
    pool = steering.Steering(Scheduler(policy), policy)
    pool.finished(10, e2e_s=2.0)
    told = []
    for second in range(120):  # 10/s of 2 s hold 20 slots, and 5 of 20 may be held back
        for _ in range(10 if second < 75 else 0):
            pool.arrived(10, second * 1_000)
        pool.share_out([Server()], second * 1_000)
        told.append(pool.urgent_is_short(second * 1_000))

    assert told.index(True) in range(60, 65)
    assert not told[-1]
