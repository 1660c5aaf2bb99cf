"""The draft's shape: order, tiers added, removed, renamed, presets."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboard.policies import edit, review
from dashboard.policies.fields import document as as_document
from gateway.core.presets import PRESETS
from tests.support.policies import document, policies


def line(draft):
    return [(draft["tiers"][i]["name"], draft["tiers"][i]["priority"]) for i in edit.order(draft)]


def test_a_moved_tier_gets_a_number_between_its_neighbours():
    moved = edit.place(document(), 4, 2)

    assert line(moved) == [
        ("realtime", 10),
        ("critical", 8),
        ("background", 4),
        ("standard", 0),
        ("batch", -5),
    ]


def test_without_a_number_in_between_the_tiers_change_places():
    draft = document()
    draft["tiers"][1]["priority"] = 9

    assert line(edit.place(draft, 2, 1))[:3] == [("realtime", 10), ("standard", 9), ("critical", 0)]
    assert line(edit.place(draft, 4, 0))[0] == ("background", 10)


@settings(max_examples=40, deadline=None)
@given(policies(), st.data())
def test_higher_number_runs_first_wherever_a_tier_is_put(policy, data):
    draft = as_document(policy)
    at = st.integers(0, len(draft["tiers"]) - 1)
    index, place = data.draw(at), data.draw(at)

    moved = edit.place(draft, index, place)

    assert edit.order(moved)[place] == index
    assert review.problems(moved) == []
    assert sorted(line(moved), key=lambda tier: -tier[1]) == line(moved)


def test_what_pointed_to_a_removed_tier_points_to_the_next_lower_one():
    draft = document()
    draft["tenants"]["acme"] = edit.rules_of(draft, "acme") | {"default_tier": "standard"}

    shrunk = edit.remove_tier(draft, 2)

    assert shrunk["default_tier"] == "batch"
    assert shrunk["task_types"]["translate"] == "batch"
    assert shrunk["tenants"]["acme"]["default_tier"] == "batch"
    assert review.problems(shrunk) == []


@settings(max_examples=40, deadline=None)
@given(policies(), st.data())
def test_removing_and_adding_leave_a_whole_policy(policy, data):
    draft = as_document(policy)
    index = data.draw(st.integers(0, len(draft["tiers"]) - 1))

    assert review.problems(edit.remove_tier(draft, index)) == []
    assert review.problems(edit.add_tier(draft)) == []


def test_a_new_name_is_followed_by_all_that_use_it_even_after_a_slip():
    slipped = edit.rename_tier(document(), 3, "standard")
    assert slipped["task_types"]["batch_inference"] == "batch"

    renamed = edit.rename_tier(slipped, 3, "bulk")

    assert renamed["task_types"]["batch_inference"] == "bulk"
    assert renamed["task_types"]["translate"] == "standard"
    assert review.problems(edit.clean(renamed)) == []


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_gives_a_whole_draft(name):
    assert review.problems(edit.use_preset(document(), name)) == []


def test_a_preset_needs_a_whole_draft():
    draft = document()
    draft["max_waiting"] = "many"

    with pytest.raises(ValueError, match="max_waiting"):
        edit.use_preset(draft, "strict")
