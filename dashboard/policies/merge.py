"""Two people's edits of one policy: what does not touch goes together, the rest is a choice."""

from collections.abc import Collection
from copy import deepcopy
from typing import Any, NamedTuple

from dashboard.policies.diff import BETWEEN, keyed, unkeyed
from dashboard.policies.fields import Document

_ABSENT = object()


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
