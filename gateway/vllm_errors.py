"""What a model server says of a failure, in our words: whose fault it is, and what a caller is told.

Read from vLLM 0.32.0.
"""

import msgspec

from gateway import errors
from gateway.errors import GatewayError
from gateway.response import TimedOut, UpstreamError

# How vLLM says that a request does not fit: its prompt, or the answer it asks for (0.32.0).
_TOO_LONG = ("context length", "max_model_len")


def from_vllm(status: int, body: bytes) -> GatewayError:
    """Translate vLLM's refusal, or any answer that is none: it sends integer codes, HTTP phrases as type, ``param`` with a
    ``body.`` prefix, and a bare ``detail`` for unknown paths (0.32.0, entrypoints/openai)."""
    message, param = _vllm_message(body)
    if status == 404 and message.startswith("{'detail':"):
        return GatewayError(404, "endpoint_not_supported", "The model server has no such endpoint.")
    if status == 404:
        return GatewayError(404, "model_not_found", message, param="model")
    if status in (405, 501):
        return GatewayError(404, "endpoint_not_supported", message)
    if status in (401, 403):
        return errors.upstream_error("The model server refused the gateway's own credentials.")
    if status == 422:
        return GatewayError(422, "unprocessable", message, param=param)
    if status in (400, 413) and any(words in message.lower() for words in _TOO_LONG):
        return GatewayError(400, "context_length_exceeded", message, param=param or "messages")
    if 400 <= status < 500:
        return GatewayError(400, "bad_request", message, param=param)
    return errors.upstream_error(f"The model server failed with status {status}: {message}")


def of_exchange(error: UpstreamError, *, started: bool) -> GatewayError:
    """What the caller is told of an exchange that broke; ``started``: some of the answer has left."""
    match error:
        case TimedOut(phase="next_event"):
            return errors.upstream_broke_off(stalled=True)
        case TimedOut(phase=phase):
            return errors.upstream_timeout(phase.replace("_", " "))
        case _ if started:
            return errors.upstream_broke_off(stalled=False)
        case _:
            return errors.upstream_error(f"The model server failed before it answered: {error}")


def status_in(body: bytes) -> int:
    """The status an error event stands for: vLLM puts it in ``code``.  502 where it does not."""
    try:
        code = msgspec.json.decode(body)["error"]["code"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return 502
    return code if isinstance(code, int) and 400 <= code < 600 else 502


def is_overload(status: int, body: bytes) -> bool:
    """Whether vLLM's own queue cap spoke: 503, "currently busy" (``--max-num-queued-reqs``)."""
    return status == 429 or (status == 503 and b"EngineCore" not in body)


def is_dead_engine(status: int, body: bytes) -> bool:
    """Whether the engine behind the HTTP server is gone (vllm/v1/engine/exceptions.py); the server
    itself ends within a second, so another one has to take over."""
    return status >= 500 and (b"EngineCore" in body or b"EngineDead" in body)


def _vllm_message(body: bytes) -> tuple[str, str | None]:
    """The sentence in vLLM's error body, and the field it is about."""
    try:
        document = msgspec.json.decode(body)
    except (ValueError, RecursionError):  # not JSON at all: a proxy's page, or nothing
        return (body[:200].decode("utf-8", "replace") or "no message"), None
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, dict):
        param = error.get("param")
        name = param.removeprefix("body.") if isinstance(param, str) else None
        return str(error.get("message") or "no message"), name
    return str(document)[:200], None
