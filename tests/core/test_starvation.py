from gateway.core.starvation import Passed, Watch


def test_who_goes_in_time_let_nobody_pass_that_counts():
    watch = Watch()
    watch.joined("a", 100, due_ms=1_000)

    watch.moved_on(999)

    assert watch.dispatched("a") is None


def test_an_overdue_request_counts_what_goes_before_it_from_then_on():
    watch = Watch()
    watch.joined("early", 70, due_ms=9_000)
    watch.joined("a", 100, due_ms=1_000)
    watch.joined("b", 30, due_ms=5_000)
    watch.dispatched("early")

    watch.moved_on(1_000)
    watch.dispatched("b")

    assert watch.dispatched("a") == Passed(due_ms=1_000, cost=30, owed=100 + 100)


def test_it_has_to_let_pass_those_who_were_overdue_before_or_with_it():
    watch = Watch()
    for id, cost, due_ms in (("a", 10, 1_000), ("b", 20, 2_000), ("c", 40, 2_000), ("d", 5, 3_000)):
        watch.joined(id, cost, due_ms)

    watch.moved_on(2_500)

    assert watch.so_far("a").owed == 10 + 40
    assert watch.so_far("b").owed == watch.so_far("c").owed == 70 + 40
    assert watch.so_far("d") is None


def test_those_who_left_are_owed_nothing():
    watch = Watch()
    watch.joined("a", 10, 1_000)
    watch.joined("b", 20, 2_000)
    watch.moved_on(1_000)

    watch.left("a")
    watch.moved_on(2_000)

    assert watch.so_far("b").owed == 20 + 20


def test_a_moment_seen_late_is_judged_as_of_then():
    watch = Watch()
    watch.joined("a", 10, 1_000)
    watch.joined("b", 20, 2_000)

    watch.moved_on(60_000)

    assert watch.so_far("a") == Passed(1_000, 0, 10 + 20)
