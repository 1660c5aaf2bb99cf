"""How every call is answered: ETag and If-Match, dry runs, repeated changes.

A view returns an ``Answer``; ``reads`` and ``changes`` make the response of it.  A change runs in
one transaction, which a dry run rolls back: rows, revision, audit trail and all.
"""

import hashlib
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, NamedTuple

from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from ninja.params.functions import Header, Query
from ninja.utils import contribute_operation_args
from pydantic import BaseModel, StringConstraints

from dashboard.api import refusals
from dashboard.api.models import KeptAnswer
from gateway.keys import must_write
from gateway.models import APIKey

SHOWN_ONCE = "key"  # the field that holds a whole key: never kept, never repeated
Token = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,128}$")]
ARGUMENTS: tuple[tuple[str, Any, Any], ...] = (
    ("dry_run", bool, Query(False, description="1: say what would happen, change nothing.")),
    (
        "idempotency_key",
        Token | None,
        Header(None, alias="Idempotency-Key", description="Repeats within 24 h change nothing."),
    ),
    (
        "if_match",
        str | None,
        Header(None, alias="If-Match", description="The ETag that the change is based on."),
    ),
)


class Answer(NamedTuple):
    body: BaseModel
    status: int = 200
    etag: str = ""


View = Callable[..., Answer]


def etag_of(body: BaseModel, *besides: str) -> str:
    """A strong ETag of what was told, ``besides`` the fields that move without a change."""
    text = body.model_dump_json(exclude=set(besides))
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:16]}"'


def must_match(request: HttpRequest, etag: str, *, required: bool = True) -> None:
    """Let a change go on that saw the newest state.

    Raises:
        GatewayError: 428 without an ``If-Match`` where one is required, 412 where it does not fit.
    """
    said = request.headers.get("If-Match", "").strip()
    if not said:
        if required:
            raise refusals.needs_if_match()
    elif said != "*" and etag not in [part.strip() for part in said.split(",")]:
        raise refusals.moved_on(etag)


def reads(view: View) -> Callable[..., HttpResponse]:
    @wraps(view)
    def read(request: HttpRequest, **given: Any) -> HttpResponse:
        said = view(request, **given)
        return _response(said.body.model_dump(mode="json"), said.status, said.etag)

    return read


def changes(view: View) -> Callable[..., HttpResponse]:
    @wraps(view)
    def change(
        request: HttpRequest,
        *,
        dry_run: bool,
        idempotency_key: str | None,
        if_match: str | None,  # documented here, compared by ``must_match``
        **given: Any,
    ) -> HttpResponse:
        key: APIKey = request.auth  # type: ignore[attr-defined] # the door left it there
        if not dry_run:
            must_write(key.id8, key.as_rules().scope)
        with transaction.atomic():
            kept = (
                None
                if dry_run or idempotency_key is None
                else _claim(request, key, idempotency_key)
            )
            if kept and kept.status:
                return _response(kept.body, kept.status, kept.etag, "x-laneway-idempotent")
            said = view(request, **given)
            body = said.body.model_dump(mode="json")
            secretless = body | ({SHOWN_ONCE: None} if SHOWN_ONCE in body else {})
            if dry_run:
                transaction.set_rollback(True)
                return _response(secretless, said.status, said.etag, "x-laneway-dry-run")
            if kept:
                kept.status, kept.etag, kept.body = said.status, said.etag, secretless
                kept.save()
        return _response(body, said.status, said.etag)

    for name, kind, source in ARGUMENTS:
        contribute_operation_args(change, name, kind, source)
    return change


def _claim(request: HttpRequest, key: APIKey, token: str) -> KeptAnswer:
    told = f"{request.method} {request.get_full_path()}\n".encode() + request.body
    fingerprint = hashlib.sha256(told).hexdigest()
    kept = KeptAnswer.objects.all().claim(key.id8, token, fingerprint, timezone.now())
    if kept.fingerprint != fingerprint:
        raise refusals.token_reused()
    return kept


def _response(body: Any, status: int, etag: str, mark: str = "") -> HttpResponse:
    response = JsonResponse(body, status=status)
    if etag:
        response["ETag"] = etag
    if mark:
        response[mark] = {"x-laneway-idempotent": "replayed"}.get(mark, "1")
    return response
