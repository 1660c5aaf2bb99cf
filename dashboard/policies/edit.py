"""Changes of a draft's shape: tiers in another order, added, removed, renamed; a preset.

A draft is read most urgent first; each function returns another document and leaves its own.
"""

from copy import deepcopy
from itertools import pairwise

from dashboard.policies.fields import DEFAULT_RULES, Document
from dashboard.policies.fields import document as as_document
from gateway.core.policy import load
from gateway.core.presets import preset

LEAST, MOST = -10, 10


def order(document: Document) -> list[int]:
    """Indices of the tiers, what runs first first; a priority that is no number goes last."""
    tiers = document["tiers"]

    def urgency(i: int) -> int:
        priority = tiers[i]["priority"]
        return -priority if isinstance(priority, int) else LEAST * -2

    return sorted(range(len(tiers)), key=urgency)


def place(document: Document, index: int, at: int) -> Document:
    """Move the tier at ``index`` to place ``at`` (0 runs first).

    It gets a number between its neighbours.  Where there is none, the numbers stay as they are
    and the tiers change places under them.
    """
    moved = deepcopy(document)
    line, tiers = order(moved), moved["tiers"]
    if not all(isinstance(tiers[i]["priority"], int) for i in line):
        return moved
    numbers = [tiers[i]["priority"] for i in line]
    line.remove(index)
    at = max(0, min(at, len(line)))
    above = tiers[line[at - 1]]["priority"] if at else MOST + 1
    below = tiers[line[at]]["priority"] if at < len(line) else LEAST - 1
    line.insert(at, index)
    if above - below >= 2:
        tiers[index]["priority"] = between(above, below)
    else:
        for i, number in zip(line, numbers, strict=True):
            tiers[i]["priority"] = number
    return moved


def between(above: int, below: int) -> int:
    """A whole number strictly between, in the middle; towards 0 where there are two."""
    total = above + below
    return total // 2 if total > 0 else -(-total // 2)


def add_tier(document: Document) -> Document:
    """A tier like the default one but for its colour, in the widest gap: the middle of the free priorities."""
    grown = deepcopy(document)
    tiers = grown["tiers"]
    taken = {tier["priority"] for tier in tiers if isinstance(tier["priority"], int)}
    ends = sorted({LEAST - 1, MOST + 1, *(n for n in taken if LEAST <= n <= MOST)})
    gaps = [(above - below, below, above) for below, above in pairwise(ends)]
    width, below, above = max(gaps)
    if width < 2:
        return grown
    names = {tier["name"] for tier in tiers}
    name = next(n for n in (f"tier-{i}" for i in range(1, 99)) if n not in names)
    like = next((t for t in tiers if t["name"] == grown["default_tier"]), tiers[0])
    tiers.append({**like, "name": name, "priority": between(above, below), "colour": None})
    tiers[-1].pop("was", None)
    return grown


def remove_tier(document: Document, index: int) -> Document:
    """Take a tier out; what pointed to it points to the next lower one, or the next higher."""
    line = order(document)
    if len(line) < 2:
        return deepcopy(document)
    at = line.index(index)
    heir = document["tiers"][line[at + 1] if at + 1 < len(line) else line[at - 1]]["name"]
    shrunk = repoint(document, document["tiers"][index]["name"], heir)
    del shrunk["tiers"][index]
    return shrunk


def rename_tier(document: Document, index: int, name: str) -> Document:
    """Give a tier another name, and what points to it too.

    A name that cannot stand yet (empty, or another tier's) leaves the pointers alone: ``was``
    remembers the name they use until a good one comes.
    """
    tier = document["tiers"][index]
    was = tier.get("was", tier["name"])
    others = {t["name"] for i, t in enumerate(document["tiers"]) if i != index}
    if name and name not in others:
        renamed = repoint(document, was, name)
        renamed["tiers"][index].pop("was", None)
    else:
        renamed = deepcopy(document)
        renamed["tiers"][index]["was"] = was
    renamed["tiers"][index]["name"] = name
    return renamed


def repoint(document: Document, old: str, new: str) -> Document:
    """Everything that names the tier ``old`` names ``new``."""
    pointed = deepcopy(document)

    def swap(name: str | None) -> str | None:
        return new if name == old else name

    pointed["default_tier"] = swap(pointed["default_tier"])
    for owner in (pointed, *pointed["tenants"].values()):
        owner["task_types"] = {task: swap(name) for task, name in owner["task_types"].items()}
    pointed["service_tiers"] = {k: swap(name) for k, name in pointed["service_tiers"].items()}
    for rules in pointed["tenants"].values():
        rules["default_tier"] = swap(rules["default_tier"])
        limits = rules["tier_limits"]
        if old != new and old in limits:
            moved = limits.pop(old)
            limits.setdefault(new, moved)
    return pointed


def use_preset(document: Document, name: str) -> Document:
    """The draft under another discipline.

    Raises:
        ValueError: the draft is not whole yet, or there is no such preset.
    """
    return as_document(preset(name, load(document)))


def rules_of(document: Document, slug: str) -> Document:
    return deepcopy(document["tenants"].get(slug, DEFAULT_RULES))


def clean(document: Document) -> Document:
    """Without the notes a draft keeps for itself."""
    cleaned = deepcopy(document)
    for tier in cleaned["tiers"]:
        tier.pop("was", None)
    return cleaned
