"""Two people's edits of one policy: what does not touch goes together, the rest is a choice."""

from collections.abc import Collection
from copy import deepcopy
from typing import Any, NamedTuple

from dashboard.policies.diff import BETWEEN, keyed, unkeyed
from dashboard.policies.fields import AGEING, POOL, TENANT, TIER, TIER_LIMITS, Document

_ABSENT = object()
_FIELDS = {"tiers": TIER, "tenants": (*TENANT, *TIER_LIMITS), "ageing": AGEING}
_HOLDS_NAMES = {
    *("tiers", "tenants", "task_types", "endpoint_tasks", "service_tiers"),
    *("ageing", "limits", "tier_limits"),
}


class Merged(NamedTuple):
    document: Document
    conflicts: tuple[str, ...]  # paths that both changed, each to something else


def merge(base: Document, theirs: Document, mine: Document, keep: Collection[str] = ()) -> Merged:
    """Both edits in one document; where they touch, theirs, or mine for the paths in ``keep``.

    A tier or a tenant that one removed and the other changed is one conflict, not half a tier.
    """
    conflicts: list[str] = []

    def join(b: Any, t: Any, m: Any, path: str) -> Any:
        if t == m or m == b:
            return t
        if t == b:
            return m
        if isinstance(b, dict) and isinstance(t, dict) and isinstance(m, dict):
            joined: Document = {}
            for key in [*t, *(key for key in m if key not in t)]:
                inner = f"{path}{BETWEEN}{key}".removeprefix(BETWEEN)
                value = join(b.get(key, _ABSENT), t.get(key, _ABSENT), m.get(key, _ABSENT), inner)
                if value is not _ABSENT:
                    joined[key] = value
            return joined
        conflicts.append(path)
        return m if path in keep else t

    whole = join(keyed(base), keyed(theirs), keyed(mine), "")
    return Merged(unkeyed(deepcopy(whole)), tuple(conflicts))


def where(path: str) -> str:
    """A conflict's path in words: ``batch: max waiting``, ``acme: ceiling``, ``translate``."""
    first, *_ = parts = path.split(BETWEEN)
    labels = {field.key: field.label for field in _FIELDS.get(first, POOL)}
    holders = {0, 2} if first == "tenants" else {0}  # elsewhere somebody may bear such a name
    told = [part for i, part in enumerate(parts) if i not in holders or part not in _HOLDS_NAMES]
    *whose, last = told or parts
    return ": ".join([*whose, labels.get(last, last)])
