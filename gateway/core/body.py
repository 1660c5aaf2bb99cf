"""A request's JSON body, as far as Laneway reads it, and the values in it as vLLM reads them.

One decode checks the whole document and keeps a few fields; the others are skipped at C speed.
What a field means is decided elsewhere.
"""

import re
from typing import Final

import msgspec
from msgspec import Raw, Struct

MAX_NESTING = 64
MAX_DIGITS = 4300  # Python's ``int`` reads no more, nor does a server that parses by it
ABSENT: Final = Raw(b"")


class WireError(ValueError):
    """The caller's fault: ``code`` and ``param`` are the error body's, ``message`` is for people."""

    def __init__(self, code: str, param: str | None, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.param = param
        self.message = message


class Body(Struct, gc=False):
    """The fields Laneway acts on.  All but two are ``Raw``: vLLM takes ``16.0`` and ``"16"`` for
    a number, so estimates read what they can and vLLM stays the judge.  ``Raw`` also sees a
    field in any spelling (``"prio\\u0072ity"``) and type; of two, the last, as Python's json."""

    model: str | None = None
    stream: bool | None = False

    priority: Raw = ABSENT
    service_tier: Raw = ABSENT
    metadata: Raw = ABSENT
    nvext: Raw = ABSENT

    stream_options: Raw = ABSENT
    n: Raw = ABSENT
    best_of: Raw = ABSENT
    max_tokens: Raw = ABSENT
    max_completion_tokens: Raw = ABSENT
    max_output_tokens: Raw = ABSENT
    background: Raw = ABSENT

    system: Raw = ABSENT
    messages: Raw = ABSENT
    prompt: Raw = ABSENT
    prompt_embeds: Raw = ABSENT
    input: Raw = ABSENT
    query: Raw = ABSENT
    queries: Raw = ABSENT
    documents: Raw = ABSENT
    items: Raw = ABSENT
    text_1: Raw = ABSENT
    text_2: Raw = ABSENT
    data_1: Raw = ABSENT
    data_2: Raw = ABSENT

    request_id: Raw = ABSENT
    session_id: Raw = ABSENT
    data_parallel_rank: Raw = ABSENT
    vllm_xargs: Raw = ABSENT
    kv_transfer_params: Raw = ABSENT
    ec_transfer_params: Raw = ABSENT


_BODY = msgspec.json.Decoder(Body)


def read(text: bytes) -> Body:
    """Decode a body.

    Raises:
        WireError: it is no JSON object in UTF-8, nested too deep, or without a ``model``.
    """
    try:
        if not text.isascii():
            str(text, "utf-8")  # msgspec lets broken text pass in strings that it skips
        body = _BODY.decode(text)
    except msgspec.ValidationError as error:
        raise _mistyped(str(error)) from None
    except (ValueError, RecursionError) as error:  # RecursionError: a thousand levels
        raise WireError("invalid_json", None, f"The body is not valid JSON: {error}.") from None
    if not body.model:
        raise WireError("missing_required_parameter", "model", "`model` has to name a model.")
    return body


def _mistyped(said: str) -> WireError:
    if said.endswith("`$.model`"):
        return WireError("missing_required_parameter", "model", "`model` must be a string.")
    if said.endswith("`$.stream`"):
        return WireError("invalid_json", "stream", "`stream` must be true or false.")
    return WireError("invalid_json", None, "The body must be a JSON object.")


# Nesting

_TEXT = bytes(set(range(256)) - set(b'"[]{}'))
_ONE_KIND = bytes.maketrans(b"{}", b"[]")


def structure_of(text: bytes) -> bytes:
    """A document's quotes and brackets, braces told as brackets; also those inside texts."""
    return text.translate(_ONE_KIND, _TEXT)


def refuse_deep(text: bytes, structure: bytes) -> None:
    """Refuse a valid document that is nested deeper than ``MAX_NESTING``.

    The opening brackets bound the depth, even without those that directly follow a closing one:
    these stand as deep as the sibling that was just closed.  Nearly every body is decided by
    that.  The others are measured by taking the innermost pairs away, level by level.
    """
    if structure.count(b"[") - structure.count(b"][") <= MAX_NESTING:
        return
    if b"\\" in text:
        structure = structure_of(text.replace(b"\\\\", b"").replace(b'\\"', b""))
    # Pairs of quotes go first; what then stands between quotes are the brackets of texts.
    brackets = b"".join(structure.replace(b'""', b"").split(b'"')[::2])
    for _ in range(MAX_NESTING):
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return
    raise WireError("invalid_json", None, f"The body is nested more than {MAX_NESTING} deep.")


# Long numbers

_LOOK = (
    64  # digits in a row: rare, and one look in each MAX_DIGITS finds every run that is too long
)
_LONG_RUN = re.compile(rb"(?<![0-9])[0-9]{%d,}" % (MAX_DIGITS + 1))


def refuse_long_numbers(text: bytes) -> None:
    """Refuse a valid document with a number of more than ``MAX_DIGITS`` digits; texts may hold them."""
    if len(text) <= MAX_DIGITS:
        return
    looks = range(0, len(text), MAX_DIGITS - _LOOK)
    if not any(text[at : at + _LOOK].isdigit() for at in looks):
        return
    quotes = seen = 0
    for run in _LONG_RUN.finditer(text):
        between = text[seen : run.start()].replace(b"\\\\", b"").replace(b'\\"', b"")
        quotes += between.count(b'"')
        if quotes % 2 == 0:
            what = f"a number of more than {MAX_DIGITS} digits (byte {run.start()})"
            raise WireError("invalid_json", None, f"The body holds {what}.")
        seen = run.end()


# Values as vLLM's pydantic reads them

_TRUE = frozenset(("true", "1", "yes", "on", "t", "y"))
_NUMERIC = (int, float, str)
_UNREADABLE = object()


def loose(raw: Raw) -> object:
    """Any JSON value; None for what is absent."""
    if raw is ABSENT:
        return None
    try:
        value: object = msgspec.json.decode(raw)
    except ValueError:  # a number beyond all ranges
        return _UNREADABLE
    return value


def member(raw: Raw, name: str) -> object:
    """One member of an object; None when ``raw`` is no object."""
    value = loose(raw)
    return value.get(name) if isinstance(value, dict) else None


def is_true(value: object) -> bool:
    return value.lower() in _TRUE if isinstance(value, str) else value == 1


def number(raw: Raw) -> int | None:
    """A whole number written as ``16``, ``16.0`` or ``"16"``; None for what nobody can read."""
    if raw is ABSENT:
        return None
    value = loose(raw)
    if not isinstance(value, _NUMERIC):
        return None
    try:
        return int(max(-1e9, min(float(value), 1e9)))
    except (ValueError, OverflowError):
        return None
