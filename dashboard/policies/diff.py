"""Two documents, in sentences: what a reader wants to know before publishing, and after."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from dashboard.policies.fields import (
    AGEING,
    DEFAULT_RULES,
    NO_LIMITS,
    POOL,
    TENANT,
    TIER,
    TIER_LIMITS,
    Document,
    Field,
    said,
)
from dashboard.units.typed import priority_text

BETWEEN = " \N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK} "  # parts of a conflict's path: names hold no space


class Touched(NamedTuple):
    """Who feels a change; None means everybody, or every tier."""

    tenants: frozenset[str] | None
    tiers: frozenset[str] | None


def sentences(before: Document, after: Document) -> list[str]:
    """Each change as ``translate: standard (0) → batch (-5)``; empty when nothing changed."""
    old, new = _Names(before), _Names(after)
    return [
        *_tiers(before, after),
        *_moves(before["task_types"], after["task_types"], old, new, "", "its default"),
        *_moves(before["endpoint_tasks"], after["endpoint_tasks"], {}, {}, "", "no task type"),
        *_service_tiers(before["service_tiers"], after["service_tiers"], old, new),
        *_fields(POOL, before, after, old, new, ""),
        *_ageing(before["ageing"], after["ageing"]),
        *_tenants(before["tenants"], after["tenants"], old, new),
    ]


def sections(before: Document, after: Document) -> list[str]:
    """The pages on which the two differ, as ``otto also edits (tiers, tenants)`` names them."""
    parts = {
        "tiers": ("tiers",),
        "task types": ("task_types", "endpoint_tasks", "service_tiers"),
        "tenants": ("tenants",),
        "pool": ("ageing", *(field.key for field in POOL)),
    }
    return [
        name
        for name, keys in parts.items()
        if any(keyed(before)[key] != keyed(after)[key] for key in keys)
    ]


def keyed(document: Document) -> Document:
    """The document with its tiers by name: their order says nothing."""
    tiers = {
        tier["name"]: {k: v for k, v in tier.items() if k not in ("name", "was")}
        for tier in document["tiers"]
    }
    return {**document, "tiers": tiers}


def unkeyed(document: Document) -> Document:
    """The reverse of ``keyed``, the most urgent tier first."""
    tiers = [{"name": name, **tier} for name, tier in document["tiers"].items()]
    tiers.sort(key=lambda t: -t["priority"] if isinstance(t["priority"], int) else 99)
    return {**document, "tiers": tiers}


def touched(before: Document, after: Document) -> Touched:
    """Who feels it.  Rules of a tenant are its own; a task type's tiers are those two.

    Nobody feels a colour.
    """
    old, new = _uncoloured(before), _uncoloured(after)
    slugs = {
        slug
        for slug in old["tenants"].keys() | new["tenants"].keys()
        if old["tenants"].get(slug, DEFAULT_RULES) != new["tenants"].get(slug, DEFAULT_RULES)
    }
    rest = {key for key in old if key != "tenants" and old[key] != new.get(key)}
    if not rest:
        return Touched(frozenset(slugs), None if slugs else frozenset())
    if slugs or rest - {"tiers", "task_types"}:
        return Touched(None, None)
    tiers: set[str] = set()
    for key in rest:
        for name in old[key].keys() | new[key].keys():
            was, now = old[key].get(name), new[key].get(name)
            if was != now:
                tiers |= {name} if key == "tiers" else {was or "", now or ""}
    return Touched(None, frozenset(tiers - {""}))


def _uncoloured(document: Document) -> Document:
    tiers = [{**tier, "colour": None} for tier in document["tiers"]]
    return keyed({**document, "tiers": tiers})


class _Names(dict[str, str]):
    """A tier's name → the name with its number; a name without a tier stays as it is."""

    def __init__(self, document: Document) -> None:
        super().__init__((t["name"], tier_text(t)) for t in document["tiers"])


def tier_text(tier: Document) -> str:
    """``batch (-5)``: on no page does a number stand alone."""
    number = tier["priority"]
    return f"{tier['name']} ({priority_text(number) if isinstance(number, int) else number})"


def _tiers(before: Document, after: Document) -> Iterator[str]:
    old, new = ({t["name"]: t for t in d["tiers"]} for d in (before, after))
    gone = [t for name, t in old.items() if name not in new]
    come = [t for name, t in new.items() if name not in old]
    if len(gone) == len(come) == 1 and gone[0]["priority"] == come[0]["priority"]:
        yield f"tier {tier_text(gone[0])} is now called {come[0]['name']}"
        yield from _fields(TIER[1:], gone[0], come[0], {}, {}, f"{come[0]['name']}: ")
        gone, come = [], []
    for tier in gone:
        yield f"tier {tier_text(tier)} removed"
    for tier in come:
        told = ", ".join(f"{f.label} {_value(f, tier[f.key], {})}" for f in TIER[2:])
        yield f"tier {tier_text(tier)} added: {told}"
    for name, tier in new.items():
        if name in old:
            yield from _fields(TIER[1:], old[name], tier, {}, {}, f"{name}: ")


def _fields(
    fields: tuple[Field, ...],
    before: Document,
    after: Document,
    old: dict[str, str],
    new: dict[str, str],
    whose: str,
) -> Iterator[str]:
    for field in fields:
        was, now = before[field.key], after[field.key]
        if was != now:
            yield f"{whose}{field.label} {_value(field, was, old)} → {_value(field, now, new)}"


def _value(field: Field, value: Any, names: dict[str, str]) -> str:
    if value is None:
        return field.blank
    if field.kind == "switch":
        return "yes" if value else "no"
    if field.kind == "tier":
        return names.get(value, str(value))
    if field.kind == "choice":
        return dict(field.choices).get(value, str(value))
    return said(field, value)


def _moves(
    before: dict[str, str],
    after: dict[str, str],
    old: dict[str, str],
    new: dict[str, str],
    whose: str,
    absent: str,
) -> Iterator[str]:
    for key in [*before, *(key for key in after if key not in before)]:
        was, now = before.get(key), after.get(key)
        if was != now:
            from_, to = (
                (old.get(was, was) if was else absent),
                (new.get(now, now) if now else absent),
            )
            yield f"{whose}{key}: {from_} → {to}"


def _service_tiers(
    before: Document, after: Document, old: dict[str, str], new: dict[str, str]
) -> Iterator[str]:
    """Absent means that the request's word is unknown; None, that the tenant's default counts."""

    def told(side: Document, key: str, names: dict[str, str]) -> str:
        name = side.get(key)
        return names.get(name, str(name)) if name else "its default" if key in side else "unknown"

    for key in [*before, *(key for key in after if key not in before)]:
        if (key in before, before.get(key)) != (key in after, after.get(key)):
            yield f"service tier {key}: {told(before, key, old)} → {told(after, key, new)}"


def _ageing(before: Document | None, after: Document | None) -> Iterator[str]:
    if before is None or after is None:
        if before is not after:
            yield f"ageing: {_ageing_text(before)} → {_ageing_text(after)}"
        return
    yield from _fields(AGEING, before, after, {}, {}, "")


def _ageing_text(ageing: Document | None) -> str:
    if ageing is None:
        return "off"
    after, step, most, ceiling = (said(field, ageing[field.key]) for field in AGEING)
    return f"from {after} on, +1 per {step}, at most +{most}, ceiling {ceiling}"


def _tenants(
    before: Document, after: Document, old: dict[str, str], new: dict[str, str]
) -> Iterator[str]:
    for slug in sorted(before.keys() | after.keys()):
        was, now = before.get(slug, DEFAULT_RULES), after.get(slug, DEFAULT_RULES)
        if was == now and (slug in before) != (slug in after):
            yield f"{slug}: rules that say nothing {'added' if slug in after else 'removed'}"
        yield from _fields(TENANT, was, now, old, new, f"{slug}: ")
        yield from _moves(
            was["task_types"], now["task_types"], old, new, f"{slug}: ", "the policy's"
        )
        yield from _fields(TIER_LIMITS, was["limits"], now["limits"], {}, {}, f"{slug}: ")
        for name in [
            *was["tier_limits"],
            *(n for n in now["tier_limits"] if n not in was["tier_limits"]),
        ]:
            was_in, now_in = (side["tier_limits"].get(name, NO_LIMITS) for side in (was, now))
            whose = f"{slug} in {new.get(name, name)}: "
            yield from _fields(TIER_LIMITS, was_in, now_in, {}, {}, whose)


def rules_text(without: Document, document: Document, slug: str) -> list[str]:
    """A tenant's rules as what they change for it, without saying whose they are."""
    alone = {**document, "tenants": {slug: document["tenants"].get(slug, DEFAULT_RULES)}}
    told = sentences(without, alone) if slug in document["tenants"] else []
    return [sentence.removeprefix(f"{slug}: ") for sentence in told]


def at_path(document: Document, path: str) -> str:
    """What stands at a conflict's path, for a person: a value, or all of a tier or a tenant."""
    value: Any = keyed(document)
    for key in path.split(BETWEEN):
        value = value.get(key) if isinstance(value, dict) else None
    if value is None:
        return "(nothing)"
    if isinstance(value, dict):
        return ", ".join(f"{key} {inner}" for key, inner in value.items()) or "(empty)"
    fields = (*TIER, *POOL, *AGEING, *TENANT, *TIER_LIMITS)
    field = next((f for f in fields if f.key == path.rpartition(BETWEEN)[2]), None)
    return (
        _value(field, value, _Names(document)) if field else _Names(document).get(value, str(value))
    )
