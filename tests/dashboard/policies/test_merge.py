"""Two people edit one policy."""

import pytest
from hypothesis import given, settings

from dashboard.policies import diff, fields
from dashboard.policies.diff import BETWEEN
from dashboard.policies.fields import document as as_document
from dashboard.policies.merge import merge, where
from gateway.core.policy import load
from tests.support.policies import document, policies


def test_edits_that_do_not_touch_are_both_there():
    theirs, mine = document(), document()
    theirs["tiers"][3]["max_waiting"] = 7
    theirs["task_types"]["ocr"] = "batch"
    mine["tiers"][3]["priority"] = -4
    mine["tenants"]["acme"] = {**fields.DEFAULT_RULES, "weight": 5}

    both = merge(document(), theirs, mine)

    assert both.conflicts == ()
    assert (both.document["tiers"][3]["max_waiting"], both.document["tiers"][3]["priority"]) == (
        7,
        -4,
    )
    assert both.document["task_types"]["ocr"] == "batch"
    assert both.document["tenants"]["acme"]["weight"] == 5
    load(both.document)


def test_what_both_changed_is_a_choice():
    theirs, mine = document(), document()
    theirs["rescue_share"], mine["rescue_share"] = 0.2, 0.3

    assert merge(document(), theirs, mine).conflicts == ("rescue_share",)
    assert merge(document(), theirs, mine).document["rescue_share"] == 0.2
    assert merge(document(), theirs, mine, {"rescue_share"}).document["rescue_share"] == 0.3


def test_a_tier_one_removed_and_the_other_changed_is_one_conflict():
    theirs, mine = document(), document()
    del theirs["tiers"][4]
    mine["tiers"][4]["max_waiting"] = 1

    both = merge(document(), theirs, mine)

    assert both.conflicts == (f"tiers{diff.BETWEEN}background",)
    assert [tier["name"] for tier in both.document["tiers"]][-1] == "batch"
    assert "max waiting" not in diff.at_path(mine, both.conflicts[0])
    assert "max_waiting 1" in diff.at_path(mine, both.conflicts[0])


@settings(max_examples=40, deadline=None)
@given(policies(), policies())
def test_one_who_changed_nothing_gets_what_the_other_did(base, other):
    base, other = as_document(base), as_document(other)

    assert diff.keyed(merge(base, other, base).document) == diff.keyed(other)
    assert diff.keyed(merge(base, base, other).document) == diff.keyed(other)
    assert merge(base, other, other).conflicts == ()


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (("tiers", "batch", "max_waiting"), "batch: max waiting"),
        (("tiers", "batch"), "batch"),
        (("max_waiting",), "waiting in all tiers"),
        (("ageing", "ceiling"), "ageing ceiling"),
        (("ageing",), "ageing"),
        (("task_types", "translate"), "translate"),
        (("tiers", "limits", "ages"), "limits: ages"),
        (("tenants", "acme", "ceiling"), "acme: ceiling"),
        (("tenants", "acme", "tier_limits", "batch", "on_excess"), "acme: batch: on excess"),
    ],
)
def test_what_both_changed_is_named_as_the_pages_name_it(parts, text):
    assert where(BETWEEN.join(parts)) == text
