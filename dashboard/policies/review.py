"""What is wrong with a draft, and what is odd about a policy that is not wrong.

A problem stands in the way of publishing and belongs to a field; a warning needs a reason.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from dashboard.policies.fields import (
    AGEING,
    LIMITS,
    POOL,
    TENANT,
    TIER,
    TIER_LIMITS,
    Document,
    Field,
    fault,
)
from dashboard.units import typed
from gateway.core.policy import COLOURS, Ageing, Policy, Tier, load

NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
TASK = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
CLIENTS_LEAVE_S = 600.0  # the read timeout that the official clients come with
URGENT = 8  # from here on a tier counts as urgent, as ``Policy.urgent_threshold`` has it


class Problem(NamedTuple):
    path: str  # of the field, as its input is named: ``tiers.2.max_wait_s``
    where: str  # for people: ``batch: max wait``
    text: str


class Warned(NamedTuple):
    where: str
    text: str


def problems(document: Document) -> list[Problem]:
    """Everything that keeps this draft from being published, in the order of the pages."""
    found = [
        *_tier_problems(document["tiers"]),
        *_map_problems(document, "task_types", document["task_types"], ""),
        *_map_problems(document, "service_tiers", document["service_tiers"], ""),
        *_pool_problems(document),
    ]
    for slug, rules in document["tenants"].items():
        found += _tenant_problems(document, slug, rules)
    if not found:
        try:
            load(document)
        except (
            ValueError
        ) as error:  # what no field of these pages shows, so a file or a merge did it
            found.append(Problem("", "the document", str(error)))
    return found


def _tier_problems(tiers: list[Document]) -> Iterator[Problem]:
    names = Counter(tier["name"] for tier in tiers)
    numbers = Counter(tier["priority"] for tier in tiers)
    if not 1 <= len(tiers) <= 21:
        yield Problem("", "tiers", "There may be 1 to 21 tiers.")
    for i, tier in enumerate(tiers):
        path, name = f"tiers.{i}", tier["name"] or f"tier {i + 1}"
        yield from _faults(TIER, tier, path, name)
        if not NAME.fullmatch(tier["name"]):
            text = "Use a-z, 0-9, _ and -, a letter first, at most 32."
            yield Problem(f"{path}.name", f"{name}: name", text)
        elif names[tier["name"]] > 1:
            yield Problem(f"{path}.name", f"{name}: name", "Another tier has this name.")
        if numbers[tier["priority"]] > 1 and isinstance(tier["priority"], int):
            yield Problem(
                f"{path}.priority", f"{name}: priority", "Another tier has this priority."
            )
        target, most = tier["target_wait_s"], tier["max_wait_s"]
        if isinstance(target, int | float) and isinstance(most, int | float) and most < target:
            text = f"It is under the target wait, {typed.seconds_said(target)}."
            yield Problem(f"{path}.max_wait_s", f"{name}: max wait", text)


def _pool_problems(document: Document) -> Iterator[Problem]:
    yield from _faults(POOL, document, "", "pool")
    if document["default_tier"] not in _names(document):
        yield Problem("default_tier", "pool: default tier", "Choose a tier.")
    if document["ageing"] is not None:
        yield from _faults(AGEING, document["ageing"], "ageing", "pool")


def _map_problems(
    document: Document, path: str, mapping: dict[str, str | None], whose: str
) -> Iterator[Problem]:
    """``mapping`` is of task types or of service tiers; the path of a row ends in its key."""
    for key, tier in mapping.items():
        where = f"{whose}{key}"
        if path.endswith("task_types") and not TASK.fullmatch(key):
            text = "Use a-z, 0-9, _, . and -, at most 64."
            yield Problem(f"{path}.{key}", where, text)
        if tier not in _names(document) and not (tier is None and path == "service_tiers"):
            yield Problem(f"{path}.{key}", where, f"There is no tier {tier or ''}".strip() + ".")


def _tenant_problems(document: Document, slug: str, rules: Document) -> Iterator[Problem]:
    path = f"tenants.{slug}"
    yield from _faults(TENANT, rules, path, slug)
    yield from _faults(LIMITS, rules["limits"], f"{path}.limits", slug)
    if rules["default_tier"] not in {None, *_names(document)}:
        text = f"There is no tier {rules['default_tier']}."
        yield Problem(f"{path}.default_tier", f"{slug}: default tier", text)
    yield from _map_problems(document, f"{path}.task_types", rules["task_types"], f"{slug}: ")
    for name, limits in rules["tier_limits"].items():
        yield from _faults(TIER_LIMITS, limits, f"{path}.tier_limits.{name}", f"{slug} in {name}")
        if name not in _names(document):
            text = f"There is no tier {name}."
            yield Problem(f"{path}.tier_limits.{name}.requests_per_min", slug, text)


def _faults(fields: Iterable[Field], values: Any, path: str, whose: str) -> Iterator[Problem]:
    for field in fields:
        text = fault(field, values[field.key])
        if text:
            yield Problem(f"{path}.{field.key}".lstrip("."), f"{whose}: {field.label}", text)


def _names(document: Document) -> set[str]:
    return {tier["name"] for tier in document["tiers"]}


def warnings(policy: Policy, used_by_keys: Iterable[str] = ()) -> list[Warned]:
    """What is allowed and probably not meant; ``used_by_keys`` are tiers that keys name."""
    return [
        *_unreachable(policy, set(used_by_keys)),
        *_waits(policy),
        *(_ageing(policy, policy.ageing) if policy.ageing else _never_lifted(policy)),
        *_tenants(policy),
        *_colours(policy),
    ]


def named(tier: Tier) -> str:
    return f"{tier.name} ({typed.priority_text(tier.priority)})"


def _unreachable(policy: Policy, used: set[str]) -> Iterator[Warned]:
    used |= {policy.default_tier, *policy.task_types.values()}
    used |= {name for name in policy.service_tiers.values() if name}
    for rules in policy.tenants.values():
        used |= {rules.default_tier or "", *rules.task_types.values()}
    for tier in policy.by_urgency:
        if tier.name not in used:
            text = "Nothing maps to it: only a client that asks for this priority gets here."
            yield Warned(named(tier), text)


def _waits(policy: Policy) -> Iterator[Warned]:
    for tier in policy.by_urgency:
        if tier.max_wait_s > CLIENTS_LEAVE_S:
            most = typed.seconds_said(tier.max_wait_s)
            yield Warned(named(tier), f"Max wait is {most}; default clients leave after 10 min.")
        if tier.max_waiting > policy.max_waiting:
            text = f"Max waiting is above the {typed.count_text(policy.max_waiting)} of all tiers."
            yield Warned(named(tier), text)


def _never_lifted(policy: Policy) -> Iterator[Warned]:
    if policy.rescue_share == 0 and len(policy.tiers) > 1:
        text = "No ageing and no rescue lane: a lower tier may wait until its max wait runs out."
        yield Warned("pool", text)


def _ageing(policy: Policy, ageing: Ageing) -> Iterator[Warned]:
    those = [tier for tier in policy.by_urgency if tier.ages]
    if not those or ageing.most == 0:
        yield Warned("ageing", "It never helps: " + ("it adds 0." if those else "no tier ages."))
        return
    for tier in those:
        reach = max(tier.priority, min(tier.priority + ageing.most, ageing.ceiling))
        if tier.max_wait_s <= ageing.after_s:
            most, after = (typed.seconds_said(s) for s in (tier.max_wait_s, ageing.after_s))
            if tier.priority < ageing.ceiling:
                text = f"Ageing never helps: max wait {most} is over before it begins at {after}."
                yield Warned(named(tier), text)
            continue
        passed = [
            t for t in policy.by_urgency if max(URGENT, tier.priority + 1) <= t.priority <= reach
        ]
        if passed:
            text = f"Ageing would lift it into {named(passed[-1])}: lower the ceiling."
            yield Warned(named(tier), text)


def _tenants(policy: Policy) -> Iterator[Warned]:
    for slug, rules in sorted(policy.tenants.items()):
        default = policy.tier(rules.default_tier) if rules.default_tier else None
        if default and default.priority > rules.ceiling:
            ceiling = typed.priority_text(rules.ceiling)
            yield Warned(slug, f"Its default tier {named(default)} is above its ceiling {ceiling}.")


def _colours(policy: Policy) -> Iterator[Warned]:
    """Two tiers in one colour, where somebody chose it; beyond five tiers places share theirs."""
    free = [colour for colour in COLOURS if colour not in policy.colours.values()]
    for tier in policy.by_urgency:
        alike = [t for t in policy.by_urgency if policy.colours[t.name] == tier.colour]
        others = ", ".join(named(t) for t in alike if t is not tier)
        if others and free:
            text = f"It is drawn in {tier.colour} as {others} is; {free[0]} is free."
            yield Warned(named(tier), text)
