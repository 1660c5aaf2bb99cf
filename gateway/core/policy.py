"""What an administrator decides: tiers, task types, ageing, shares, and each tenant's rules.

One ``Policy`` is one published document; it never changes.  ``resolve`` places a request in a
tier and says why.  No rows live here (``gateway.models`` stores the document) and no queue.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple, TypeVar, get_args

from msgspec import Meta, Struct, ValidationError, convert, field, to_builtins

# Names end up in headers: a lone ``$`` would let a line feed pass at their end.
Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,31}$(?!\n)")]
TaskType = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$(?!\n)")]
Priority = Annotated[int, Meta(ge=-10, le=10)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Share = Annotated[float, Meta(ge=0, le=0.5)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Weight = Annotated[int, Meta(ge=1, le=1000)]
Tokens = Annotated[int, Meta(ge=1, le=10**9)]
ClientPriority = Literal["allow", "lower", "ignore"]

_Value = TypeVar("_Value", str, int)
OnExcess = Literal["reject", "demote"]
Colour = Literal["blue", "amber", "teal", "pink", "grey"]
COLOURS: tuple[Colour, ...] = get_args(Colour)  # what the pages can tell apart, in both themes

MOST_RESERVED = 1000  # slots in all; what a pool of the moment can lend is cut to a share of it


def place_colour(place: int) -> Colour:
    """Five go round, what runs first first."""
    return COLOURS[place % len(COLOURS)]


class _Document(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of the policy document: immutable, and an unknown field is an error."""


class Tier(_Document, frozen=True):
    """A named priority level.  Higher ``priority`` is more urgent."""

    name: Name
    priority: Priority
    target_wait_s: Seconds  # the wait an administrator aims at: charts draw it, rescue starts at it
    max_wait_s: Seconds
    max_waiting: Count
    max_waiting_tokens: Tokens | None = (
        None  # cost: prompt + 2 x output; None: requests alone count
    )
    ages: bool = True
    colour: Colour | None = None  # on the pages; None: by the tier's place


class Ageing(_Document, frozen=True):
    """How waiting lifts a request.  The defaults are +3 at 30 s, +4 at 40 s, +5 from 50 s on."""

    after_s: Annotated[float, Meta(ge=0, le=86_400)] = 30
    step_s: Seconds = 10
    most: Annotated[int, Meta(ge=0, le=20)] = 5
    ceiling: Priority = 7


class Limits(_Document, frozen=True):
    """How much of something one caller may use; None: no limit.

    On excess a request is refused with 429, or, where ``on_excess`` says ``demote`` (it means
    something only for a tier's limits), placed in the next lower tier that has quota left.

    ``max_in_flight`` of a tier's limits holds the tenant's requests there back until one of them
    ends; that of a key counts those waiting too, and refuses.
    """

    requests_per_min: Count | None = None
    tokens_per_min: Tokens | None = None  # cost: prompt + 2 x output
    max_in_flight: Count | None = None
    on_excess: OnExcess = "reject"


class TenantRules(_Document, frozen=True):
    """What one tenant may do.  Absent names mean: the policy's own default, no ceiling."""

    default_tier: Name | None = None
    ceiling: Priority = 10
    weight: Weight = 100
    client_priority: ClientPriority = "allow"
    task_types: dict[TaskType, Name] = field(default_factory=dict)
    max_waiting: Count | None = None
    max_in_flight: Count | None = None
    reserved: Annotated[int, Meta(ge=0, le=MOST_RESERVED)] = 0  # slots, lent while it needs none
    limits: Limits = field(default_factory=Limits)
    tier_limits: dict[Name, Limits] = field(default_factory=dict)


class KeyRules(_Document, frozen=True):
    """What one API key may do, on top of its tenant's rules.  Empty lists mean: all."""

    ceiling: Priority = 10
    default_tier: Name | None = None
    pinned_tier: Name | None = None
    models: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()  # "10.2.0.0/16", "2001:db8::/32": where callers may come from
    limits: Limits = field(default_factory=Limits)
    scope: Literal["read", "write"] = "read"  # of an admin key: whether it changes anything


SERVICE_TIERS: dict[str, str | None] = {
    "priority": "critical",
    "fast": "critical",
    "ultrafast": "realtime",
    "flex": "batch",
    "default": None,
    "scale": None,
    "standard_only": None,
}


class Policy(_Document, frozen=True):
    """One published document.  ``tiers`` may come in any order; ``by_urgency`` sorts them."""

    tiers: Annotated[tuple[Tier, ...], Meta(min_length=1, max_length=21)]
    default_tier: Name
    task_types: dict[TaskType, Name] = field(default_factory=dict)
    endpoint_tasks: dict[str, TaskType] = field(default_factory=dict)
    service_tiers: dict[str, Name | None] = field(default_factory=lambda: dict(SERVICE_TIERS))
    ageing: Ageing | None = field(default_factory=Ageing)
    rescue_share: Share = 0.10
    holdback_share: Share = 0.05
    max_waiting: Count = 6000
    tenants: dict[str, TenantRules] = field(default_factory=dict)

    @property
    def by_urgency(self) -> list[Tier]:
        return sorted(self.tiers, key=lambda tier: -tier.priority)

    @property
    def urgent_threshold(self) -> int:
        """The lowest priority that may take a held-back slot: one above all that ageing reaches."""
        return self.ageing.ceiling + 1 if self.ageing else 8

    @property
    def colours(self) -> dict[str, Colour]:
        """Each tier's colour by its name: its own, else that of its place."""
        return {
            tier.name: tier.colour or place_colour(place)
            for place, tier in enumerate(self.by_urgency)
        }

    def tier(self, name: str) -> Tier | None:
        return next((tier for tier in self.tiers if tier.name == name), None)

    def tier_at(self, priority: int) -> Tier:
        """The tier with this priority, else the nearest below it, else the lowest there is."""
        below = [tier for tier in self.tiers if tier.priority <= priority]
        return max(below or [self.by_urgency[-1]], key=lambda tier: tier.priority)


def load(document: Mapping[str, object]) -> Policy:
    """Turn a stored document into a policy.

    Raises:
        ValueError: with a sentence and the path of the field, for anything that is malformed or
            contradicts itself.
    """
    try:
        policy = convert(document, Policy)
    except ValidationError as error:
        raise ValueError(_helped(str(error))) from None
    problems = contradictions(policy)
    if problems:
        raise ValueError("; ".join(problems))
    return policy


def _helped(said: str) -> str:
    """A refusal of msgspec's with the choices there are, where the field has a list of them."""
    choices = {"colour": Colour, "client_priority": ClientPriority, "on_excess": OnExcess}
    of = choices.get(said.rstrip("`").rpartition(".")[2])
    return f"{said}: choose {', '.join(get_args(of))}" if of and "enum" in said else said


def dump(policy: Policy) -> dict[str, object]:
    """The document as plain JSON values; ``load(dump(policy)) == policy``."""
    document: dict[str, object] = to_builtins(policy)
    return document


def contradictions(policy: Policy) -> list[str]:
    """Sentences about what cannot be true at once; an empty list when all is well."""
    names = [tier.name for tier in policy.tiers]
    found = [f"tier {name!r} is defined twice" for name in _twice(names)]
    numbers = [tier.priority for tier in policy.tiers]
    found += [f"two tiers have priority {n}" for n in _twice(numbers)]
    found += [
        f"tier {tier.name!r}: max_wait_s {tier.max_wait_s:g} is under target_wait_s {tier.target_wait_s:g}"
        for tier in policy.tiers
        if tier.max_wait_s < tier.target_wait_s
    ]
    named = {"default_tier": policy.default_tier}
    named |= {f"task_types.{task}": name for task, name in policy.task_types.items()}
    named |= {f"service_tiers.{k}": name for k, name in policy.service_tiers.items() if name}
    for slug, rules in policy.tenants.items():
        if rules.default_tier:
            named[f"tenants.{slug}.default_tier"] = rules.default_tier
        named |= {f"tenants.{slug}.task_types.{t}": name for t, name in rules.task_types.items()}
        named |= {f"tenants.{slug}.tier_limits.{name}": name for name in rules.tier_limits}
    found += [
        f"{where}: there is no tier {name!r}" for where, name in named.items() if name not in names
    ]
    found += [
        f"tenants.{slug}.limits.max_in_flight: a tenant's own is tenants.{slug}.max_in_flight"
        for slug, rules in policy.tenants.items()
        if rules.limits.max_in_flight is not None
    ]
    reserved = sum(rules.reserved for rules in policy.tenants.values())
    if reserved > MOST_RESERVED:
        found.append(f"tenants reserve {reserved} slots together, over {MOST_RESERVED}")
    return found


def _twice(values: list[_Value]) -> list[_Value]:
    return [value for value, times in Counter(values).items() if times > 1]


class Alias(NamedTuple):
    """What a header of another gateway says: a wish, or the name of a tier or a task type."""

    header: str
    wish: int | None = None
    name: str | None = None


class Statement(Struct, frozen=True, kw_only=True):
    """What a request says about itself, before anyone believes it (tier numbers: higher first)."""

    endpoint: str
    priority: int | None = None  # the body's, else the header's; any integer
    service_tier: str | None = None
    task_type: str | None = None
    alias: Alias | None = None


class Placement(NamedTuple):
    tier: Tier
    task_type: str  # as recorded; "" when the request named none
    reason: tuple[str, ...]  # how the tier came about, in the words of x-laneway-reason


def resolve(
    policy: Policy, tenant: TenantRules, key: KeyRules, said: Statement, moved_to: str = ""
) -> Placement:
    """Place a request.  The first statement found wins; a wish never goes past a ceiling.

    A name that the policy does not know counts as no statement, so an old client keeps working
    after its tier is gone; the reason says ``task_unknown``.

    ``moved_to`` is the tier an administrator moved the tenant to for a while.  It stands above what
    the request says and above the tenant's ceiling; a key's own pin and ceiling still hold.
    """
    task = said.task_type or policy.endpoint_tasks.get(said.endpoint, "")
    pinned = policy.tier(key.pinned_tier) if key.pinned_tier else None
    if pinned:
        return Placement(pinned, task, ("pinned",))

    moved = policy.tier(moved_to) if moved_to else None
    if moved:
        tier, reason, ceiling = moved, [f"moved:{moved.name}"], key.ceiling
    else:
        tier, reason = _stated(policy, tenant, said, _default(policy, tenant, key))
        ceiling = min(tenant.ceiling, key.ceiling)
    if tier.priority > ceiling:
        tier = policy.tier_at(ceiling)
        reason.append(f"ceiling:{tier.name}")
    return Placement(tier, task, tuple(reason))


def _default(policy: Policy, tenant: TenantRules, key: KeyRules) -> Tier:
    for name in (key.default_tier, tenant.default_tier, policy.default_tier):
        tier = policy.tier(name) if name else None
        if tier:
            return tier
    return policy.by_urgency[-1]  # unreachable for a policy that ``load`` accepted


def _stated(
    policy: Policy, tenant: TenantRules, said: Statement, default: Tier
) -> tuple[Tier, list[str]]:
    """The tier the request's own words lead to, before any ceiling."""
    task_tier = _task_tier(policy, tenant, said.task_type)
    endpoint_tier = _task_tier(policy, tenant, policy.endpoint_tasks.get(said.endpoint))
    unknown = ["task_unknown"] if said.task_type and task_tier is None else []
    unasked = task_tier or endpoint_tier or default

    wish = _wish(policy, said, default)
    if wish and _granted(tenant, wish[0], unasked):
        return wish[0], wish[1] + unknown
    if task_tier:
        return task_tier, [f"task:{said.task_type}"]
    alias = _alias(policy, tenant, said)
    if alias and _granted(tenant, alias[0], unasked):
        return alias[0], alias[1] + unknown
    if endpoint_tier:
        return endpoint_tier, ["endpoint", *unknown]
    return default, ["default", *unknown]


def _granted(tenant: TenantRules, wished: Tier, unasked: Tier) -> bool:
    """Whether the tenant may choose ``wished`` where ``unasked`` would be its tier."""
    if tenant.client_priority == "lower":
        return wished.priority <= unasked.priority
    return tenant.client_priority == "allow"


def _wish(policy: Policy, said: Statement, default: Tier) -> tuple[Tier, list[str]] | None:
    if said.priority is not None:
        return _rounded(policy, said.priority, "priority")
    if said.service_tier not in policy.service_tiers:
        return None
    name = policy.service_tiers[said.service_tier]
    tier = policy.tier(name) if name else default
    return (tier, [f"service_tier:{said.service_tier}"]) if tier else None


def _rounded(policy: Policy, wish: int, reason: str) -> tuple[Tier, list[str]]:
    """The tier for a number, which goes down to the nearest one where it lies between two."""
    wish = max(-10, min(10, wish))
    tier = policy.tier_at(wish)
    return tier, [reason] if tier.priority == wish else [reason, "rounded"]


def _task_tier(policy: Policy, tenant: TenantRules, task: str | None) -> Tier | None:
    name = (tenant.task_types.get(task) or policy.task_types.get(task)) if task else None
    return policy.tier(name) if name else None


def _alias(policy: Policy, tenant: TenantRules, said: Statement) -> tuple[Tier, list[str]] | None:
    if said.alias is None:
        return None
    reason = f"alias:{said.alias.header}"
    if said.alias.wish is not None:
        return _rounded(policy, said.alias.wish, reason)
    name = said.alias.name or ""
    tier = policy.tier(name) or _task_tier(policy, tenant, name)
    return (tier, [reason]) if tier else None


def default_policy() -> Policy:
    """The five tiers and the task types every installation starts with."""
    return Policy(
        tiers=(
            Tier(name="realtime", priority=10, target_wait_s=2, max_wait_s=10, max_waiting=100),
            Tier(name="critical", priority=8, target_wait_s=5, max_wait_s=30, max_waiting=300),
            Tier(name="standard", priority=0, target_wait_s=60, max_wait_s=300, max_waiting=1000),
            Tier(name="batch", priority=-5, target_wait_s=180, max_wait_s=600, max_waiting=2000),
            Tier(
                name="background",
                priority=-10,
                target_wait_s=300,
                max_wait_s=1800,
                max_waiting=4000,
            ),
        ),
        default_tier="standard",
        task_types={
            "chat": "realtime",
            "code_generation": "critical",
            "summarize": "standard",
            "translate": "standard",
            "batch_inference": "batch",
            "data_augmentation": "background",
        },
    )
