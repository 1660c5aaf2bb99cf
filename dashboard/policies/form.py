"""A draft as the inputs of a page, and the inputs of a page as a draft.

Inputs are named by where their value stands in the document (``tiers.2.max_wait_s``); an index is
that of the document the page was made from, which the draft's lock guarantees.
"""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from types import MappingProxyType
from typing import Any, NamedTuple

from dashboard.alerts.thresholds import Levels
from dashboard.policies import edit
from dashboard.policies.diff import tier_text
from dashboard.policies.fields import (
    AGEING,
    DEFAULT_AGEING,
    DEFAULT_RULES,
    LIMITS,
    NO_LIMITS,
    POOL,
    TENANT,
    TIER,
    TIER_LIMITS,
    Document,
    Field,
    Kind,
    read,
    shown,
)
from gateway.core.policy import COLOURS, place_colour

Post = Mapping[str, str]
SECTIONS = {"tiers": "Tiers", "tasks": "Task types", "tenants": "Tenants", "pool": "Pool"}
TASK = Field("name", "task type", "name")
TO_TIER = Field("tier", "tier", "tier")
TO_TIER_OR_DEFAULT = Field("tier", "tier", "tier", blank="the tenant's default")


class Cell(NamedTuple):
    """One input, and what is to be said beside it."""

    name: str
    label: str
    kind: Kind
    text: str
    options: tuple[tuple[str, str], ...] = ()
    blank: str = ""
    error: str = ""
    note: str = ""  # how a text was understood, where it says the value otherwise

    @property
    def id(self) -> str:
        return self.name.replace(".", "-")

    @property
    def listed(self) -> bool:
        return self.kind in ("tier", "choice")


class Row(NamedTuple):
    key: str
    title: str
    cells: list[Cell]
    place: int = 0
    words: tuple[str, ...] = ()  # what else the row tells
    alerts: tuple[Levels, ...] = ()  # of a tier

    @property
    def colour(self) -> str:
        """That of its place, where the tier has none of its own."""
        return place_colour(self.place)

    @property
    def dash(self) -> int:
        """Which dash its line is drawn in: there are as many as colours."""
        return self.place % len(COLOURS)


class Group(NamedTuple):
    """Cells that stand together under a title; ``rows`` where it is a table."""

    name: str
    title: str
    cells: list[Cell]
    rows: list[Row]

    @property
    def every_cell(self) -> list[Cell]:
        return [*self.cells, *(cell for row in self.rows for cell in row.cells)]


def groups(
    section: str,
    document: Document,
    errors: Mapping[str, str],
    slug: str = "",
    typed: Post | None = None,
    alerts: Mapping[str, tuple[Levels, ...]] = MappingProxyType({}),
) -> list[Group]:
    """The inputs of a page; ``errors`` are sentences by the path of a field, ``alerts`` by tier."""
    make = _Cells(document, errors, typed or {})
    if section == "tiers":
        return [Group("tiers", "Tiers", [], _tier_rows(document, make, alerts))]
    if section == "tasks":
        return [
            Group("tasks", "Task types", [], make.map("task_types", document["task_types"])),
            Group("services", "service_tier", [], make.services()),
        ]
    if section == "pool":
        ageing = document["ageing"] or DEFAULT_AGEING
        on = Cell("ageing", "on", "switch", "yes" if document["ageing"] else "")
        return [
            Group("ageing", "Ageing", [on, *make.of(AGEING, ageing, "ageing")], []),
            Group("pool", "Shares and limits", make.of(POOL, document, ""), []),
        ]
    if not slug:
        return []
    rules, path = edit.rules_of(document, slug), f"tenants.{slug}"
    limits = [
        Row(
            tier["name"],
            tier_text(tier),
            make.of(
                TIER_LIMITS,
                rules["tier_limits"].get(tier["name"], NO_LIMITS),
                f"{path}.tier_limits.{tier['name']}",
            ),
        )
        for tier in (document["tiers"][i] for i in edit.order(document))
    ]
    return [
        Group("rules", "Rules", make.of(TENANT, rules, path), []),
        Group("limits", "Limits", make.of(LIMITS, rules["limits"], f"{path}.limits"), []),
        Group("tier-limits", "Limits in one tier", [], limits),
        Group("tasks", "Task types", [], make.map(f"{path}.task_types", rules["task_types"])),
    ]


def take(
    section: str, document: Document, post: Post, slug: str = ""
) -> tuple[Document, dict[str, str]]:
    """The document with what a page sent, and sentences for what it cannot hold."""
    taken, errors = deepcopy(document), dict[str, str]()
    if section == "tiers":
        for i in range(len(taken["tiers"])):
            if f"tiers.{i}.name" in post:
                taken = edit.rename_tier(taken, i, post[f"tiers.{i}.name"].strip())
                _take(TIER[1:], taken["tiers"][i], post, f"tiers.{i}")
    elif section == "tasks":
        taken["task_types"] = _take_map(post, "task_types", errors)
        services = taken["service_tiers"]
        for key in services:
            services[key] = post.get(f"service_tiers.{key}", services[key]) or None
    elif section == "pool":
        _take(POOL, taken, post, "")
        kept = taken["ageing"] or dict(DEFAULT_AGEING)
        _take(AGEING, kept, post, "ageing")
        taken["ageing"] = kept if post.get("ageing") else None
    elif slug:
        rules, path = edit.rules_of(taken, slug), f"tenants.{slug}"
        _take(TENANT, rules, post, path)
        _take(LIMITS, rules["limits"], post, f"{path}.limits")
        for tier in taken["tiers"]:
            name = tier["name"]
            limits = dict(rules["tier_limits"].get(name, NO_LIMITS))
            _take(TIER_LIMITS, limits, post, f"{path}.tier_limits.{name}")
            rules["tier_limits"][name] = limits
        rules["tier_limits"] = {n: v for n, v in rules["tier_limits"].items() if v != NO_LIMITS}
        rules["task_types"] = _take_map(post, f"{path}.task_types", errors)
        taken["tenants"][slug] = rules
        if rules == DEFAULT_RULES:
            del taken["tenants"][slug]
    return taken, errors


def _take(fields: Iterable[Field], values: Document, post: Post, path: str) -> None:
    for field in fields:
        name = f"{path}.{field.key}".lstrip(".")
        if field.kind == "switch":
            values[field.key] = name in post
        elif name in post:
            values[field.key] = read(field, post[name])


def _take_map(post: Post, path: str, errors: dict[str, str]) -> dict[str, Any]:
    """Rows of name and tier; a row without a name is gone, the first of two with one name stays."""
    taken: dict[str, Any] = {}
    for i in range(len(post)):
        key, tier = post.get(f"{path}.{i}.name"), post.get(f"{path}.{i}.tier", "")
        if key is None:
            break
        if key.strip() in taken:
            errors[f"{path}.{i}.name"] = "This task type is there already; only the first counts."
        elif key.strip():
            taken[key.strip()] = tier
    return taken


class _Cells:
    def __init__(self, document: Document, errors: Mapping[str, str], typed: Post) -> None:
        line = [document["tiers"][i] for i in edit.order(document)]
        self._tiers = tuple((tier["name"], tier_text(tier)) for tier in line)
        self._document, self._errors, self._typed = document, errors, typed

    def of(self, fields: Iterable[Field], values: Document, path: str) -> list[Cell]:
        return [
            self._cell(field, values[field.key], f"{path}.{field.key}".lstrip("."))
            for field in fields
        ]

    def map(self, path: str, mapping: Mapping[str, str]) -> list[Row]:
        """A row for each task type, and an empty one to add another."""
        pairs = [*mapping.items(), ("", self._document["default_tier"])]
        return [
            Row(
                str(i),
                key or "another",
                [
                    self._cell(TASK, key, f"{path}.{i}.name", f"{path}.{key}"),
                    self._cell(TO_TIER, tier, f"{path}.{i}.tier"),
                ],
            )
            for i, (key, tier) in enumerate(pairs)
        ]

    def services(self) -> list[Row]:
        return [
            Row(key, key, [self._cell(TO_TIER_OR_DEFAULT, tier, f"service_tiers.{key}")])
            for key, tier in self._document["service_tiers"].items()
        ]

    def _cell(self, field: Field, value: Any, name: str, path: str = "") -> Cell:
        switch = field.kind == "switch"
        text = ("yes" if value else "") if switch else shown(field, value)
        options = self._tiers if field.kind == "tier" else field.choices
        if field.kind == "tier" and text and text not in dict(options):
            options = ((text, f"{text} (there is none)"), *options)
        typed = self._typed.get(name, text).strip()
        error = self._errors.get(name) or self._errors.get(path or name, "")
        said_otherwise = (
            typed != text and not error and not switch and field.kind not in ("name", "tier")
        )
        note = f"= {text or field.blank}" if said_otherwise else ""
        if field.key == "ceiling" and isinstance(value, int) and not error:
            note = self._reaches(value)
        return Cell(name, field.label, field.kind, text, options, field.blank, error, note)

    def _reaches(self, ceiling: int) -> str:
        """The most urgent tier at or below a ceiling: a bare number says little."""
        for tier in self._document["tiers"]:
            if not isinstance(tier["priority"], int):
                return ""
        below = [tier for tier in self._document["tiers"] if tier["priority"] <= ceiling]
        if not below:
            return "below every tier"
        return f"up to {tier_text(max(below, key=lambda tier: int(tier['priority'])))}"


def _tier_rows(
    document: Document, make: _Cells, alerts: Mapping[str, tuple[Levels, ...]]
) -> list[Row]:
    rows = []
    for place, i in enumerate(edit.order(document)):
        tier = document["tiers"][i]
        tasks = tuple(t for t, name in document["task_types"].items() if name == tier["name"])
        cells = make.of(TIER, tier, f"tiers.{i}")
        rows.append(Row(str(i), tier["name"], cells, place, tasks, alerts.get(tier["name"], ())))
    return rows


def address(problem: str, document: Document) -> tuple[str, str, str]:
    """Where a problem's field stands: the page, the tenant it is of, the id of the input."""
    first, *rest = problem.split(".")
    if first == "tenants" and rest:
        slug, within = rest[0], ".".join(rest[1:])
        mapping = document["tenants"].get(slug, DEFAULT_RULES)["task_types"]
        return "tenants", slug, _anchor(f"tenants.{slug}.", within, mapping)
    if first in ("task_types", "service_tiers"):
        return "tasks", "", _anchor("", problem, document["task_types"])
    return ("tiers" if first in ("tiers", "") else "pool"), "", problem.replace(".", "-")


def _anchor(prefix: str, within: str, mapping: Document) -> str:
    """Rows of task types are numbered on the page and keyed in the path of a problem."""
    if within.startswith("task_types."):
        key = within.removeprefix("task_types.")
        within = f"task_types.{list(mapping).index(key)}.name" if key in mapping else "task_types"
    return f"{prefix}{within}".replace(".", "-")
