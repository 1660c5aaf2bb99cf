"""What a request says of itself: priority, service tier, task type, and other gateways' headers.

All of it is a wish.  ``policy.resolve`` decides what comes of it.
"""

import re
from collections.abc import Mapping

from msgspec import Raw

from gateway.core.body import ABSENT, Body, WireError, loose, member
from gateway.core.policy import Alias, Statement

_INTEGER = re.compile(r"[+-]?[0-9]+")
_TASK_TYPE = re.compile(r"[A-Za-z0-9_.-]{1,64}")

# Clients of other gateways, in this order; the first one found counts.  Objectives name a tier
# or a task type; numbers are higher first but for the one of production-stack.
_OBJECTIVES = (
    "x-llm-d-inference-objective",
    "x-gateway-inference-objective",
    "x-dynamo-inference-objective",
)
_SMG = "x-smg-priority"
_SMG_CLASSES = {
    "system": "realtime",
    "interactive": "critical",
    "default": "standard",
    "bulk": "batch",
}
_WISHES = ("x-dynamo-request-strict-priority", "x-dynamo-request-priority")
_LOWER_FIRST = "x-request-priority"
_ALIASES = frozenset((*_OBJECTIVES, _SMG, *_WISHES, _LOWER_FIRST))


def statement_of(endpoint: str, headers: Mapping[str, str], body: Body) -> Statement:
    """Collect the statements.  Header names are lower-case.

    Raises:
        WireError: a priority that is no whole number, or a malformed ``X-Task-Type``.
    """
    priority = None if body.priority is ABSENT else _body_priority(str(body.priority, "utf-8"))
    if priority is None and "x-laneway-priority" in headers:
        priority = _header_priority(headers["x-laneway-priority"].strip())
    tier = loose(body.service_tier)
    return Statement(
        endpoint=endpoint,
        priority=priority,
        service_tier=tier if isinstance(tier, str) else None,
        task_type=_task_type(headers.get("x-task-type", ""), body.metadata),
        alias=_alias(headers, body.nvext),
    )


def _body_priority(text: str) -> int | None:
    return None if text == "null" else _priority(text, "priority")


def _header_priority(text: str) -> int | None:
    return _priority(text, "x-laneway-priority") if text else None


def _priority(text: str, param: str) -> int:
    if not _INTEGER.fullmatch(text):
        hint = f"`{param}` must be a whole number from -10 to 10; higher is more urgent."
        raise WireError("invalid_priority", param, hint)
    return _integer(text)


def _integer(digits: str) -> int:
    """Of any size: Python reads no more than 4,300 digits, and then only the sign matters."""
    return int(digits[:1000])


def _task_type(header: str, metadata: Raw) -> str | None:
    """A malformed header is refused.  ``metadata`` is the caller's own: what is no task type
    there says nothing."""
    if header:
        if not _TASK_TYPE.fullmatch(header):
            hint = "`X-Task-Type` takes up to 64 letters, digits, dots, dashes and underscores."
            raise WireError("invalid_header", "x-task-type", hint)
        return header.lower()
    named = member(metadata, "task_type")
    if isinstance(named, str) and _TASK_TYPE.fullmatch(named):
        return named.lower()
    return None


def _alias(headers: Mapping[str, str], nvext: Raw) -> Alias | None:
    """An alias nobody can read is none: its client was written for another gateway."""
    if nvext is ABSENT and _ALIASES.isdisjoint(headers):
        return None
    for header in _OBJECTIVES:
        if name := headers.get(header, "").strip().lower():
            return Alias(header, name=name)
    if tier := _SMG_CLASSES.get(headers.get(_SMG, "").strip().lower()):
        return Alias(_SMG, name=tier)
    for header in _WISHES:
        if (wish := _wish(headers.get(header, ""))) is not None:
            return Alias(header, wish=wish)
    if (hint := _agent_hint(nvext)) is not None:
        return Alias("nvext.agent_hints", wish=hint)
    if (wish := _wish(headers.get(_LOWER_FIRST, ""))) is not None:
        return Alias(_LOWER_FIRST, wish=-wish)
    return None


def _wish(text: str) -> int | None:
    text = text.strip()
    return _integer(text) if _INTEGER.fullmatch(text) else None


def _agent_hint(nvext: Raw) -> int | None:
    """NVIDIA Dynamo's request extension, which says the same as its headers."""
    hints = member(nvext, "agent_hints")
    for name in ("strict_priority", "priority"):
        wish = hints.get(name) if isinstance(hints, dict) else None
        if isinstance(wish, int) and not isinstance(wish, bool):
            return wish
    return None
