"""The policy as YAML, for files under version control and for a diff line by line."""

import difflib
from typing import Any

import yaml

from dashboard.policies.fields import DEFAULT_RULES, Document
from dashboard.policies.fields import document as as_document
from gateway.core.policy import Policy, load

HEAD = "# Laneway policy. Higher priority runs first; waits are in seconds, shares from 0 to 1.\n"
LARGEST = 1_000_000  # characters


def written(document: Document) -> str:
    """YAML that ``parsed`` turns back into the same document; a tenant's defaults are left out."""
    tenants = {
        slug: {k: v for k, v in rules.items() if v != DEFAULT_RULES[k]}
        for slug, rules in document["tenants"].items()
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
    if len(text) > LARGEST:
        raise ValueError("the file is larger than any policy")
    try:
        document: Any = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"this is no YAML: {error}") from None
    if not isinstance(document, dict):
        raise ValueError("a policy is a mapping that begins with tiers:")
    try:
        return load(document)
    except TypeError as error:  # keys that are no text
        raise ValueError(str(error)) from None


def line_diff(before: Document, after: Document) -> list[tuple[str, str]]:
    """The unified diff of both YAML texts as (kind, line): kind is ``+``, ``-``, ``@`` or a space."""
    texts = (written(before).splitlines(), written(after).splitlines())
    lines = list(difflib.unified_diff(*texts, lineterm="", n=2))[2:]
    return [(line[:1] or " ", line) for line in lines]
