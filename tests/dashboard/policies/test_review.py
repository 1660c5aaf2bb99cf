"""What keeps a draft from being published, and what only needs a reason."""

from copy import deepcopy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from dashboard.policies import fields, form, review
from dashboard.policies.fields import DEFAULT_RULES
from dashboard.policies.fields import document as as_document
from gateway.core.policy import Ageing, Limits, Policy, TenantRules, Tier, default_policy, load
from tests.support.policies import document, policies


def found(draft):
    return {problem.path: problem.text for problem in review.problems(draft)}


def warned(policy, **more):
    return [f"{w.where}: {w.text}" for w in review.warnings(policy, **more)]


def test_no_field_of_a_policy_is_left_out_of_the_pages():
    parts = {
        Tier: fields.TIER,
        Ageing: fields.AGEING,
        TenantRules: fields.TENANT,
        Limits: fields.TIER_LIMITS,
        Policy: fields.POOL,
    }
    elsewhere = {
        TenantRules: {"task_types", "limits", "tier_limits"},
        Policy: {"tiers", "task_types", "endpoint_tasks", "service_tiers", "ageing", "tenants"},
    }

    for part, listed in parts.items():
        names = {f.key for f in listed} | elsewhere.get(part, set())
        assert names == set(part.__struct_fields__)


def test_the_defaults_have_no_problem():
    assert review.problems(document()) == []


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("name", "Batch", "a letter first"),
        ("name", "standard", "Another tier has this name."),
        ("priority", 0, "Another tier has this priority."),
        ("priority", 11, "from \u221210 to 10"),
        ("priority", "high", "higher runs first"),
        ("target_wait_s", 0, "over 0 s"),
        ("max_wait_s", 5, "under the target wait, 3 min"),
        ("max_wait_s", "soon", "like 30s"),
        ("max_waiting", 0, "from 1 to 1M"),
    ],
)
def test_a_tier_s_field_is_told_what_is_wrong_with_it(key, value, text):
    draft = document()
    draft["tiers"][3][key] = value

    assert text in found(draft)[f"tiers.3.{key}"]


def test_names_that_lead_nowhere_are_found_where_they_stand():
    draft = document()
    draft["task_types"]["chat"] = "gone"
    draft["tenants"]["acme"] = deepcopy(DEFAULT_RULES) | {"default_tier": "gone", "weight": 0}

    assert found(draft) == {
        "task_types.chat": "There is no tier gone.",
        "tenants.acme.weight": "This may be from 1 to 1000.",
        "tenants.acme.default_tier": "There is no tier gone.",
    }


def test_every_problem_has_a_page_and_an_input():
    draft = document()
    draft["task_types"]["Chat"] = "gone"
    draft["tenants"]["acme"] = deepcopy(DEFAULT_RULES) | {
        "weight": "x",
        "task_types": {"a": "gone"},
    }
    draft["tiers"][0]["priority"] = "x"
    draft["ageing"]["most"] = 99
    draft["rescue_share"] = 3.0

    for path in found(draft):
        section, slug, anchor = form.address(path, draft)
        shown = form.groups(section, draft, found(draft), slug)
        cells = {cell.id: cell for group in shown for cell in group.every_cell}
        assert cells[anchor].error == found(draft)[path]


LEAVES = st.sampled_from(["", "soon", "x", 0, -11, 99, 0.9, 10**7, None])


@settings(max_examples=40, deadline=None)
@given(policies(), st.data())
def test_what_the_pages_accept_the_gateway_loads_and_the_other_way_round(policy, data):
    draft = as_document(policy)
    assert review.problems(draft) == []

    i = data.draw(st.integers(0, len(draft["tiers"]) - 1))
    key = data.draw(st.sampled_from(["priority", "target_wait_s", "max_wait_s", "max_waiting"]))
    draft["tiers"][i][key] = data.draw(LEAVES)
    try:
        load(draft)
    except ValueError:
        assert review.problems(draft)
    else:
        assert not review.problems(draft)


def test_the_defaults_warn_of_the_one_wait_that_outlasts_clients():
    assert warned(default_policy()) == [
        "background (\u221210): Max wait is 30 min; default clients leave after 10 min."
    ]


def test_a_tier_that_nothing_maps_to_is_named_unless_a_key_names_it():
    policy = default_policy()
    tasks = {k: v for k, v in policy.task_types.items() if v != "background"}
    policy = replace(policy, task_types=tasks)

    assert warned(policy)[0].startswith("background (\u221210): Nothing maps to it")
    assert not warned(policy, used_by_keys=["background"])[0].count("Nothing")


@pytest.mark.parametrize(
    ("ageing", "text"),
    [
        (Ageing(most=0), "ageing: It never helps: it adds 0."),
        (
            Ageing(after_s=700),
            "batch (\u22125): Ageing never helps: max wait 10 min is over before",
        ),
        (Ageing(ceiling=10, most=9), "standard (0): Ageing would lift it into critical (8)"),
    ],
)
def test_ageing_that_does_not_do_what_was_meant(ageing, text):
    assert any(text in told for told in warned(replace(default_policy(), ageing=ageing)))


def test_neither_ageing_nor_rescue_leaves_lower_tiers_alone():
    policy = replace(default_policy(), ageing=None, rescue_share=0)

    assert any(told.startswith("pool: No ageing and no rescue lane") for told in warned(policy))


def test_a_tenant_whose_default_is_above_its_ceiling():
    rules = {"acme": TenantRules(default_tier="critical", ceiling=0)}

    assert "acme: Its default tier critical (8) is above its ceiling 0." in warned(
        replace(default_policy(), tenants=rules)
    )


def coloured(**chosen):
    """The five default tiers with these colours of their own."""
    tiers = [replace(tier, colour=chosen.get(tier.name)) for tier in default_policy().tiers]
    return [
        told for told in warned(replace(default_policy(), tiers=tuple(tiers))) if "drawn" in told
    ]


def test_two_tiers_in_one_colour_are_told_and_which_colour_is_free():
    assert coloured(batch="teal") == [
        "batch (\u22125): It is drawn in teal as standard (0) is; pink is free."
    ]
    assert coloured(batch="pink") == []
    assert coloured(batch="teal", standard="pink") == []


def test_beyond_five_tiers_colours_come_round_and_nobody_is_warned():
    tiers = default_policy().tiers
    more = (*tiers, replace(tiers[2], name="more", priority=1, colour="teal"))

    assert not [told for told in warned(replace(default_policy(), tiers=more)) if "drawn" in told]
