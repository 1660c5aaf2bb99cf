"""The policy as YAML, for files under version control and for a diff line by line."""

import difflib
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml

from dashboard.policies.fields import DEFAULT_RULES, Document
from dashboard.policies.fields import document as as_document
from gateway.core.policy import Policy, load

HEAD = "# Laneway policy. Higher priority runs first; waits are in seconds, shares from 0 to 1.\n"
LARGEST = 1_000_000  # characters


class File(NamedTuple):
    """What a file under version control says: the policy, and tenants by their slugs."""

    policy: Policy
    names: dict[str, str]


def written(document: Document, names: Mapping[str, str] = MappingProxyType({})) -> str:
    """YAML that ``parsed`` and ``parsed_file`` turn back into the same.

    A tenant's defaults are left out.  ``names`` are those of tenants, with rules or without.
    """
    tenants = {
        slug: {
            **({"name": names[slug]} if slug in names else {}),
            **{k: v for k, v in document["tenants"].get(slug, {}).items() if v != DEFAULT_RULES[k]},
        }
        for slug in sorted(document["tenants"].keys() | names.keys())
    }
    text: str = yaml.safe_dump(
        _short({**document, "tenants": tenants}), sort_keys=False, allow_unicode=True, width=100
    )
    return HEAD + text


def _short(value: Any) -> Any:
    """Whole numbers without a point: ``60`` for 60.0, which reads back as the same number."""
    if isinstance(value, dict):
        return {key: _short(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_short(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def exported(policy: Policy) -> str:
    return written(as_document(policy))


def parsed(text: str) -> Policy:
    """Read a policy out of YAML.

    Raises:
        ValueError: with a sentence, for anything that is no policy.
    """
    return _policy(_mapping(text))


def parsed_file(text: str) -> File:
    """The same with the tenants' names; a tenant of which it says nothing else has no rules.

    Raises:
        ValueError: with a sentence.
    """
    document = _mapping(text)
    tenants, names = document.get("tenants", {}), {}
    if not isinstance(tenants, dict):
        raise ValueError("tenants: is a mapping of short names")
    rules = {}
    for slug, said in tenants.items():
        own = dict(said) if isinstance(said, dict) else said
        if isinstance(own, dict) and "name" in own:
            names[slug] = _name(slug, own.pop("name"))
        if own or slug not in names:
            rules[slug] = own
    return File(_policy({**document, "tenants": rules}), names)


def _name(slug: Any, name: Any) -> str:
    if not isinstance(slug, str) or not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", slug):
        raise ValueError(f"tenants: {slug!r} is no short name. Use a-z, 0-9 and -, at most 63.")
    if not isinstance(name, str) or not name.strip() or len(name) > 200 or "\0" in name:
        raise ValueError(f"tenants.{slug}.name: write a name of 1 to 200 characters")
    return name.strip()


def _mapping(text: str) -> dict[Any, Any]:
    if len(text) > LARGEST:
        raise ValueError("the file is larger than any policy")
    try:
        document: Any = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"this is no YAML: {error}") from None
    if not isinstance(document, dict):
        raise ValueError("a policy is a mapping that begins with tiers:")
    return document


def _policy(document: dict[Any, Any]) -> Policy:
    try:
        return load(document)
    except TypeError as error:  # keys that are no text
        raise ValueError(str(error)) from None


def patch(before: Document, after: Document, names: Mapping[str, str], name: str) -> str:
    """What ``git apply`` takes to make the change in the file ``name``."""
    old, new = (written(d, names).splitlines(keepends=True) for d in (before, after))
    return "".join(difflib.unified_diff(old, new, f"a/{name}", f"b/{name}"))


def line_diff(before: Document, after: Document) -> list[tuple[str, str]]:
    """The unified diff of both YAML texts as (kind, line): kind is ``+``, ``-``, ``@`` or a space."""
    texts = (written(before).splitlines(), written(after).splitlines())
    lines = list(difflib.unified_diff(*texts, lineterm="", n=2))[2:]
    return [(line[:1] or " ", line) for line in lines]
