"""Tokens, words and JSON of the simulated model: deterministic, and honest about lengths.

A token is four bytes of UTF-8, about what English takes; so any text can be tokenised and put
together again without a vocabulary.
"""

from collections.abc import Sequence
from math import log, sqrt
from random import Random
from typing import Any

import msgspec

TOKEN_BYTES = 4
IMAGE_TOKENS = 256
_SAID = (
    "a the one each line queue request token step batch model answer wait turn slot time share "
    "order place key tenant tier fair first next last short long urgent calm steady open full "
    "free ready early late clear plain small large quick slow and or then while until because "
    "comes goes waits runs ends starts takes gives holds moves keeps grows shows means"
)
WORDS = _SAID.split()
SCHEMA_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")


def count_tokens(text: str) -> int:
    return -(-len(text.encode()) // TOKEN_BYTES)


def token_ids(text: str) -> list[int]:
    raw = text.encode()
    pieces = (raw[i : i + TOKEN_BYTES] for i in range(0, len(raw), TOKEN_BYTES))
    return [int.from_bytes(b"\x01" + piece) for piece in pieces]


def text_of(ids: Sequence[int]) -> str:
    """The inverse of ``token_ids``; ids of another vocabulary become replacement characters."""
    raw = b"".join(number.to_bytes(TOKEN_BYTES + 1).lstrip(b"\0")[1:] or b"\xff" for number in ids)
    return raw.decode(errors="replace")


def content_text(content: object) -> str:
    """The text of a message's content: a string, or parts of which some carry text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            found = part.get("text") or part.get("content")
            image = "image" in str(part.get("type", ""))
            texts.append("i" * TOKEN_BYTES * IMAGE_TOKENS if image else content_text(found))
    return "".join(texts)


def draw_length(draw: Random, mean_tokens: float, cv: float) -> int:
    """A log-normal output length, at least one token."""
    sigma = sqrt(log(1 + cv * cv))
    return max(1, round(draw.lognormvariate(log(mean_tokens) - sigma * sigma / 2, sigma)))


def write_words(draw: Random, tokens: int) -> list[str]:
    """So many tokens of text, one word each, in sentences of a dozen."""
    words = draw.choices(WORDS, k=tokens)
    pieces = [f" {word}" for word in words]
    for i in range(0, tokens, 12):
        pieces[i] = words[i].capitalize() if i == 0 else f". {words[i].capitalize()}"
    return pieces


def cut(text: str) -> list[str]:
    """A finished text as the tokens it is streamed in."""
    return [text[i : i + TOKEN_BYTES] for i in range(0, len(text), TOKEN_BYTES)] or [""]


def cut_at_stop(pieces: list[str], stops: Sequence[str]) -> tuple[list[str], str | None]:
    """Shorten the output to where the first of ``stops`` would appear, which is not shown."""
    text = "".join(pieces)
    found = [(at, stop) for stop in stops if stop and (at := text.find(stop)) >= 0]
    if not found:
        return pieces, None
    at, stop = min(found)
    length = 0
    for count, piece in enumerate(pieces, 1):
        length += len(piece)
        if length >= at + len(stop):
            shown = pieces[:count]
            surplus = length - at
            while surplus > 0:
                last = shown.pop()
                if len(last) > surplus:
                    shown.append(last[: len(last) - surplus])
                surplus -= len(last)
            # The tokens of the stop string were generated, though nothing of them is shown.
            return shown + [""] * (count - len(shown)), stop
    return pieces, None


def instance(schema: object, depth: int = 0) -> Any:
    """The smallest plausible value of a JSON schema; unknown kinds become a string."""
    if not isinstance(schema, dict) or depth > 8:
        return "value"
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for choice in ("anyOf", "oneOf", "allOf"):
        if schema.get(choice):
            return instance(schema[choice][0], depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "object":
        properties = schema.get("properties") or {}
        return {name: instance(part, depth + 1) for name, part in properties.items()}
    if kind == "array":
        return [instance(schema.get("items"), depth + 1)] * max(1, int(schema.get("minItems", 1)))
    simple = {"integer": 1, "number": 1.5, "boolean": True, "null": None}
    return simple.get(kind, "value")


def dump_json(value: object) -> str:
    return msgspec.json.encode(value).decode()
