"""Tenants: list, read, make, rename, suspend, resume."""

from typing import Annotated, Literal

from django.db import IntegrityError
from django.db.models import Q
from django.http import HttpRequest
from ninja import Router
from pydantic import Field

from dashboard.accounts.actor import actor
from dashboard.api import refusals
from dashboard.api.answering import Answer, changes, etag_of, must_match, reads
from dashboard.api.shapes import NewTenant, TenantChange, Tenants, TenantShape, Why, answers
from dashboard.policies import managed
from dashboard.tenants import changes as acts
from dashboard.tenants.forms import TenantForm
from gateway.models import Tenant

router = Router(tags=["tenants"])
Text = Annotated[str, Field(max_length=200)]


@router.get("", response=answers(Tenants))
@reads
def list_tenants(
    request: HttpRequest,
    q: Text = "",
    status: Literal["active", "suspended"] | None = None,
    after: Text = "",
    limit: Annotated[int, Field(ge=1, le=500)] = 100,
) -> Answer:
    """In the order of their slugs; q is a part of the name, after is the next of the part before."""
    rows = Tenant.objects.filter(slug__gt=after.replace("\0", "")).order_by("slug")
    if q:
        asked = q.replace("\0", "")
        rows = rows.filter(Q(slug__icontains=asked) | Q(name__icontains=asked))
    if status:
        rows = rows.filter(status=status)
    found = list(rows[: limit + 1])
    part = found[:limit]
    more = part[-1].slug if len(found) > limit else None
    owners = managed.owners(managed.tenant(row.slug) for row in part)
    shapes = [TenantShape.of(row, owners.get(managed.tenant(row.slug))) for row in part]
    return Answer(Tenants(data=shapes, next=more))


@router.post("", response=answers(TenantShape, 201))
@changes
def create_tenant(request: HttpRequest, said: NewTenant) -> Answer:
    form = TenantForm(said.model_dump())
    if not form.is_valid():
        raise refusals.in_form(form)
    slug, name = form.cleaned_data["slug"], form.cleaned_data["name"]
    try:
        tenant = acts.make_tenant(request, slug, name)
    except IntegrityError:  # made by somebody else this very moment
        raise refusals.invalid("slug", "There is a tenant of this name.") from None
    managed.claim(managed.tenant(slug), managed.By.API, str(actor(request)))
    return _told(tenant, 201)


@router.get("/{slug:slug}", response=answers(TenantShape))
@reads
def get_tenant(request: HttpRequest, slug: str) -> Answer:
    return _told(tenant_of(slug))


@router.patch("/{slug:slug}", response=answers(TenantShape))
@changes
def change_tenant(request: HttpRequest, slug: str, said: TenantChange) -> Answer:
    """Rename it.  Its slug stays: policies, metrics and logs name it."""
    tenant = tenant_of(slug, to_change=True)
    must_match(request, _told(tenant).etag)
    where = managed.file_of(managed.tenant(slug))
    if where:
        raise refusals.conflict("managed_in_file", f"It is managed in {where}: rename it there.")
    form = TenantForm({"slug": slug, "name": said.name}, tenant=tenant)
    if not form.is_valid():
        raise refusals.in_form(form)
    acts.rename_tenant(request, tenant, form.cleaned_data["name"])
    return _told(tenant)


@router.post("/{slug:slug}/suspend", response=answers(TenantShape))
@changes
def suspend_tenant(request: HttpRequest, slug: str, said: Why) -> Answer:
    """All its keys are refused within a second, until it is resumed."""
    return _moved(request, slug, Tenant.Status.SUSPENDED, said.reason)


@router.post("/{slug:slug}/resume", response=answers(TenantShape))
@changes
def resume_tenant(request: HttpRequest, slug: str, said: Why) -> Answer:
    return _moved(request, slug, Tenant.Status.ACTIVE, said.reason)


def _moved(request: HttpRequest, slug: str, status: Tenant.Status, reason: str) -> Answer:
    tenant = tenant_of(slug, to_change=True)
    must_match(request, _told(tenant).etag, required=False)  # in need nobody reads first
    acts.set_tenant_status(request, tenant, status, reason)
    tenant.refresh_from_db()
    return _told(tenant)


def tenant_of(slug: str, *, to_change: bool = False) -> Tenant:
    """The tenant, locked until the transaction's end where it is about to change."""
    rows = Tenant.objects.select_for_update() if to_change else Tenant.objects.all()
    tenant = rows.filter(slug=slug).first()
    if tenant is None:
        raise refusals.not_there("tenant", slug)
    return tenant


def _told(tenant: Tenant, status: int = 200) -> Answer:
    shape = TenantShape.of(tenant, managed.owner(managed.tenant(tenant.slug)))
    return Answer(shape, status, etag_of(shape))
