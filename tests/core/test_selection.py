"""Whom a person means: ids, or a filter that is counted anew."""

import pytest

from gateway.core.ops import Boost, Release, SetBackend, Submit
from gateway.core.policy import default_policy
from gateway.core.scheduler import Scheduler
from gateway.core.selection import Selection, crowd, select

WAITING = (
    ("a", "standard", "acme", "summarize", "k1"),
    ("b", "batch", "acme", "batch_inference", "k2"),
    ("c", "standard", "birch", "summarize", "k3"),
    ("d", "standard", "acme", "translate", "k1"),
)


@pytest.fixture
def line() -> Scheduler:
    scheduler = Scheduler(default_policy())
    scheduler.apply([SetBackend("gpu", 1, 0), Submit("running", "standard", "acme", 1)], 0)
    for n, (id, tier, tenant, task, key) in enumerate(WAITING, 1):
        scheduler.apply([Submit(id, tier, tenant, 1, task_type=task, key=key)], n)
    return scheduler


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Selection(), "abcd"),
        (Selection(tier=("standard",)), "acd"),
        (Selection(tenant=("acme",)), "abd"),
        (Selection(task_type=("summarize",)), "ac"),
        (Selection(key=("k1",)), "ad"),
        (Selection(tier=("standard", "batch"), tenant=("birch", "acme"), key=("k2", "k3")), "bc"),
        (Selection(tier=("standard",), tenant=("acme",), task_type=("translate",)), "d"),
        (Selection(tier=("realtime",)), ""),
        (Selection(ids=("d", "running", "nobody", "a")), "da"),
        (Selection(ids=("d", "c"), tenant=("acme",)), "d"),
    ],
)
def test_a_filter_finds_what_waits_and_fits(line, wanted, found):
    assert select(line, wanted, 10) == list(found)


def test_a_filter_leaves_alone_what_came_after_it_was_shown(line):
    assert select(line, Selection(), 2) == ["a", "b"]


def test_what_was_sent_meanwhile_is_not_found(line):
    line.apply([Release("running")], 5)

    assert select(line, Selection(tier=("standard",)), 10) == ["a", "d"]


def test_the_crowd_is_counted_by_tier_and_tenant_boosted_ones_too(line):
    line.apply([Boost("d", 2)], 6)

    assert crowd(line) == {
        ("standard", "acme"): 2,
        ("standard", "birch"): 1,
        ("batch", "acme"): 1,
    }
