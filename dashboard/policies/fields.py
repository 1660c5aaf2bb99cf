"""Every field of the policy's pages: its label, how it is typed, and what it may hold.

The one list that forms, checks and sentences about changes are made of.  A document is plain JSON
as ``core.policy.dump`` gives it, except that a draft keeps a number that cannot be read as the
text somebody typed.
"""

from typing import Any, Literal, NamedTuple

from msgspec import to_builtins

from dashboard.units import typed
from gateway.core.policy import (
    COLOURS,
    MOST_RESERVED,
    Ageing,
    Limits,
    Policy,
    TenantRules,
    default_policy,
    dump,
)

Kind = Literal["name", "priority", "seconds", "count", "share", "whole", "tier", "choice", "switch"]
Document = dict[str, Any]
TEXTS: tuple[Kind, ...] = ("name", "tier", "choice")


class Field(NamedTuple):
    key: str
    label: str
    kind: Kind
    least: float = 0
    most: float = 0
    above: bool = False  # ``least`` itself is too little
    blank: str = ""  # what an empty field means; without it a field must be filled
    choices: tuple[tuple[str, str], ...] = ()


DAY_S, MANY = 86_400, 1_000_000
TIER = (
    Field("name", "name", "name"),
    Field("priority", "priority", "priority", -10, 10),
    Field("target_wait_s", "target wait", "seconds", 0, DAY_S, above=True),
    Field("max_wait_s", "max wait", "seconds", 0, DAY_S, above=True),
    Field("max_waiting", "max waiting", "count", 1, MANY),
    Field("max_waiting_tokens", "tokens waiting", "count", 1, 10**9, blank="no limit"),
    Field("ages", "ages", "switch"),
    Field(
        "colour",
        "colour",
        "choice",
        blank="by its place",
        choices=tuple((colour, colour) for colour in COLOURS),
    ),
)
POOL = (
    Field("default_tier", "a request that says nothing", "tier"),
    Field("rescue_share", "rescue lane", "share", 0, 0.5),
    Field("holdback_share", "held back", "share", 0, 0.5),
    Field("max_waiting", "waiting in all tiers", "count", 1, MANY),
)
AGEING = (
    Field("after_s", "ageing from", "seconds", 0, DAY_S),
    Field("step_s", "ageing step", "seconds", 0, DAY_S, above=True),
    Field("most", "ageing at most", "whole", 0, 20),
    Field("ceiling", "ageing ceiling", "priority", -10, 10),
)
TENANT = (
    Field("default_tier", "default tier", "tier", blank="the policy's"),
    Field("ceiling", "ceiling", "priority", -10, 10),
    Field("weight", "weight", "whole", 1, 1000),
    Field(
        "client_priority",
        "a client's own priority",
        "choice",
        choices=(
            ("allow", "is followed"),
            ("lower", "may only lower it"),
            ("ignore", "is ignored"),
        ),
    ),
    Field("max_waiting", "max waiting", "count", 1, MANY, blank="no limit"),
    Field("max_in_flight", "max in flight", "count", 1, MANY, blank="no limit"),
    Field("reserved", "reserved slots", "whole", 0, MOST_RESERVED),
)
LIMITS = (
    Field("requests_per_min", "requests a minute", "count", 1, MANY, blank="no limit"),
    Field("tokens_per_min", "tokens a minute", "count", 1, 10**9, blank="no limit"),
)
ON_EXCESS = Field(
    "on_excess",
    "on excess",
    "choice",
    choices=(("reject", "refuse"), ("demote", "next lower tier")),
)
IN_FLIGHT = Field("max_in_flight", "in flight", "count", 1, MANY, blank="no limit")
TIER_LIMITS = (*LIMITS, IN_FLIGHT, ON_EXCESS)
DEFAULT_RULES: Document = to_builtins(TenantRules())
DEFAULT_AGEING: Document = to_builtins(Ageing())
NO_LIMITS: Document = to_builtins(Limits())
DEFAULT_TIER: Document = to_builtins(default_policy().tiers[0])

_READ = {
    "priority": typed.priority,
    "seconds": typed.seconds,
    "count": typed.count,
    "whole": typed.count,
    "share": typed.share,
}
_TEXT = {
    "priority": typed.priority_text,
    "seconds": typed.seconds_text,
    "count": typed.count_text,
    "share": typed.share_text,
}

_SAID = {"seconds": typed.seconds_said, "share": typed.share_said}


def read(field: Field, text: str) -> Any:
    """What a draft keeps for ``text``: the value, or the text itself where it is none."""
    text = text.strip()
    if field.kind in TEXTS:
        return text or (None if field.blank else "")
    if not text and field.blank:
        return None
    try:
        return _READ[field.kind](text)
    except ValueError:
        return text


def said(field: Field, value: Any) -> str:
    """The value in a sentence: ``2 min`` for what one types as ``2m``."""
    if isinstance(value, int | float) and field.kind in _SAID:
        return _SAID[field.kind](value)
    return shown(field, value)


def shown(field: Field, value: Any) -> str:
    """The value as a person types it; a text that is no value stays as typed."""
    if value is None:
        return ""
    if isinstance(value, str) or field.kind not in _TEXT:
        return str(value)
    return _TEXT[field.kind](value)


def fault(field: Field, value: Any) -> str:
    """What is wrong with a value by itself, as a sentence; empty when nothing is."""
    if field.choices and value not in (*dict(field.choices), None if field.blank else ""):
        return f"Choose one of {', '.join(dict(field.choices))}."
    if field.kind in TEXTS or field.kind == "switch" or (value is None and field.blank):
        return ""
    if value is None or isinstance(value, str):
        try:
            _READ[field.kind](value or "")
        except ValueError as error:
            return str(error)
        return "This must be filled in."
    if value < field.least or value > field.most or (field.above and value == field.least):
        least, most = (
            said(field, _fitting(field, field.least)),
            said(field, _fitting(field, field.most)),
        )
        return f"This may be {'over' if field.above else 'from'} {least} {'up ' if field.above else ''}to {most}."
    return ""


def _fitting(field: Field, bound: float) -> float | int:
    return int(bound) if field.kind in ("priority", "count", "whole") else bound


def document(policy: Policy) -> Document:
    """The policy as JSON gives it back: lists where ``dump`` has tuples."""
    return {**dump(policy), "tiers": [to_builtins(tier) for tier in policy.tiers]}


def filled(kept: Document) -> Document:
    """A draft with the fields a policy has got since it was saved, at their defaults."""
    whole = {**document(default_policy()), **kept}
    whole["tiers"] = [{**DEFAULT_TIER, **tier} for tier in whole["tiers"]]
    whole["ageing"] = whole["ageing"] and {**DEFAULT_AGEING, **whole["ageing"]}
    whole["tenants"] = {
        slug: {
            **DEFAULT_RULES,
            **rules,
            "limits": {**NO_LIMITS, **rules.get("limits", {})},
            "tier_limits": {
                name: {**NO_LIMITS, **limits}
                for name, limits in rules.get("tier_limits", {}).items()
            },
        }
        for slug, rules in whole["tenants"].items()
    }
    return whole
