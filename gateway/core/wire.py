"""The way in: a request's bytes become a ``Call``, and a ``Call`` the bytes that vLLM gets.

Little is read and less is changed: a body without a field that must go is passed on with
``"priority"`` spliced in behind its first brace.  No policy lives here, no header that vLLM gets
and no socket.  The way back is ``replies``, whose names belong to this interface too.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
from msgspec import Raw, Struct

from gateway.core import extent
from gateway.core.body import (
    ABSENT,
    Body,
    WireError,
    is_true,
    loose,
    member,
    read,
    refuse_deep,
    refuse_long_numbers,
    structure_of,
)
from gateway.core.policy import Statement
from gateway.core.replies import (
    Family,
    Usage,
    UsageReader,
    cost,
    service_tier_stamp,
    stamped,
    usage_of,
)
from gateway.core.stating import statement_of

__all__ = [
    "ENDPOINTS",
    "Call",
    "Endpoint",
    "Family",
    "Usage",
    "UsageReader",
    "WireError",
    "cost",
    "outgoing",
    "parse",
    "service_tier_stamp",
    "stamped",
    "usage_of",
    "vllm_priority",
]


class Endpoint(NamedTuple):
    """How a path is treated.  The priority header goes with all of them."""

    family: Family
    queued: bool = True
    streams: bool = False
    priority_in_body: bool = True
    adds_usage: bool = False  # its streams carry usage only where ``stream_options`` asks


_GENERATES = Endpoint("openai", streams=True, adds_usage=True)
_POOLS = Endpoint("pooling")
_CPU_WORK = Endpoint("openai", queued=False, priority_in_body=False)

ENDPOINTS: dict[str, Endpoint] = {
    "/v1/chat/completions": _GENERATES,
    "/v1/completions": _GENERATES,
    "/v1/responses": Endpoint("responses", streams=True),
    "/v1/messages": Endpoint("anthropic", streams=True, priority_in_body=False),
    "/v1/embeddings": _POOLS,
    "/pooling": _POOLS,
    "/classify": _POOLS,
    "/score": _POOLS,
    "/v1/score": _POOLS,
    "/rerank": _POOLS,
    "/v1/rerank": _POOLS,
    "/v2/rerank": _POOLS,
    "/tokenize": _CPU_WORK,
    "/detokenize": _CPU_WORK,
    "/v1/messages/count_tokens": _CPU_WORK._replace(family="anthropic"),
}


class Call(Struct, frozen=True, kw_only=True):
    """A request as far as Laneway understands it."""

    endpoint: str
    model: str
    stream: bool
    body: bytes  # as the client sent it
    statement: Statement
    sequences: int  # choices times prompts
    prompt_tokens: int  # an estimate; exact for a prompt of token ids
    max_tokens: int | None  # of one sequence
    wants_usage: bool
    prefix: str
    rewrite: bool = False  # the body holds a field that has to change or go


# Removed: ours to set (priority), unknown to some of vLLM's models (service_tier), another
# tenant's to collide with (ids), orders to the engine (rank, xargs).  ``cache_salt`` passes: with
# it a caller can only narrow who shares its cached prefixes.
_REMOVED = (
    "priority",
    "service_tier",
    "request_id",
    "session_id",
    "data_parallel_rank",
    "vllm_xargs",
)

_FIELDS = msgspec.json.Decoder(dict[str, Raw])
_OPTIONS = msgspec.json.Decoder(dict[str, Raw] | None)


def parse(endpoint: str, headers: Mapping[str, str], body: bytes) -> Call:
    """Read a request for one of ``ENDPOINTS``.  Header names are lower-case.

    Raises:
        WireError: the request cannot be served as it stands.
    """
    kind = ENDPOINTS[endpoint]
    fields = read(body)
    structure = structure_of(body)
    refuse_deep(body, structure)
    refuse_long_numbers(body)
    _refuse_unsupported(kind, fields)
    stream = bool(fields.stream) and kind.streams
    wants_usage = is_true(member(fields.stream_options, "include_usage"))
    return Call(
        endpoint=endpoint,
        model=fields.model or "",
        stream=stream,
        body=body,
        statement=statement_of(endpoint, headers, fields),
        sequences=extent.pooled(fields) if kind.family == "pooling" else extent.generated(fields),
        prompt_tokens=extent.prompt_tokens(body, structure, fields),
        max_tokens=extent.max_tokens(fields),
        wants_usage=wants_usage,
        prefix=extent.prefix(fields),
        rewrite=_has_removed(fields)
        or (fields.stream_options is not ABSENT and stream and not wants_usage),
    )


def outgoing(call: Call, vllm_priority: int) -> bytes:
    """The body for vLLM.  ``vllm_priority`` is in vLLM's polarity; no other ``priority`` is left."""
    kind = ENDPOINTS[call.endpoint]
    head = b'"priority":%d,' % vllm_priority if kind.priority_in_body else b""
    adds_usage = call.stream and kind.adds_usage and not call.wants_usage
    if call.rewrite:
        return b"{" + head + _rewritten(call.body, adds_usage)[1:]
    if adds_usage:
        head += b'"stream_options":{"include_usage":true},'
    start = call.body.index(b"{") + 1  # blank space may stand before it
    return b"".join((call.body[:start], head, memoryview(call.body)[start:]))


def vllm_priority(priority: int, *, scheduled_by_priority: bool) -> int:
    """Turn our polarity into vLLM's, where lower is earlier.  Without ``--scheduling-policy
    priority`` the number means nothing, silently: such a backend gets 0."""
    return -priority if scheduled_by_priority else 0


def _rewritten(body: bytes, adds_usage: bool) -> bytes:
    """The body without what has to go.  Order is kept, and each other value keeps its bytes."""
    fields = _FIELDS.decode(body)
    for name in _REMOVED:
        fields.pop(name, None)
    if adds_usage:
        fields["stream_options"] = _with_usage(fields.get("stream_options", Raw(b"null")))
    return msgspec.json.encode(fields)


def _with_usage(options: Raw) -> Raw:
    try:
        members = _OPTIONS.decode(options) or {}
    except ValueError:
        return options  # no object: vLLM refuses it in its own words
    members["include_usage"] = Raw(b"true")
    return Raw(msgspec.json.encode(members))


def _has_removed(fields: Body) -> bool:
    return not (
        fields.priority
        is fields.service_tier
        is fields.request_id
        is fields.session_id
        is fields.data_parallel_rank
        is fields.vllm_xargs
        is ABSENT
    )


def _refuse_unsupported(kind: Endpoint, fields: Body) -> None:
    if loose(fields.kv_transfer_params) is not None:
        raise _unsupported("kv_transfer_params", "it addresses the model server's memory")
    if loose(fields.ec_transfer_params) is not None:
        raise _unsupported("ec_transfer_params", "it addresses the model server's memory")
    if kind.family == "responses" and is_true(loose(fields.background)):
        raise _unsupported("background", "the answer would outlive its slot")


def _unsupported(param: str, reason: str) -> WireError:
    return WireError("unsupported_parameter", param, f"`{param}` is not offered here: {reason}.")
