"""Every way a request can fail, as the caller sees it: status, code, sentence, headers.

The only place with status numbers, but for what ``vllm_errors`` translates.  A failure is raised
where it is known and answered once, in ``proxy.Proxy``.  Bodies have OpenAI's shape, or Anthropic's for ``/v1/messages``.
"""

import math
from collections.abc import Mapping
from typing import Literal

import msgspec

Family = Literal["openai", "responses", "anthropic", "pooling"]

INVALID = "invalid_request_error"

# What official SDKs honour: openai-node ignores waits over 60 s and retries within seconds,
# anthropic-python sleeps for as long as it is told.  So no retryable wait leaves this range.
MIN_RETRY_S, MAX_RETRY_S = 1.0, 60.0

_ANTHROPIC_TYPES = {
    400: INVALID,
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    422: INVALID,
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


class GatewayError(Exception):
    """A refusal or failure with all that its answer needs.

    ``retry_after_s`` is the wait to announce; ``give_up`` tells SDKs not to retry although the
    status alone would make them (they obey ``x-should-retry``).  ``close`` ends the connection:
    the request's body was not read to its end.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        type: str = INVALID,
        param: str | None = None,
        retry_after_s: float | None = None,
        give_up: bool = False,
        close: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.type = type
        self.param = param
        self.retry_after_s = retry_after_s
        self.give_up = give_up
        self.close = close
        self.extra_headers = dict(headers or {})

    def headers(self) -> dict[str, str]:
        headers = {"content-type": "application/json", **self.extra_headers}
        if self.retry_after_s is not None:
            wait_s = self.retry_after_s
            if not self.give_up:
                wait_s = min(MAX_RETRY_S, max(MIN_RETRY_S, wait_s))
            headers["retry-after"] = str(math.ceil(wait_s))
            headers["retry-after-ms"] = str(round(wait_s * 1000))
        if self.give_up:
            headers["x-should-retry"] = "false"
        if self.status == 401:
            headers["www-authenticate"] = 'Bearer realm="laneway"'
        if self.close:
            headers["connection"] = "close"
        return headers

    def body(self, family: Family, request_id: str) -> bytes:
        return msgspec.json.encode(self._document(family, request_id))

    def event(self, family: Family, request_id: str) -> bytes:
        """The last event of a stream whose 200 is already spent, terminator included.

        Responses streams carry the documented top-level fields *and* an ``error`` object, because
        openai-python raises only on the latter.  Anthropic's SDK ignores events without a name.
        """
        if family == "anthropic":
            return b"event: error\ndata: " + self.body(family, request_id) + b"\n\n"
        if family == "responses":
            error = self._openai()
            event = {"type": "error", **error, "error": error, "sequence_number": 0}
            return b"event: error\ndata: " + msgspec.json.encode(event) + b"\n\n"
        return b"data: " + self.body(family, request_id) + b"\n\ndata: [DONE]\n\n"

    def _document(self, family: Family, request_id: str) -> dict[str, object]:
        if family == "anthropic":
            error = {
                "type": _ANTHROPIC_TYPES.get(self.status, "api_error"),
                "message": self.message,
                "details": {"error_code": self.code},
            }
            return {"type": "error", "error": error, "request_id": request_id}
        return {"error": self._openai()}

    def _openai(self) -> dict[str, object]:
        return {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }


# The caller's request


def bad_request(code: str, message: str, param: str | None = None) -> GatewayError:
    return GatewayError(400, code, message, param=param)


def unknown_url(method: str, path: str) -> GatewayError:
    return GatewayError(404, "unknown_url", f"Unknown request URL: {method} {path}.")


def method_not_allowed(method: str, path: str, allowed: str) -> GatewayError:
    message = f"{method} is not allowed on {path}; use {allowed}."
    return GatewayError(405, "method_not_allowed", message, headers={"allow": allowed}, close=True)


def unsupported_media_type(what: str) -> GatewayError:
    message = f"Send the body as plain application/json, not {what}."
    return GatewayError(415, "unsupported_media_type", message, close=True)


def request_too_large(limit_bytes: int) -> GatewayError:
    message = f"The request body is over the limit of {limit_bytes:,} bytes."
    return GatewayError(413, "request_too_large", message, close=True)


def headers_too_large(line_bytes: int, header_bytes: int) -> GatewayError:
    message = (
        f"The request line may have {line_bytes // 1024} KiB and the headers "
        f"{header_bytes // 1024} KiB. Send less metadata, or put it in the body."
    )
    return GatewayError(431, "headers_too_large", message, close=True)


def invalid_http() -> GatewayError:
    message = (
        "This cannot be read as HTTP/1.1. Look at the request line, Content-Length, "
        "Transfer-Encoding and the chunks of the body."
    )
    return GatewayError(400, "invalid_http", message, close=True)


def request_timeout(seconds: float) -> GatewayError:
    message = f"The request did not arrive within {seconds:g} s."
    return GatewayError(408, "request_timeout", message, close=True)


# The caller


def invalid_api_key(hint: str = "") -> GatewayError:
    """One answer for missing, malformed, unknown and wrong: a stranger learns nothing.

    ``hint`` may only repeat what follows from the caller's own text (a failed checksum).
    """
    message = "Incorrect API key provided. Send your key as 'Authorization: Bearer lw_…'."
    return GatewayError(401, "invalid_api_key", f"{message} {hint}".strip(), close=True)


def key_refused(code: str, message: str) -> GatewayError:
    """For a caller whose secret matched: the true reason (expired, disabled, revoked…)."""
    return GatewayError(401, code, message, close=True)


def forbidden(code: str, message: str) -> GatewayError:
    return GatewayError(403, code, message, close=True)


def model_not_found(model: str, known: list[str]) -> GatewayError:
    there = ", ".join(known[:8]) or "none at the moment"
    message = f"The model {model!r} does not exist or this key may not use it. Models: {there}."
    return GatewayError(404, "model_not_found", message, param="model")


def endpoint_not_supported(path: str, model: str) -> GatewayError:
    message = f"The servers of model {model!r} do not offer {path}."
    return GatewayError(404, "endpoint_not_supported", message)


def request_not_found(request_id: str) -> GatewayError:
    message = f"There is no request {request_id!r}, or it ended more than 15 minutes ago."
    return GatewayError(404, "request_not_found", message)


def cancelled() -> GatewayError:
    message = "This request was cancelled by its own tenant."
    return GatewayError(409, "cancelled", message, give_up=True)


# The line


def rate_limited(
    unit: str, per_min: int, retry_after_s: float, headers: Mapping[str, str]
) -> GatewayError:
    """``unit`` is requests or tokens; it is also OpenAI's error type."""
    wait_s = max(1, math.ceil(retry_after_s))
    message = f"The limit of {per_min:,} {unit} a minute is reached. Try again in {wait_s} s."
    return GatewayError(
        429,
        "rate_limit_exceeded",
        message,
        type=unit,
        retry_after_s=retry_after_s,
        headers=headers,
    )


def too_many_at_once(most: int) -> GatewayError:
    """A key's own limit counts what waits too, so only the caller knows when one will end."""
    message = (
        f"This API key has {most:,} requests waiting or running, as many as it may. "
        "Try again when one of them is done."
    )
    return GatewayError(
        429, "rate_limit_exceeded", message, type="requests", retry_after_s=MIN_RETRY_S
    )


def queue_full(scope: str, retry_after_s: float) -> GatewayError:
    """``scope`` is a decision's code: ``queue_full``, ``tenant_queue_full`` or ``displaced``."""
    sentences = {
        "queue_full": "The queue of this tier is full.",
        "tenant_queue_full": "Your organisation has as many waiting requests as it may have.",
        "displaced": "A more urgent request took this one's place in a full queue.",
    }
    message = f"{sentences[scope]} Try again in {max(1, math.ceil(retry_after_s))} s."
    return GatewayError(429, scope, message, type="rate_limit_error", retry_after_s=retry_after_s)


def queue_timeout(waited_s: float, retry_after_s: float) -> GatewayError:
    """429 and not 504: load balancers eject hosts on 5xx, and the caller did meet a limit.  SDKs
    are told to give up: a silent retry joins the tail and triples the load at the worst moment."""
    message = f"The request waited {waited_s:.0f} s, as long as its tier allows, without a turn."
    return GatewayError(
        429,
        "queue_timeout",
        message,
        type="rate_limit_error",
        retry_after_s=retry_after_s,
        give_up=True,
    )


def deadline_exceeded(waited_s: float) -> GatewayError:
    message = f"The deadline you gave passed while the request waited ({waited_s:.1f} s)."
    return GatewayError(504, "deadline_exceeded", message, type="server_error", give_up=True)


def deadline_unreachable(expected_s: float, retry_after_s: float) -> GatewayError:
    """Told at once instead of after the deadline: the caller can still do something else."""
    message = f"The wait is about {expected_s:.0f} s, longer than the deadline you gave."
    return GatewayError(
        429,
        "deadline_unreachable",
        message,
        type="rate_limit_error",
        retry_after_s=retry_after_s,
        give_up=True,
    )


def evicted(reason: str, *, running: bool = False) -> GatewayError:
    done = "ended this request while it ran" if running else "removed this request from the queue"
    message = f"An operator {done}: {reason}"
    return GatewayError(
        503,
        "evicted",
        message,
        type="service_unavailable_error",
        retry_after_s=MIN_RETRY_S,
        give_up=True,
    )


def tier_draining(tier: str, reason: str, retry_after_s: float) -> GatewayError:
    """``reason`` is the operator's own."""
    told = f": {reason}" if reason else ""
    message = (
        f"The tier {tier} takes no new requests for now{told}. Use another tier, or try later."
    )
    return _unavailable("tier_draining", message, retry_after_s)


def no_backend(model: str) -> GatewayError:
    message = f"No server of model {model!r} is healthy at the moment."
    return _unavailable("no_backend", message, 5)


def overloaded(tier: str) -> GatewayError:
    message = f"The gateway is short of CPU and takes no new requests of tier {tier} for now."
    return _unavailable("overloaded", message, 2)


def shutting_down() -> GatewayError:
    error = _unavailable("shutting_down", "The gateway is restarting. Try again in a second.", 1)
    error.close = True
    return error


def _unavailable(code: str, message: str, retry_after_s: float) -> GatewayError:
    return GatewayError(
        503, code, message, type="service_unavailable_error", retry_after_s=retry_after_s
    )


# The model server


def upstream_error(message: str) -> GatewayError:
    return GatewayError(502, "upstream_error", message, type="server_error", retry_after_s=1)


def upstream_timeout(phase: str) -> GatewayError:
    message = f"The model server did not answer in time ({phase})."
    return GatewayError(504, "upstream_timeout", message, type="server_error", give_up=True)


def upstream_broke_off(stalled: bool) -> GatewayError:
    """Only ever seen as a stream's last event: the status was sent long before."""
    if stalled:
        return GatewayError(
            504, "upstream_stalled", "The model server fell silent mid-answer.", type="server_error"
        )
    return GatewayError(
        502,
        "upstream_disconnected",
        "The model server closed the connection mid-answer.",
        type="server_error",
    )


def internal(request_id: str) -> GatewayError:
    message = f"The gateway failed; please report request id {request_id}."
    return GatewayError(500, "internal_error", message, type="server_error")
