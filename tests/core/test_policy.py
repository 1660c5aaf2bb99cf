"""Where a request belongs, and which documents make a policy."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.policy import (
    SERVICE_TIERS,
    Ageing,
    Alias,
    KeyRules,
    Placement,
    Policy,
    Statement,
    TenantRules,
    Tier,
    contradictions,
    default_policy,
    dump,
    load,
    resolve,
)

POLICY = default_policy()


def placed(
    tenant: TenantRules | None = None,
    key: KeyRules | None = None,
    policy: Policy = POLICY,
    **said: object,
) -> Placement:
    statement = Statement(**({"endpoint": "/v1/chat/completions"} | said))
    return resolve(policy, tenant or TenantRules(), key or KeyRules(), statement)


def tier_and_reason(*rules: object, **said: object) -> tuple[str, str]:
    placement = placed(*rules, **said)  # type: ignore[arg-type]
    return placement.tier.name, ", ".join(placement.reason)


def changed(**fields: object) -> Policy:
    return load(dump(POLICY) | fields)


# Which statement counts

EVERYTHING = {
    "priority": -5,
    "service_tier": "priority",
    "task_type": "chat",
    "alias": Alias("x-smg-priority", name="batch"),
    "endpoint": "/v1/embeddings",
}
EMBEDDINGS_IN_BACKGROUND = changed(endpoint_tasks={"/v1/embeddings": "data_augmentation"})


@pytest.mark.parametrize(
    ("silent", "tier", "reason"),
    [
        ((), "batch", "priority"),
        (("priority",), "critical", "service_tier:priority"),
        (("priority", "service_tier"), "realtime", "task:chat"),
        (("priority", "service_tier", "task_type"), "batch", "alias:x-smg-priority"),
        (("priority", "service_tier", "task_type", "alias"), "background", "endpoint"),
        (tuple(EVERYTHING), "standard", "default"),
    ],
    ids=["priority", "service_tier", "task type", "alias", "endpoint", "default"],
)
def test_the_first_statement_in_this_order_counts(silent, tier, reason):
    said = {name: value for name, value in EVERYTHING.items() if name not in silent}

    assert tier_and_reason(policy=EMBEDDINGS_IN_BACKGROUND, **said) == (tier, reason)


def test_a_pinned_tier_is_final():
    key = KeyRules(pinned_tier="background", ceiling=-10)

    placement = placed(key=key, **EVERYTHING)

    assert (placement.tier.name, placement.reason) == ("background", ("pinned",))


def test_not_even_a_ceiling_moves_a_pinned_tier():
    rules = TenantRules(ceiling=-10), KeyRules(pinned_tier="realtime", ceiling=-5)

    assert tier_and_reason(*rules) == ("realtime", "pinned")


def test_a_pinned_tier_that_is_gone_pins_nothing():
    assert tier_and_reason(None, KeyRules(pinned_tier="gone")) == ("standard", "default")


@pytest.mark.parametrize(
    ("key", "tenant", "tier"),
    [
        ("batch", "critical", "batch"),
        (None, "critical", "critical"),
        (None, None, "standard"),
        ("gone", "critical", "critical"),
        ("gone", "gone", "standard"),
    ],
)
def test_the_default_is_the_keys_else_the_tenants_else_the_policys(key, tenant, tier):
    rules = TenantRules(default_tier=tenant), KeyRules(default_tier=key)

    assert tier_and_reason(*rules) == (tier, "default")


# Numbers


@pytest.mark.parametrize(
    ("wish", "tier", "reason"),
    [
        (10, "realtime", "priority"),
        (9, "critical", "priority, rounded"),
        (8, "critical", "priority"),
        (7, "standard", "priority, rounded"),
        (0, "standard", "priority"),
        (-1, "batch", "priority, rounded"),
        (-9, "background", "priority, rounded"),
        (-10, "background", "priority"),
        (11, "realtime", "priority"),
        (10**40, "realtime", "priority"),
        (-(10**40), "background", "priority"),
    ],
)
def test_a_wish_is_clamped_and_goes_down_to_the_nearest_tier(wish, tier, reason):
    assert tier_and_reason(priority=wish) == (tier, reason)


def test_a_wish_below_the_lowest_tier_goes_up_to_it():
    few = changed(tiers=[t for t in dump(POLICY)["tiers"] if t["priority"] > -5], task_types={},
                  service_tiers={})  # fmt: skip

    assert tier_and_reason(policy=few, priority=-7) == ("standard", "priority, rounded")


def test_an_aliass_number_is_treated_as_a_wish():
    said = Alias("x-request-priority", wish=7)

    assert tier_and_reason(alias=said) == ("standard", "alias:x-request-priority, rounded")


# Names


@pytest.mark.parametrize(
    ("service_tier", "tier"),
    [("priority", "critical"), ("fast", "critical"), ("ultrafast", "realtime"), ("flex", "batch")],
)
def test_service_tiers_name_tiers(service_tier, tier):
    said = tier_and_reason(service_tier=service_tier)

    assert said == (tier, f"service_tier:{service_tier}")


@pytest.mark.parametrize("service_tier", ["default", "scale", "standard_only"])
def test_some_service_tiers_ask_for_the_default_whatever_else_is_said(service_tier):
    key = KeyRules(default_tier="batch")

    said = tier_and_reason(None, key, service_tier=service_tier, task_type="chat")

    assert said == ("batch", f"service_tier:{service_tier}")


@pytest.mark.parametrize("service_tier", ["auto", "gold", None, ""])
def test_other_service_tiers_say_nothing(service_tier):
    assert tier_and_reason(service_tier=service_tier, task_type="chat") == ("realtime", "task:chat")


def test_the_service_tier_table_can_be_edited():
    policy = changed(service_tiers={"gold": "realtime"})

    assert tier_and_reason(policy=policy, service_tier="gold")[0] == "realtime"
    assert tier_and_reason(policy=policy, service_tier="flex")[1] == "default"


def test_an_unknown_task_type_is_recorded_and_told_but_moves_nothing():
    placement = placed(task_type="poetry")

    assert (placement.tier.name, placement.task_type) == ("standard", "poetry")
    assert placement.reason == ("default", "task_unknown")
    assert placed(task_type="poetry", priority=7).reason == ("priority", "rounded", "task_unknown")
    alias = Alias("x-smg-priority", name="batch")
    assert placed(task_type="poetry", alias=alias).reason == (
        "alias:x-smg-priority",
        "task_unknown",
    )


def test_a_tenants_task_types_come_before_the_policys():
    tenant = TenantRules(task_types={"chat": "batch", "poetry": "critical"})

    assert tier_and_reason(tenant, task_type="chat") == ("batch", "task:chat")
    assert tier_and_reason(tenant, task_type="poetry") == ("critical", "task:poetry")
    assert tier_and_reason(tenant, task_type="summarize") == ("standard", "task:summarize")


@pytest.mark.parametrize(
    ("name", "tier"), [("critical", "critical"), ("chat", "realtime"), ("nonsense", "standard")]
)
def test_an_alias_names_a_tier_else_a_task_type(name, tier):
    assert tier_and_reason(alias=Alias("x-objective", name=name))[0] == tier


def test_the_endpoints_task_type_is_recorded_where_none_was_given():
    placement = placed(policy=EMBEDDINGS_IN_BACKGROUND, endpoint="/v1/embeddings")

    assert (placement.tier.name, placement.task_type) == ("background", "data_augmentation")
    assert placed().task_type == ""


def test_the_task_type_is_recorded_whatever_decides():
    assert placed(priority=5, task_type="chat").task_type == "chat"
    assert placed(key=KeyRules(pinned_tier="batch"), task_type="chat").task_type == "chat"


# What the tenant may


@pytest.mark.parametrize(
    "said", [{"priority": 10}, {"service_tier": "ultrafast"}, {"alias": Alias("x-a", wish=10)}]
)
def test_wishes_are_granted_lowered_or_ignored(said):
    def tier(rule: str) -> str:
        return tier_and_reason(TenantRules(client_priority=rule), **said)[0]

    assert (tier("allow"), tier("lower"), tier("ignore")) == ("realtime", "standard", "standard")


@pytest.mark.parametrize(
    "said", [{"priority": -5}, {"service_tier": "flex"}, {"alias": Alias("x-a", name="batch")}]
)
def test_a_tenant_that_may_only_lower_may_lower(said):
    def tier(rule: str) -> str:
        return tier_and_reason(TenantRules(client_priority=rule), **said)[0]

    assert (tier("allow"), tier("lower"), tier("ignore")) == ("batch", "batch", "standard")


def test_lowering_starts_from_where_the_request_would_be_without_the_wish():
    lower = TenantRules(client_priority="lower")

    chat = tier_and_reason(lower, priority=8, task_type="chat")
    embeddings = placed(
        lower, policy=EMBEDDINGS_IN_BACKGROUND, endpoint="/v1/embeddings", priority=0
    )

    assert chat == ("critical", "priority")
    assert (embeddings.tier.name, embeddings.reason) == ("background", ("endpoint",))


def test_task_types_are_no_wishes():
    for rule in ("allow", "lower", "ignore"):
        assert tier_and_reason(TenantRules(client_priority=rule), task_type="chat")[0] == "realtime"


@pytest.mark.parametrize(
    ("tenant", "key", "tier", "reason"),
    [
        (10, 10, "realtime", "priority"),
        (8, 10, "critical", "priority, ceiling:critical"),
        (10, 7, "standard", "priority, ceiling:standard"),
        (-5, 8, "batch", "priority, ceiling:batch"),
        (-10, -10, "background", "priority, ceiling:background"),
    ],
)
def test_the_lower_ceiling_caps_the_tier(tenant, key, tier, reason):
    rules = TenantRules(ceiling=tenant), KeyRules(ceiling=key)

    assert tier_and_reason(*rules, priority=10) == (tier, reason)


def test_a_ceiling_holds_for_task_types_and_defaults_too():
    rules = TenantRules(ceiling=-5, default_tier="critical")

    assert tier_and_reason(rules, task_type="chat") == ("batch", "task:chat, ceiling:batch")
    assert tier_and_reason(rules) == ("batch", "default, ceiling:batch")


def test_a_lower_tier_passes_under_a_ceiling_untold():
    assert tier_and_reason(TenantRules(ceiling=8), priority=-5) == ("batch", "priority")


# Moved for a while


def moved(to: str, tenant: TenantRules, key: KeyRules, **said: object) -> tuple[str, str]:
    statement = Statement(endpoint="/v1/chat/completions", **said)
    placement = resolve(POLICY, tenant, key, statement, to)
    return placement.tier.name, ", ".join(placement.reason)


def test_a_move_stands_above_what_a_request_says_and_above_its_tenants_ceiling():
    ceiling = TenantRules(ceiling=0)

    said = moved("critical", ceiling, KeyRules(), priority=-10, task_type="chat")

    assert said == ("critical", "moved:critical")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (KeyRules(ceiling=0), ("standard", "moved:critical, ceiling:standard")),
        (KeyRules(pinned_tier="batch"), ("batch", "pinned")),
    ],
)
def test_a_keys_own_ceiling_and_pin_hold_against_a_move(key, expected):
    assert moved("critical", TenantRules(), key) == expected


def test_a_move_to_a_tier_that_is_gone_moves_nobody():
    assert moved("gone", TenantRules(), KeyRules()) == ("standard", "default")


# Documents

NAMES = st.text("az09_-", max_size=3).map("t".__add__)
TASKS = st.text("az09_.-", max_size=3).map("7".__add__)
PRIORITIES = st.integers(-10, 10)


@st.composite
def tier(draw, name, priority):
    target_wait_s, max_wait_s = sorted(draw(st.tuples(*[st.floats(0.001, 86_400)] * 2)))
    return Tier(
        name=name,
        priority=priority,
        target_wait_s=target_wait_s,
        max_wait_s=max_wait_s,
        max_waiting=draw(st.integers(1, 1_000_000)),
        ages=draw(st.booleans()),
    )


@st.composite
def tiers(draw):
    levels = draw(st.dictionaries(PRIORITIES, NAMES, min_size=1, max_size=5))
    names = {name: priority for priority, name in levels.items()}  # unique as well
    return tuple(draw(tier(name, priority)) for name, priority in names.items())


@st.composite
def tenants(draw, named):
    return TenantRules(
        default_tier=draw(st.none() | named),
        ceiling=draw(PRIORITIES),
        weight=draw(st.integers(1, 1000)),
        client_priority=draw(st.sampled_from(("allow", "lower", "ignore"))),
        task_types=draw(st.dictionaries(TASKS, named, max_size=3)),
        max_waiting=draw(st.none() | st.integers(1, 1000)),
    )


@st.composite
def policies(draw):
    levels = draw(tiers())
    named = st.sampled_from([tier.name for tier in levels])
    ageing = st.builds(
        Ageing, after_s=st.floats(0, 86_400), most=st.integers(0, 20), ceiling=PRIORITIES
    )
    return Policy(
        tiers=levels,
        default_tier=draw(named),
        task_types=draw(st.dictionaries(TASKS, named, max_size=3)),
        endpoint_tasks=draw(st.dictionaries(st.text(max_size=5), TASKS, max_size=2)),
        service_tiers=draw(st.dictionaries(st.text(max_size=5), st.none() | named, max_size=3)),
        ageing=draw(st.none() | ageing),
        rescue_share=draw(st.floats(0, 0.5)),
        holdback_share=draw(st.floats(0, 0.5)),
        max_waiting=draw(st.integers(1, 1_000_000)),
        tenants=draw(st.dictionaries(st.text(max_size=5), tenants(named), max_size=2)),
    )


@settings(max_examples=40, deadline=None)
@given(policies())
def test_a_policy_survives_being_stored(policy):
    stored = json.dumps(dump(policy))

    assert load(json.loads(stored)) == policy


def test_the_default_policy_is_sound_and_survives_too():
    assert contradictions(POLICY) == []
    assert load(dump(POLICY)) == POLICY
    assert [tier.name for tier in POLICY.by_urgency] == [
        *("realtime", "critical", "standard", "batch", "background")
    ]
    assert POLICY.service_tiers == SERVICE_TIERS


@settings(max_examples=50, deadline=None)
@given(
    policies(),
    st.data(),
    st.none() | st.integers(),
    st.none() | TASKS,
    st.none() | st.text(max_size=5),
)
def test_every_statement_finds_a_tier_under_the_ceiling(policy, data, wish, task, service_tier):
    named = st.sampled_from([tier.name for tier in policy.tiers])
    tenant = data.draw(tenants(named))
    key = KeyRules(ceiling=data.draw(PRIORITIES), default_tier=data.draw(st.none() | named))
    alias = data.draw(
        st.none() | st.builds(Alias, st.just("x-a"), st.none() | st.integers(), named)
    )

    placement = placed(
        tenant, key, policy, priority=wish, task_type=task, service_tier=service_tier, alias=alias
    )

    lowest = policy.by_urgency[-1]
    assert placement.tier in policy.tiers
    assert placement.tier is lowest or placement.tier.priority <= min(tenant.ceiling, key.ceiling)
    assert placement.reason


def test_a_more_urgent_wish_never_leads_to_a_less_urgent_tier():
    for wish in range(-10, 10):
        assert placed(priority=wish).tier.priority <= placed(priority=wish + 1).tier.priority


def first_tier(**fields: object) -> dict[str, object]:
    document = dump(POLICY)
    document["tiers"] = [document["tiers"][0] | fields, *document["tiers"][1:]]
    return document


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"default_tier": "gone"}, "default_tier: there is no tier 'gone'"),
        ({"task_types": {"chat": "gone"}}, "task_types.chat: there is no tier 'gone'"),
        ({"service_tiers": {"flex": "gone"}}, "service_tiers.flex: there is no tier 'gone'"),
        ({"tenants": {"acme": {"default_tier": "gone"}}}, "tenants.acme.default_tier: there is"),
        ({"tenants": {"acme": {"task_types": {"x": "gone"}}}}, "tenants.acme.task_types.x: there"),
        (first_tier(name="batch"), "tier 'batch' is defined twice"),
        (first_tier(priority=8), "two tiers have priority 8"),
        (first_tier(target_wait_s=20), "tier 'realtime': max_wait_s 10 is under target_wait_s 20"),
        (first_tier(priority=11), r"<= 10 - at `\$.tiers\[0\].priority`"),
        (first_tier(priority=1.5), r"\$.tiers\[0\].priority"),
        (first_tier(name="Real Time"), r"\$.tiers\[0\].name"),
        (first_tier(name="realtime\n"), r"\$.tiers\[0\].name"),
        (first_tier(max_wait_s=0), r"\$.tiers\[0\].max_wait_s"),
        (first_tier(max_wait_s=math.nan), r"tiers\[0\].max_wait_s"),
        (first_tier(color="red"), r"unknown field `color` - at `\$.tiers\[0\]`"),
        ({"tiers": []}, r"\$.tiers"),
        ({"rescue_share": 0.6}, r"\$.rescue_share"),
        ({"rescue_share": math.nan}, r"rescue_share"),
        ({"task_types": {"chat\n": "batch"}}, r"task_types"),
    ],
)  # fmt: skip
def test_a_document_that_cannot_be_meant_is_refused_with_its_place(document, sentence):
    with pytest.raises(ValueError, match=sentence):
        load(dump(POLICY) | document)


def test_tenants_reserve_a_thousand_slots_together_at_most():
    thousand = {"acme": {"reserved": 600}, "birch": {"reserved": 400}}
    assert changed(tenants=thousand).tenants["birch"].reserved == 400

    with pytest.raises(ValueError, match=r"reserve 1001 slots"):
        changed(tenants=thousand | {"cedar": {"reserved": 1}})


def test_a_tenants_own_concurrency_is_not_among_its_limits():
    lanes = {"tier_limits": {"batch": {"max_in_flight": 2}}}
    assert changed(tenants={"acme": lanes}).tenants["acme"].tier_limits["batch"].max_in_flight == 2

    with pytest.raises(ValueError, match=r"tenants\.acme\.max_in_flight"):
        changed(tenants={"acme": {"limits": {"max_in_flight": 2}}})


def test_all_contradictions_are_told_at_once():
    document = first_tier(priority=8, name="batch") | {"default_tier": "gone"}

    with pytest.raises(ValueError, match=r"batch.*priority 8.*default_tier"):
        load(document)


def test_a_tier_has_its_own_colour_else_that_of_its_place():
    document = dump(POLICY)
    document["tiers"] = [dict(tier) for tier in document["tiers"]]
    document["tiers"][0] |= {"colour": "grey"}
    for tier in document["tiers"][1:]:
        del tier["colour"]  # as documents were stored before there were any

    assert load(document).colours == {
        "realtime": "grey",
        "critical": "amber",
        "standard": "teal",
        "batch": "pink",
        "background": "grey",
    }


def test_a_colour_that_is_none_is_refused_with_those_there_are():
    document = dump(POLICY)
    document["tiers"] = [{**tier, "colour": "puce"} for tier in document["tiers"]]

    with pytest.raises(ValueError, match=r"'puce'.*tiers\[0\]\.colour.*blue, amber, teal, pink"):
        load(document)


def test_urgent_is_what_ageing_cannot_reach():
    assert POLICY.urgent_threshold == 8
    assert changed(ageing=None).urgent_threshold == 8
    assert changed(ageing={"ceiling": 3}).urgent_threshold == 4
