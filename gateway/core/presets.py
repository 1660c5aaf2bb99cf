"""The disciplines an administrator chooses among, each a policy and nothing else.

A preset changes how a policy orders and keeps its tiers, tenants and task types, except ``fcfs``,
which has one tier by nature.  The scheduler knows none of these names.
"""

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from gateway.core.policy import Ageing, Policy, Tier, default_policy

FCFS_MAX_WAIT_S = 300.0
FCFS_STEP_S = FCFS_MAX_WAIT_S / 20  # 20: all the levels there are


def classic(policy: Policy) -> Policy:
    """Waiting lifts a request, up to a ceiling under the urgent tiers; a tenth is for rescue."""
    return replace(policy, ageing=Ageing(), rescue_share=0.10)


def guaranteed(policy: Policy) -> Policy:
    """No ageing: levels stay what they are, and a tenth for rescue alone bounds every wait."""
    return replace(policy, ageing=None, rescue_share=0.10)


def fair(policy: Policy) -> Policy:
    """No ageing, and a fifth for rescue: shorter waits at the bottom, longer ones in the middle."""
    return replace(policy, ageing=None, rescue_share=0.20)


def strict(policy: Policy) -> Policy:
    """Levels alone.  Nothing bounds the wait of a lower tier but its max wait."""
    return replace(policy, ageing=None, rescue_share=0.0)


def fcfs(policy: Policy) -> Policy:
    """Everything in one tier in the order it came, whoever asks and for whatever.

    Levels are made of age: a request climbs all of them in the time it may wait at most, so the
    oldest always stands highest, to within one step.  Inside a step tenants still take turns.
    Nobody is urgent, so no slots are held back and nothing is paced.
    """
    own = policy.tier(policy.default_tier) or policy.by_urgency[-1]
    only = Tier(
        name=own.name,
        priority=-10,
        target_wait_s=min(60.0, own.target_wait_s),
        max_wait_s=FCFS_MAX_WAIT_S,
        max_waiting=policy.max_waiting,
    )
    tenants = {
        slug: replace(rules, default_tier=None, task_types={}, tier_limits={})
        for slug, rules in policy.tenants.items()
    }
    return replace(
        policy,
        tiers=(only,),
        default_tier=only.name,
        task_types=dict.fromkeys(policy.task_types, only.name),
        service_tiers={},
        ageing=Ageing(after_s=0, step_s=FCFS_STEP_S, most=20, ceiling=10),
        rescue_share=0.0,
        holdback_share=0.0,
        tenants=tenants,
    )


PRESETS: Mapping[str, Callable[[Policy], Policy]] = {
    "classic": classic,
    "guaranteed": guaranteed,
    "fair": fair,
    "strict": strict,
    "fcfs": fcfs,
}


def preset(name: str, policy: Policy | None = None) -> Policy:
    """``policy``, or the one every installation starts with, under the discipline of that name.

    Raises:
        ValueError: there is no such preset.
    """
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name](policy or default_policy())
