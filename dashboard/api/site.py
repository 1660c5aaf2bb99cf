"""The API put together: its door, its refusals, its OpenAPI document and the page that shows it."""

from collections.abc import Callable
from typing import Any, cast

from django.core.exceptions import RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from django.shortcuts import render
from django.urls import URLPattern, re_path
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError
from ninja.openapi.docs import DocsBase
from ninja.openapi.schema import OpenAPISchema
from ninja.security import HttpBearer

from dashboard.accounts.gate import open_to_all
from dashboard.accounts.keys import admin_key
from dashboard.api import alerts, keys, policies, refusals, tenants
from gateway.errors import GatewayError, method_not_allowed, unknown_url
from gateway.models import APIKey


class AdminKey(HttpBearer):
    """``Authorization: Bearer lw_admin_…``.  No session: a page that is open elsewhere sends none."""

    def __call__(self, request: HttpRequest) -> APIKey:
        said = request.headers.get("Authorization", "")
        return admin_key(said, timezone.now(), request.META.get("REMOTE_ADDR", ""))

    def authenticate(self, request: HttpRequest, token: str) -> None:
        """Not asked: the whole header is looked at above."""


class Page(DocsBase):
    """The document as a plain page: ninja's own load scripts from other hosts."""

    def render_page(self, request: HttpRequest, api: NinjaAPI, **kwargs: Any) -> HttpResponse:
        document = api.get_openapi_schema()
        operations = [
            (path, method.upper(), told | {"fields": _fields(told, document)})
            for path, methods in document["paths"].items()
            for method, told in methods.items()
        ]
        return render(request, "api/docs.html", {"api": api, "operations": operations})


class Documented(NinjaAPI):
    """Its document takes 0.1 s to make and never changes."""

    _document: OpenAPISchema | None = None

    def get_openapi_schema(self, **where: Any) -> OpenAPISchema:
        if self._document is None:
            self._document = super().get_openapi_schema(**where)
        return self._document


api = Documented(
    title="Laneway management API",
    version="1",
    description=(
        "Tenants, keys, the policy and alert rules, for programs. Every call needs an admin key, "
        "every change one with the scope write. A change takes `?dry_run=1` and an `Idempotency-Key`. A refusal is "
        '`{"error": {"message", "type", "param", "code"}}`; its message says what to do.'
    ),
    urls_namespace="api",
    auth=AdminKey(),
    docs=Page(),
)
api.add_router("/tenants", tenants.router)
api.add_router("", keys.router)
api.add_router("/policy", policies.router)
api.add_router("/alert-rules", alerts.router)
for kind in (
    GatewayError,
    Http404,
    HttpError,
    ValidationError,
    RequestDataTooBig,
    UnreadablePostError,
):
    api.add_exception_handler(kind, refusals.handle)


def _fields(told: dict[str, Any], document: dict[str, Any]) -> list[tuple[str, Any, bool]]:
    """Of an operation's body: name, schema, and whether it must be there."""
    content = told.get("requestBody", {}).get("content", {}).get("application/json", {})
    name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
    shape = document["components"]["schemas"].get(name, {})
    required = shape.get("required", [])
    return [(key, one, key in required) for key, one in shape.get("properties", {}).items()]


def _shaped(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """One shape for what ninja answers itself; and nothing of this is kept by anybody."""

    @csrf_exempt  # nothing here looks at a cookie
    def shaped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = view(request, *args, **kwargs)
        if response.status_code == 405:
            allowed = ", ".join(sorted(response["Allow"].split(", ")))
            error = method_not_allowed(str(request.method), request.path, allowed)
            response = refusals.answer(error)
        add_never_cache_headers(response)
        return response

    return open_to_all(shaped)  # type: ignore[return-value] # each operation asks for its key


def unknown(request: HttpRequest) -> HttpResponse:
    return refusals.answer(unknown_url(str(request.method), request.path))


def _urls() -> tuple[list[URLPattern], str, str]:
    patterns, app, space = api.urls
    for pattern in patterns:
        assert isinstance(pattern, URLPattern)
        view = pattern.callback
        if pattern.name == "api-root":  # by its name ninja finds where it is mounted
            view = unknown
        elif str(pattern.name).startswith("openapi-"):
            view = require_safe(view)
        pattern.callback = _shaped(view)
    rest = re_path("", _shaped(unknown), name="unknown")
    return [*cast(list[URLPattern], patterns), rest], app, space


urls = _urls()
