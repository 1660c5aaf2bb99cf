"""A key's life: made and shown once, edited, rotated, switched off and on, revoked."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from dashboard.accounts import permissions as may
from dashboard.accounts.gate import form_page, open_in_tenant
from dashboard.tenants import changes
from dashboard.tenants.changes import Status
from dashboard.tenants.forms import EditKeyForm, NewKeyForm, ReasonForm, RotateForm
from dashboard.tenants.snippets import snippets
from dashboard.tenants.states import may_end_now, state_of
from dashboard.tenants.views import DAY, show_form
from gateway import newest
from gateway.core.policy import KeyRules
from gateway.models import AlreadyRotated, APIKey, KeyNetwork, PolicyVersion, Tenant, UsageRecord

TAKEN = "Another key of that name came into use meanwhile."
ACTIONS: dict[str, Status] = {"disable": "disabled", "enable": "active", "revoke": "revoked"}


@open_in_tenant(may.may_issue_keys)
@never_cache
@form_page
def new(request: HttpRequest, tenant: Tenant) -> HttpResponse:
    form = NewKeyForm(
        request.POST or None,
        may_make_admin=may.may_manage_tenants(request.user),
        **_about(request, tenant),
    )
    if request.method == "POST" and form.is_valid():
        said = form.cleaned_data
        try:
            key, whole = changes.issue_key(
                request,
                tenant,
                name=said["name"],
                service=said["service"].strip(),
                kind=said.get("kind", "live"),
                rules=form.rules(KeyRules()),
                expires_at=form.expires_at(timezone.now()),
            )
        except IntegrityError:
            form.add_error("name", TAKEN)
        else:
            return _shown_once(request, key, whole)
    return show_form(request, "tenants/key_new.html", {"form": form, "tenant": tenant})


@open_in_tenant(may.may_issue_keys)
@form_page
def edit(request: HttpRequest, tenant: Tenant, id8: str) -> HttpResponse:
    key = _own_key(request, tenant, id8)
    if key.status == APIKey.Status.REVOKED:
        messages.error(request, f"{key.id8} is revoked: nothing of it can change.")
        return redirect("tenant:page", tenant.slug)
    form = EditKeyForm(request.POST or None, key=key, **_about(request, tenant))
    if request.method == "POST" and form.is_valid():
        try:
            changes.edit_key(request, key, form.columns(), form.cleaned_data["seen"])
        except IntegrityError:
            form.add_error("name", TAKEN)
        except changes.Moved:
            form.say_what_moved(_own_key(request, tenant, id8))
            context = {"form": form, "tenant": tenant, "key": key}
            return render(request, "tenants/key_edit.html", context, status=409)
        else:
            messages.success(request, f"{key.id8} is changed, in force within 1 s.")
            return redirect("tenant:page", tenant.slug)
    return show_form(request, "tenants/key_edit.html", {"form": form, "tenant": tenant, "key": key})


@open_in_tenant(may.may_issue_keys)
@never_cache
@form_page
def rotate(request: HttpRequest, tenant: Tenant, id8: str) -> HttpResponse:
    key = _own_key(request, tenant, id8)
    if key.rotated_at or key.status != APIKey.Status.ACTIVE:
        messages.error(
            request, f"{key.id8} has a successor or is out of use: it cannot be rotated."
        )
        return redirect("tenant:page", tenant.slug)
    form = RotateForm(request.POST or None, key=key)
    if request.method == "POST" and form.is_valid():
        said = form.cleaned_data
        try:
            successor, whole = changes.rotate_key(
                request, key, said["overlap"], said["name"], timezone.now()
            )
        except IntegrityError:
            form.add_error("name", TAKEN)
        except AlreadyRotated as error:
            messages.error(request, str(error))
            return redirect("tenant:page", tenant.slug)
        else:
            return _shown_once(request, successor, whole)
    context = {"form": form, "tenant": tenant, "key": key, "used": _used(tenant, key)}
    return show_form(request, "tenants/key_rotate.html", context)


@open_in_tenant(may.may_revoke)
@form_page
def change(request: HttpRequest, tenant: Tenant, id8: str, action: str) -> HttpResponse:
    """Disable, enable, revoke.  Who may only revoke finds no page for the other two."""
    status = ACTIONS[action]
    if action == "revoke":
        key = _key(tenant, id8)
    elif may.may_issue_keys(request.user, tenant):
        key = _own_key(request, tenant, id8)
    else:
        raise PermissionDenied
    form = ReasonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        if changes.set_key_status(request, key, status, form.cleaned_data["reason"]):
            done = {"disable": "disabled", "enable": "in use again", "revoke": "revoked"}[action]
            messages.success(request, f"{key.id8} is {done}, on every worker within 1 s.")
        return redirect("tenant:page", tenant.slug)
    context = {
        "form": form,
        "tenant": tenant,
        "key": key,
        "action": action,
        "state": state_of(key, timezone.now()),
        "used": _used(tenant, key),
    }
    return show_form(request, "tenants/key_change.html", context)


@open_in_tenant(may.may_see_tenant)
@require_safe
def uses(request: HttpRequest, tenant: Tenant, id8: str) -> HttpResponse:
    """Who still uses a key: from where and for what, in the last day."""
    key, now = _key(tenant, id8), timezone.now()
    context = {
        "tenant": tenant,
        "key": key,
        "state": state_of(key, now),
        "uses": UsageRecord.objects.since(now - DAY).uses_of_key(tenant, id8),
        "networks": KeyNetwork.objects.all().of_key(id8).since(now - DAY),
        "retiring": key.retires_at is not None and key.retires_at > now,
        "may_end_now": may_end_now(key, now),
        "may_revoke": may.may_revoke(request.user, tenant),
    }
    return render(request, "tenants/key_uses.html", context)


@open_in_tenant(may.may_issue_keys)
@never_cache
@require_safe
def first_request(request: HttpRequest, tenant: Tenant, id8: str) -> HttpResponse:
    """What came with a key so far; the page asks again until it was answered with 200."""
    key = _key(tenant, id8)
    return render(request, "tenants/_first_request.html", _first(tenant, key))


def _first(tenant: Tenant, key: APIKey) -> dict[str, Any]:
    return {"tenant": tenant, "key": key, "newest": _used(tenant, key)}


def _used(tenant: Tenant, key: APIKey) -> UsageRecord | None:
    return UsageRecord.objects.all().latest_of_key(tenant, key.id8)


def _served() -> tuple[str, ...]:
    """The models there are now, so that the snippets run as they are copied."""
    frame = newest.frame()
    return tuple(model for pool in frame.pools for model in pool.models) if frame else ()


def _shown_once(request: HttpRequest, key: APIKey, whole: str) -> HttpResponse:
    """The answer to the form itself: no redirect, for nothing keeps the key that one could lead to."""
    address = request.build_absolute_uri("/v1")
    context = {
        "tenant": key.tenant,
        "key": key,
        "whole": whole,
        "snippets": snippets(whole, address, key.as_rules().models or _served()),
        "is_live": key.kind == APIKey.Kind.LIVE,
        "newest": None,
    }
    return render(request, "tenants/key_shown.html", context)


def _key(tenant: Tenant, id8: str) -> APIKey:
    """By its own tenant alone: another tenant's key is not there."""
    key = tenant.keys.filter(id8=id8).first()
    if key is None:
        raise Http404("There is no such key.")
    return key


def _own_key(request: HttpRequest, tenant: Tenant, id8: str) -> APIKey:
    """An admin key sees all tenants: in whose tenant it stands, there it is only to be revoked."""
    key = _key(tenant, id8)
    if key.kind == APIKey.Kind.ADMIN and not may.may_manage_tenants(request.user):
        raise PermissionDenied
    return key


def _about(request: HttpRequest, tenant: Tenant) -> dict[str, Any]:
    address = request.META.get("REMOTE_ADDR", "")
    return {"tenant": tenant, "policy": PolicyVersion.objects.newest_policy(), "address": address}
