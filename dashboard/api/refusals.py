"""Why a call is refused, in the gateway's own shape: ``{"error": {message, type, param, code}}``.

``param`` names the field, header or query parameter; the message says what to send instead.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from django import forms
from django.core.exceptions import RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse
from django.http.request import RawPostDataException, UnreadablePostError
from ninja.errors import AuthenticationError, HttpError, ValidationError

from gateway.errors import GatewayError, invalid_api_key, request_too_large


def invalid(param: str, message: str) -> GatewayError:
    return GatewayError(422, "invalid_value", message, param=param)


def in_form(form: forms.Form, names: Mapping[str, str] = MappingProxyType({})) -> GatewayError:
    """What a page's form found wrong; ``names`` are the API's where they differ from the form's."""
    found = {names.get(name, name): " ".join(map(str, said)) for name, said in form.errors.items()}
    return _all_of(found)


def not_there(what: str, name: str) -> GatewayError:
    return GatewayError(404, f"{what}_not_found", f"There is no {what} {name!r}.")


def conflict(code: str, message: str, param: str | None = None) -> GatewayError:
    return GatewayError(409, code, message, param=param)


def moved_on(etag: str) -> GatewayError:
    message = f"It changed meanwhile and is at {etag}. Read it again, then repeat the change."
    return GatewayError(412, "precondition_failed", message, param="If-Match")


def needs_if_match() -> GatewayError:
    message = "Send If-Match with the ETag that a GET of it answered, so that no change is lost."
    return GatewayError(428, "precondition_required", message, param="If-Match")


def token_reused() -> GatewayError:
    message = (
        "This Idempotency-Key came with another request before. Use a new one for each change."
    )
    return GatewayError(422, "idempotency_key_reused", message, param="Idempotency-Key")


def answer(error: GatewayError) -> HttpResponse:
    headers = {name: value for name, value in error.headers().items() if name != "connection"}
    return HttpResponse(error.body("openai", ""), status=error.status, headers=headers)


def translated(error: Exception) -> GatewayError:
    """Whatever Django or ninja raised, as a refusal."""
    match error:
        case GatewayError():
            return error
        case ValidationError():
            return _unfit(error.errors)
        case Http404():
            return GatewayError(404, "not_found", "There is nothing at this address.")
        case AuthenticationError():
            return invalid_api_key()
        case RequestDataTooBig():
            return request_too_large(2_621_440)
        case HttpError() | UnreadablePostError() | RawPostDataException():
            return GatewayError(400, "invalid_json", "The body is not JSON.", param="body")
    raise error


def handle(request: HttpRequest, error: Any) -> HttpResponse:
    return answer(translated(error))


def _unfit(errors: list[dict[str, Any]]) -> GatewayError:
    found: dict[str, str] = {}
    for error in errors:
        source, *path = error["loc"]
        inner = path[1:] if source == "body" else path  # the first is our own argument's name
        found.setdefault(".".join(map(str, inner)) or source, f"{error['msg']}.")
    return _all_of(found)


def _all_of(found: Mapping[str, str]) -> GatewayError:
    told = "; ".join(f"{name}: {text}" for name, text in found.items())
    return GatewayError(422, "invalid_value", told, param=next(iter(found), None))
