"""Where a request runs, and how fast less urgent work may grow."""

from gateway.core.placing import Backends, PaceBucket


def pool(*limits: int, held_back: int = 0) -> Backends:
    backends = Backends()
    for number, limit in enumerate(limits, start=1):
        backends.set(f"gpu-{number}", limit, held_back, open=True)
    return backends


def test_without_a_prefix_the_relatively_emptiest_backend_is_chosen():
    backends = pool(10, 20)
    backends.by_name["gpu-1"].in_flight = 5
    backends.by_name["gpu-2"].in_flight = 9

    assert backends.choose("", "", urgent=False).name == "gpu-2"


def test_equal_prefixes_go_to_one_backend_and_prefixes_spread_over_all():
    backends = pool(100, 100, 100)

    chosen = [backends.choose(f"prefix-{n}", "", urgent=False).name for n in range(3_000)]

    assert chosen == [backends.choose(f"prefix-{n}", "", urgent=False).name for n in range(3_000)]
    assert all(850 <= chosen.count(f"gpu-{n}") <= 1_150 for n in (1, 2, 3))


def test_losing_a_backend_moves_only_the_prefixes_it_had():
    backends = pool(100, 100, 100)
    before = {f"p{n}": backends.choose(f"p{n}", "", urgent=False).name for n in range(500)}

    backends.set("gpu-2", 100, 0, open=False)

    after = {prefix: backends.choose(prefix, "", urgent=False).name for prefix in before}
    moved = {prefix for prefix in before if before[prefix] != after[prefix]}
    assert moved == {prefix for prefix in before if before[prefix] == "gpu-2"}


def test_a_prefix_leaves_its_backend_when_that_is_far_busier_than_the_pool():
    backends = pool(100, 100)
    own = backends.choose("a", "", urgent=False)
    own.in_flight = 30  # the pool: 15 %
    assert backends.choose("a", "", urgent=False) is own

    own.in_flight = 31  # 31 % against 15.5 %

    assert backends.choose("a", "", urgent=False) is not own


def test_held_back_slots_are_for_urgent_requests():
    backends = pool(1, held_back=1)
    backends.by_name["gpu-1"].in_flight = 1

    assert not backends.room(urgent=False)
    assert backends.room(urgent=True)


def test_the_policys_share_holds_back_at_least_one_and_none_when_it_is_nought():
    backends = Backends()
    backends.share_holdback(50)
    backends.set("small", 3, None, open=True)
    backends.set("large", 64, None, open=True)
    assert [b.held_back for b in backends.by_name.values()] == [1, 4]

    backends.share_holdback(0)

    assert [b.held_back for b in backends.by_name.values()] == [0, 0]


def test_a_request_goes_where_memory_will_hold_it():
    backends = pool(9)
    backends.set("small", 99, 0, open=True, kv_tokens=100)
    backends.by_name["small"].footprint = 50
    backends.by_name["gpu-1"].in_flight = 8

    assert backends.choose("", "", urgent=False, footprint=46).name == "gpu-1"
    assert backends.choose("", "", urgent=False, footprint=45).name == "small"
    assert backends.choose("", "", urgent=True, footprint=46).name == "small"


def test_pace_charges_growth_and_refills_up_to_its_burst():
    bucket = PaceBucket()
    bucket.set(100, 1_000, 0)
    assert bucket.take(1_200) == 1_200
    assert bucket.binds
    assert bucket.free_at_ms == 2_001

    bucket.refill(2_001)
    assert not bucket.binds

    bucket.refill(100_000)
    bucket.take(1_000)
    assert bucket.binds
    bucket.give_back(1_200)
    assert not bucket.binds


def test_what_a_drained_engine_gave_back_does_not_pay_for_the_next_burst():
    bucket = PaceBucket()
    bucket.set(100, 1_000, 0)
    bucket.take(5_000)
    bucket.refill(60_000)

    bucket.give_back(5_000)
    bucket.refill(60_001)
    bucket.take(1_000)

    assert bucket.binds


def test_pace_is_off_until_a_rate_is_given():
    bucket = PaceBucket()

    assert bucket.take(10**9) == 0
    assert not bucket.binds
    assert bucket.free_at_ms is None
