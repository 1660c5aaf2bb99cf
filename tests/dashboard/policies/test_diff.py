"""Two documents in sentences."""

from copy import deepcopy

from hypothesis import given, settings

from dashboard.policies import diff, fields
from dashboard.policies.fields import document as as_document
from tests.support.policies import document, policies


def test_a_moved_task_type_names_both_tiers_with_their_numbers():
    after = document()
    after["task_types"]["translate"] = "batch"

    assert diff.sentences(document(), after) == ["translate: standard (0) \u2192 batch (\u22125)"]


def test_fields_are_told_in_the_units_of_sentences():
    after = document()
    after["tiers"][3] |= {"priority": -3, "max_wait_s": 3600, "max_waiting": 4000, "ages": False}
    after |= {"rescue_share": 0.2}
    after["ageing"]["ceiling"] = -2

    assert diff.sentences(document(), after) == [
        "batch: priority \u22125 \u2192 \u22123",
        "batch: max wait 10 min \u2192 1 h",
        "batch: max waiting 2k \u2192 4k",
        "batch: ages yes \u2192 no",
        "rescue lane 10 % \u2192 20 %",
        "ageing ceiling 7 \u2192 \u22122",
    ]


def test_tiers_come_go_and_change_their_name():
    before, after = document(), document()
    del after["tiers"][4]
    assert diff.sentences(before, after)[0] == "tier background (\u221210) removed"
    assert diff.sentences(after, before)[0].startswith(
        "tier background (\u221210) added: target wait 5 min"
    )

    after = document()
    after["tiers"][4]["name"] = "night"
    assert diff.sentences(before, after)[0] == "tier background (\u221210) is now called night"


def test_a_tenant_s_rules_are_told_against_the_defaults():
    after = document()
    after["tenants"]["acme"] = {
        **deepcopy(fields.DEFAULT_RULES),
        "ceiling": 0,
        "weight": 200,
        "task_types": {"chat": "critical"},
        "limits": fields.NO_LIMITS | {"requests_per_min": 600},
        "tier_limits": {
            "batch": fields.NO_LIMITS | {"tokens_per_min": 2_000_000, "on_excess": "demote"}
        },
    }

    assert diff.sentences(document(), after) == [
        "acme: ceiling 10 \u2192 0",
        "acme: weight 100 \u2192 200",
        "acme: chat: the policy's \u2192 critical (8)",
        "acme: requests a minute no limit \u2192 600",
        "acme in batch (\u22125): tokens a minute no limit \u2192 2M",
        "acme in batch (\u22125): on excess refuse \u2192 next lower tier",
    ]


def test_the_order_of_tiers_says_nothing():
    after = document()
    after["tiers"].reverse()

    assert diff.sentences(document(), after) == []


def test_a_tenant_s_rules_touch_that_tenant_alone():
    after = document()
    after["tenants"]["acme"] = {**deepcopy(fields.DEFAULT_RULES), "weight": 1}

    assert diff.touched(document(), after).tenants == {"acme"}


def test_a_task_type_touches_the_two_tiers_and_everybody():
    after = document()
    after["task_types"]["translate"] = "batch"

    assert diff.touched(document(), after) == (None, {"standard", "batch"})


@settings(max_examples=40, deadline=None)
@given(policies(), policies())
def test_sentences_are_empty_only_for_the_same(one, other):
    one, other = as_document(one), as_document(other)

    assert (diff.sentences(one, other) == []) == (diff.keyed(one) == diff.keyed(other))
    assert diff.unkeyed(diff.keyed(one))["tiers"] == sorted(
        one["tiers"], key=lambda tier: -tier["priority"]
    )


def test_a_colour_is_told_and_nobody_feels_it():
    before, after = document(), document()
    before["tiers"][2]["colour"] = "teal"
    after["tiers"][2]["colour"] = "amber"
    after["tiers"][3]["colour"] = "grey"

    assert diff.sentences(before, after) == [
        "standard: colour teal \u2192 amber",
        "batch: colour by its place \u2192 grey",
    ]
    assert diff.touched(before, after) == (frozenset(), frozenset())
