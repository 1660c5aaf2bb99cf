"""When a canary is taken back: figures in, a sentence or nothing out."""

import pytest

from dashboard.policies.guards import GUARDS, Group, Pair, tripped


def group(n=100, wait_s=1.0, **more):
    return Group(**{"n": n, "waits": (wait_s,) * n, **more})


def pair(canary, others, tier="standard"):
    return Pair(tier, 60.0, canary, others)


@pytest.mark.parametrize(
    ("canary", "others", "said"),
    [
        (group(), group(), ""),
        (group(wait_s=30), group(wait_s=30), ""),  # load that hits both
        (group(wait_s=2.1), group(wait_s=1.0), "wait p95 2.1 s against 1.0 s"),
        (group(wait_s=1.9), group(wait_s=1.0), ""),
        (group(wait_s=0.9), group(wait_s=0.01), ""),  # a second is nothing to go back for
        (group(n=19, wait_s=9), group(), ""),  # too few to say
        (group(wait_s=9), group(n=19), ""),
        (group(refused=3), group(refused=1), "3.0 % refused against 1.0 %"),
        (group(refused=2), group(refused=0), ""),
        (group(n=1000, refused=11), group(n=1000, refused=0), "1.1 % refused against 0.0 %"),
        (group(n=1000, refused=10), group(n=1000, refused=0), ""),
        (group(failed=5), group(failed=3), "5.0 % failed against 3.0 %"),
        (group(n=3, refused=3), Group(), "100.0 % refused against 0.0 %"),
        (Group(waiting=9, oldest_s=62.0), group(), "one has waited for 62.0 s"),
        (Group(waiting=9, oldest_s=62.0), group(waiting=9, oldest_s=40.0), ""),
        (Group(waiting=9, oldest_s=59.0), group(), ""),  # within the tier's target
    ],
)
def test_a_guard_trips_on_what_the_others_do_not_suffer(canary, others, said):
    told = tripped([pair(canary, others)], GUARDS)

    assert told == "" if not said else said in told
    assert not told or told.startswith("standard: ")


def test_a_guard_that_was_not_chosen_trips_nothing():
    bad = pair(group(wait_s=9, refused=50, failed=50), group())

    assert "wait p95" in tripped([bad], GUARDS)
    assert "refused" in tripped([bad], ["refused", "errors"])
    assert tripped([bad], []) == ""


def test_all_tiers_together_are_held_to_refusals_and_errors_alone():
    assert tripped([pair(group(wait_s=9), group(), "")], GUARDS) == ""
    assert "all tiers: " in tripped([pair(group(failed=9), group(), "")], GUARDS)
