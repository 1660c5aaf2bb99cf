"""Keys: list, read, issue, rotate, change, disable, enable, revoke."""

from datetime import timedelta
from typing import Any

from django.db import IntegrityError
from django.http import HttpRequest
from django.utils import timezone
from ninja import Router

from dashboard.api import refusals
from dashboard.api.answering import Answer, changes, etag_of, must_match, reads
from dashboard.api.shapes import (
    IssuedKey,
    KeyRulesChange,
    Keys,
    KeyShape,
    NewKey,
    Rotation,
    Why,
    answers,
)
from dashboard.api.tenants import tenant_of
from dashboard.tenants import changes as acts
from dashboard.tenants.changes import FROM, Status
from dashboard.tenants.forms import NEVER, EditKeyForm, NewKeyForm, RotateForm
from gateway.core.policy import KeyRules
from gateway.models import AlreadyRotated, APIKey, PolicyVersion, Tenant

router = Router(tags=["keys"])
NAMES = {"term": "valid_days", "overlap": "overlap_hours", "__all__": "expires_on"}
LINES = ("models", "networks")  # the forms take them line by line
TAKEN = "Another key of that name is in use."


@router.get("/tenants/{slug:slug}/keys", response=answers(Keys))
@reads
def list_keys(request: HttpRequest, slug: str) -> Answer:
    rows = tenant_of(slug).keys.by_service().select_related("tenant", "replaces")
    return Answer(Keys(data=[KeyShape.of(key) for key in rows]))


@router.post("/tenants/{slug:slug}/keys", response=answers(IssuedKey, 201))
@changes
def issue_key(request: HttpRequest, slug: str, said: NewKey) -> Answer:
    """The answer shows the whole key; nothing else ever does."""
    tenant = tenant_of(slug, to_change=True)
    _refuse_scope(said.scope if said.scope == "write" else None, said.kind)
    values = said.model_dump(exclude={"valid_days", "ceiling"})
    values["term"] = NEVER if said.valid_days is None else str(said.valid_days)
    values["ceiling"] = 10 if said.ceiling is None else said.ceiling
    form = NewKeyForm(_typed(values), may_make_admin=True, **_about(tenant))
    if not form.is_valid():
        raise refusals.in_form(form, NAMES)
    try:
        key, whole = acts.issue_key(
            request,
            tenant,
            name=form.cleaned_data["name"],
            service=form.cleaned_data["service"].strip(),
            kind=said.kind,
            rules=form.rules(KeyRules()),
            expires_at=form.expires_at(timezone.now()),
        )
    except IntegrityError:
        raise refusals.invalid("name", TAKEN) from None
    return _issued(key, whole)


@router.get("/keys/{slug:id8}", response=answers(KeyShape))
@reads
def get_key(request: HttpRequest, id8: str) -> Answer:
    return _told(_key(id8))


@router.patch("/keys/{slug:id8}", response=answers(KeyShape))
@changes
def change_key(request: HttpRequest, id8: str, said: KeyRulesChange) -> Answer:
    key = _key(id8, to_change=True)
    must_match(request, _told(key).etag)
    if key.status == APIKey.Status.REVOKED:
        raise _revoked(key)
    _refuse_scope(said.scope, key.kind)
    empty = {name: "" for name in said.model_fields_set if getattr(said, name) is None}
    wrong = next((name for name in empty if name != "expires_on"), None)
    if wrong:
        raise refusals.invalid(wrong, "Leave it out to keep it; it cannot be null.")
    initial = dict(EditKeyForm(key=key, **_about(key.tenant)).initial)
    values = initial | _typed(said.model_dump(exclude_unset=True)) | empty
    form = EditKeyForm(values, key=key, **_about(key.tenant))
    if not form.is_valid():
        raise refusals.in_form(form, NAMES)
    try:
        acts.edit_key(request, key, form.columns())
    except IntegrityError:
        raise refusals.invalid("name", TAKEN) from None
    return _told(_key(id8))


@router.post("/keys/{slug:id8}/rotate", response=answers(IssuedKey, 201))
@changes
def rotate_key(request: HttpRequest, id8: str, said: Rotation) -> Answer:
    """A successor with the same rights, which works at once; its field replaces names the old key."""
    key = _key(id8, to_change=True)
    must_match(request, _told(key).etag, required=False)
    values = {"overlap": str(said.overlap_hours), "name": said.name}
    if said.name is None:
        values["name"] = RotateForm(key=key).initial["name"]
    form = RotateForm(values, key=key)
    if not form.is_valid():
        raise refusals.in_form(form, NAMES)
    overlap = timedelta(hours=said.overlap_hours)
    try:
        successor, whole = acts.rotate_key(
            request, key, overlap, form.cleaned_data["name"], timezone.now()
        )
    except IntegrityError:
        raise refusals.invalid("name", TAKEN) from None
    except AlreadyRotated as error:
        raise refusals.conflict("key_out_of_use", f"{error} Issue a key instead.") from None
    return _issued(successor, whole)


@router.post("/keys/{slug:id8}/disable", response=answers(KeyShape))
@changes
def disable_key(request: HttpRequest, id8: str, said: Why) -> Answer:
    return _moved(request, id8, "disabled", said.reason)


@router.post("/keys/{slug:id8}/enable", response=answers(KeyShape))
@changes
def enable_key(request: HttpRequest, id8: str, said: Why) -> Answer:
    return _moved(request, id8, "active", said.reason)


@router.post("/keys/{slug:id8}/revoke", response=answers(KeyShape))
@changes
def revoke_key(request: HttpRequest, id8: str, said: Why) -> Answer:
    """For good, on every worker within a second."""
    return _moved(request, id8, "revoked", said.reason)


def _moved(request: HttpRequest, id8: str, status: Status, reason: str) -> Answer:
    """Already so is done, too."""
    key = _key(id8, to_change=True)
    must_match(request, _told(key).etag, required=False)  # in need nobody reads first
    if key.status not in (status, *FROM[status]):
        raise _revoked(key)
    acts.set_key_status(request, key, status, reason)
    return _told(_key(id8))


def _key(id8: str, *, to_change: bool = False) -> APIKey:
    rows = APIKey.objects.select_related("tenant", "replaces")
    if to_change:
        rows = rows.select_for_update(of=("self",))
    key = rows.filter(id8=id8).first()
    if key is None:
        raise refusals.not_there("key", id8)
    return key


def _refuse_scope(scope: str | None, kind: str) -> None:
    if scope and kind != APIKey.Kind.ADMIN:
        raise refusals.invalid("scope", "Only an admin key has one.")


def _revoked(key: APIKey) -> Exception:
    return refusals.conflict("key_revoked", f"{key.id8} is revoked for good. Issue another key.")


def _told(key: APIKey) -> Answer:
    shape = KeyShape.of(key)
    return Answer(shape, etag=etag_of(shape, "last_used_at"))


def _issued(key: APIKey, whole: str) -> Answer:
    return Answer(IssuedKey(**KeyShape.of(key).model_dump(), key=whole), 201, _told(key).etag)


def _typed(values: dict[str, Any]) -> dict[str, Any]:
    """As the pages' forms take it."""
    return {
        name: "\n".join(value) if name in LINES and value is not None else value
        for name, value in values.items()
    }


def _about(tenant: Tenant) -> dict[str, Any]:
    return {"tenant": tenant, "policy": PolicyVersion.objects.newest_policy(), "address": ""}
