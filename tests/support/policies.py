"""Policies of all shapes, for Hypothesis, and the default one as a document."""

from hypothesis import strategies as st

from dashboard.policies.fields import document as as_document
from gateway.core.policy import COLOURS, Ageing, Limits, Policy, TenantRules, Tier, default_policy

names = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)
tasks = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,8}", fullmatch=True)
tier_limits = st.builds(
    Limits,
    requests_per_min=st.none() | st.integers(1, 1_000_000),
    max_in_flight=st.none() | st.integers(1, 1_000_000),
    on_excess=st.sampled_from(["reject", "demote"]),
)
slugs = st.from_regex(r"[a-z0-9][a-z0-9-]{0,8}", fullmatch=True)
waits = st.floats(min_value=0.001, max_value=86_400)
counts = st.integers(1, 1_000_000)
shares = st.floats(0, 0.5)
priorities = st.integers(-10, 10)
limits = st.builds(
    Limits,
    requests_per_min=st.none() | counts,
    tokens_per_min=st.none() | st.integers(1, 10**9),
    on_excess=st.sampled_from(["reject", "demote"]),
)


def document():
    return as_document(default_policy())


@st.composite
def policies(draw):
    tier_names = draw(st.lists(names, min_size=1, max_size=6, unique=True))
    numbers = draw(
        st.lists(priorities, min_size=len(tier_names), max_size=len(tier_names), unique=True)
    )
    tiers = []
    for name, number in zip(tier_names, numbers, strict=True):
        target, most = sorted([draw(waits), draw(waits)])
        tiers.append(
            Tier(
                name=name,
                priority=number,
                target_wait_s=target,
                max_wait_s=most,
                max_waiting=draw(counts),
                max_waiting_tokens=draw(st.none() | counts),
                ages=draw(st.booleans()),
                colour=draw(st.sampled_from([None, *COLOURS])),
            )
        )
    known = st.sampled_from(tier_names)
    rules = st.builds(
        TenantRules,
        default_tier=st.none() | known,
        ceiling=priorities,
        weight=st.integers(1, 1000),
        client_priority=st.sampled_from(["allow", "lower", "ignore"]),
        task_types=st.dictionaries(tasks, known, max_size=2),
        max_waiting=st.none() | counts,
        max_in_flight=st.none() | counts,
        reserved=st.integers(0, 3),
        limits=limits,
        tier_limits=st.dictionaries(known, tier_limits, max_size=2),
    )
    ageing = st.builds(
        Ageing,
        after_s=st.floats(0, 86_400),
        step_s=waits,
        most=st.integers(0, 20),
        ceiling=priorities,
    )
    return Policy(
        tiers=tuple(tiers),
        default_tier=draw(known),
        task_types=draw(st.dictionaries(tasks, known, max_size=4)),
        endpoint_tasks=draw(st.dictionaries(st.just("/v1/embeddings"), tasks, max_size=1)),
        service_tiers=draw(st.dictionaries(tasks, st.none() | known, max_size=3)),
        ageing=draw(st.none() | ageing),
        rescue_share=draw(shares),
        holdback_share=draw(shares),
        max_waiting=draw(counts),
        tenants=draw(st.dictionaries(slugs, rules, max_size=3)),
    )
