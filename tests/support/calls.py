"""Requests as clients send them, for the tests of what the gateway reads in them."""

import json
from typing import Any

import pytest

from gateway.core import wire

CHAT = "/v1/chat/completions"


def body(**fields: object) -> bytes:
    """A compact chat body, as openai-python sends it; ``fields`` come on top."""
    document = {"model": "qwen", "messages": [{"role": "user", "content": "Hi"}]} | fields
    return json.dumps(document, separators=(",", ":")).encode()


def parsed(
    text: bytes | None = None,
    endpoint: str = CHAT,
    headers: dict[str, str] | None = None,
    **fields: object,
) -> wire.Call:
    return wire.parse(endpoint, headers or {}, body(**fields) if text is None else text)


def refusal(text: bytes | None = None, **rest: Any) -> tuple[str, str | None]:
    """Code and param of the refusal that the request must meet, with a sentence to go with it."""
    with pytest.raises(wire.WireError, match=r"\.$") as refused:
        parsed(text, **rest)
    return refused.value.code, refused.value.param
