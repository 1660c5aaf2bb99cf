"""How much work a request asks for, told from its body alone: sequences, tokens, prefix.

What it will cost in the end is ``estimate``'s to guess.
"""

import hashlib
import re
from typing import Any

import msgspec
from msgspec import Raw

from gateway.core.body import ABSENT, Body, WireError, number

GENERATED_SEQUENCES = 32  # choices and prompts; vLLM itself would allow 16,384
POOLED_SEQUENCES = 2048  # what OpenAI's embeddings take in one request

BYTES_A_TOKEN = 4
SKELETON_BYTES = 80  # the braces and names around one short chat message
IMAGE_TOKENS = 1000
PREFIX_BYTES = 1024

_ITEMS = re.compile(rb'\[\s*["\[{]')
_TOKEN_IDS = re.compile(rb"\[\s*(?:\[\s*)?[0-9]")
_MEDIA = (b"base64", b'"image_url":', b'"input_audio":')
_BLOB = re.compile(rb'"(?:data:[^",]*,)?[A-Za-z0-9+/=_\\-]{512,}"')


def generated(body: Body) -> int:
    """Sequences of an endpoint that writes text.  With beam search ``n`` is the width.

    Raises:
        WireError: more than ``GENERATED_SEQUENCES``.
    """
    choices = max(1, number(body.n) or 1, number(body.best_of) or 1)
    prompts = _count(body.prompt, GENERATED_SEQUENCES)
    prompts += _count(body.prompt_embeds, GENERATED_SEQUENCES)
    return _within(choices * max(1, prompts), GENERATED_SEQUENCES, "n" if prompts < 2 else "prompt")


def pooled(body: Body) -> int:
    """Inputs of an endpoint that embeds, scores or classifies.

    Raises:
        WireError: more than ``POOLED_SEQUENCES``.
    """
    lists = (body.input, body.documents, body.queries, body.items)
    pairs = (body.text_1, body.text_2, body.data_1, body.data_2)
    inputs = max(_count(raw, POOLED_SEQUENCES) for raw in (*lists, *pairs))
    return _within(max(1, inputs), POOLED_SEQUENCES, "input")


def _within(sequences: int, most: int, param: str) -> int:
    if sequences > most:
        hint = f"One request takes at most {most} sequences: choices times prompts."
        raise WireError("too_many_sequences", param, hint)
    return sequences


def _counter(most: int) -> msgspec.json.Decoder[Any]:
    """Decodes the first ``most`` + 1 elements of an array and skips the rest, so that 16 MiB of
    commas neither cost memory nor stop the loop."""
    places = [(f"_{place}", Raw, ABSENT) for place in range(most + 1)]
    return msgspec.json.Decoder(msgspec.defstruct("_Items", places, array_like=True))


_COUNTERS = {most: _counter(most) for most in (GENERATED_SEQUENCES, POOLED_SEQUENCES)}


def _count(raw: Raw, most: int) -> int:
    """How many prompts a ``prompt`` or ``input`` holds, up to ``most`` + 1.  A list of token ids
    is one."""
    if raw is ABSENT:
        return 0
    if not _ITEMS.match(memoryview(raw)):
        return 0 if bytes(raw) == b"null" else 1
    return most + 1 - msgspec.structs.astuple(_COUNTERS[most].decode(raw)).count(ABSENT)


def max_tokens(body: Body) -> int | None:
    """How much output the caller allows a sequence; None where it leaves that to the model."""
    for raw in (body.max_completion_tokens, body.max_output_tokens, body.max_tokens):
        stated = number(raw)
        if stated is not None and stated > 0:
            return stated
    return None


def prompt_tokens(text: bytes, structure: bytes, body: Body) -> int:
    """About how many tokens the prompt has; all there is counts, tools and documents as well.

    Token ids are counted, images get a flat number: their base64 is not read as text.
    """
    tokens, text_bytes = 0, len(text) - SKELETON_BYTES
    for raw in (body.prompt, body.input):
        if raw is not ABSENT and _TOKEN_IDS.match(memoryview(raw)):
            ids = bytes(raw)
            tokens += ids.count(b",") + 1
            text_bytes -= len(ids)
    has_parts = structure.count(b"[[") > 1  # the first one is the list of messages
    if has_parts and any(mark in text for mark in _MEDIA):
        blobs = _BLOB.findall(text)
        text_bytes -= sum(map(len, blobs))
        tokens += IMAGE_TOKENS * max(len(blobs), text.count(b'"image_url":'))
    return max(1, tokens + max(0, text_bytes) // BYTES_A_TOKEN)


def prefix(body: Body) -> str:
    """Whose KV cache may be warm: a digest of the model and of how the prompt begins."""
    digest = hashlib.blake2b((body.model or "").encode(), digest_size=8)
    for raw in (body.system, body.messages, body.prompt, body.input, body.query):
        if raw is not ABSENT:
            digest.update(memoryview(raw)[:PREFIX_BYTES])
    return digest.hexdigest()
