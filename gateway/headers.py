"""Which headers pass in which direction: both ways an allow-list.

Unknown request headers stop here because some of them are commands to vLLM: ``X-Vllm-Priority``
beats the body's priority and ``X-data-parallel-rank`` picks the engine.
"""

import re
from collections.abc import Mapping

from gateway import errors

PASSED_ON = ("accept", "traceparent", "tracestate", "anthropic-version", "anthropic-beta")
PRINTABLE = re.compile(r"[\x20-\x7e]*")
OWN_ID = re.compile(r"[A-Za-z0-9._:-]{8,128}")

MAX_DEADLINE_MS = 3_600_000

STREAM = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",  # nginx in front would collect the stream
}


def upstream(
    received: Mapping[str, str], request_id: str, vllm_priority: int, api_key: str
) -> list[tuple[str, str]]:
    """What the model server gets.  The priority stands in the body as well: versions before 0.32
    read only the body, later ones prefer this header."""
    headers = [("content-type", "application/json"), ("x-request-id", request_id)]
    headers += [
        (name, received[name])
        for name in PASSED_ON
        if name in received and PRINTABLE.fullmatch(received[name])
    ]
    headers.append(("x-vllm-priority", str(vllm_priority)))
    if api_key:
        headers.append(("authorization", f"Bearer {api_key}"))
    return headers


def callers_own_id(received: Mapping[str, str]) -> str:
    """The id the caller wants to see again, or "" where it gave none that is fit to echo."""
    wanted = received.get("x-request-id", "")
    return wanted if OWN_ID.fullmatch(wanted) else ""


def wants_progress(received: Mapping[str, str]) -> bool:
    return received.get("x-laneway-progress") == "1"


def deadline_s(received: Mapping[str, str]) -> float | None:
    """How long the caller is prepared to wait for the first byte, from its arrival.

    Raises:
        GatewayError: 400, for anything but 1 to 3,600,000 ms.
    """
    text = received.get("x-laneway-deadline-ms")
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:8]) <= MAX_DEADLINE_MS:
        message = f"x-laneway-deadline-ms must be a whole number from 1 to {MAX_DEADLINE_MS:,}."
        raise errors.bad_request("invalid_header", message, "x-laneway-deadline-ms")
    return int(text) / 1000
