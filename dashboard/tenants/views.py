"""The list of tenants, one tenant's page, and what is done to a tenant as a whole."""

from datetime import timedelta
from typing import Any, NamedTuple

from django.contrib import messages
from django.core.paginator import Paginator
from django.db import IntegrityError
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from dashboard.accounts import permissions as may
from dashboard.accounts.gate import form_page, open_in_tenant, open_to
from dashboard.accounts.models import Invitation, Membership
from dashboard.accounts.people_forms import InvitedForm, MemberForm
from dashboard.policies import managed
from dashboard.tenants import changes
from dashboard.tenants.forms import SuspendForm, TenantForm
from dashboard.tenants.states import KeyState, may_end_now, state_of
from gateway.core.policy import KeyRules, Policy, TenantRules, Tier
from gateway.models import APIKey, GatewayState, PolicyVersion, Revision, Tenant, UsageRecord

PER_PAGE = 50
DAY = timedelta(hours=24)


class KeyLine(NamedTuple):
    key: APIKey
    state: KeyState
    rules: KeyRules
    at_most: Tier | None  # None: as the tenant
    requests: int
    may_end_now: bool


@open_to(may.may_see_tenants)
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    asked = request.GET.get("q", "").strip().replace("\0", "")
    status = request.GET.get("status", "")
    rows = may.visible_tenants(request.user)
    if asked:
        rows = rows.filter(Q(slug__icontains=asked) | Q(name__icontains=asked) | Q(keys__id8=asked))
    if status in Tenant.Status.values:
        rows = rows.filter(status=status)
    in_use = Count("keys", filter=Q(keys__status=APIKey.Status.ACTIVE), distinct=True)
    shown = Paginator(rows.annotate(keys_in_use=in_use).order_by("slug").distinct(), PER_PAGE)
    part = shown.get_page(request.GET.get("page"))
    used = UsageRecord.objects.since(timezone.now() - DAY).of_tenants(list(part))
    context = {
        "part": part,
        "requests": used.requests_by_tenant(),
        "asked": asked,
        "status": status,
        "may_manage": may.may_manage_tenants(request.user),
        "may_see_all": may.may_see_all_tenants(request.user),
    }
    fragment = request.headers.get("HX-Target") == "tenants"
    return render(request, "tenants/_list.html" if fragment else "tenants/list.html", context)


@open_to(may.may_manage_tenants)
@form_page
def new(request: HttpRequest) -> HttpResponse:
    form = TenantForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        said = form.cleaned_data
        try:
            tenant = changes.make_tenant(request, said["slug"], said["name"])
        except IntegrityError:  # the same form arrived twice at once
            form.add_error("slug", "There is a tenant of this name.")
        else:
            messages.success(request, f"{tenant.name} is there. Its next need is a key.")
            return redirect("tenant:page", tenant.slug)
    return show_form(request, "tenants/new.html", {"form": form})


@open_in_tenant(may.may_see_tenant)
@require_safe
def tenant_page(request: HttpRequest, tenant: Tenant) -> HttpResponse:
    return render(request, "tenants/tenant.html", tenant_context(request, tenant))


def tenant_context(request: HttpRequest, tenant: Tenant) -> dict[str, Any]:
    now, person = timezone.now(), request.user
    policy = PolicyVersion.objects.newest_policy()
    used = UsageRecord.objects.of_tenants([tenant]).since(now - DAY).requests_by_key()
    keys = tenant.keys.by_service().select_related("replaces")
    may_manage_members = may.may_manage_members(person, tenant)
    return {
        "tenant": tenant,
        "managed": managed.owner(managed.tenant(tenant.slug)),
        "lines": [_line(key, policy, used.get(key.id8, 0), tenant, now) for key in keys],
        "rules": policy.tenants.get(tenant.slug, TenantRules()),
        "default_tier": _default_tier(policy, tenant),
        "ceiling_tier": _ceiling_tier(policy, tenant),
        "requests_in_a_day": sum(used.values()),
        "members": tenant.memberships.select_related("user"),
        "invited": tenant.invitations.open(now) if may_manage_members else (),
        "member_form": _member_form(request) if may_manage_members else None,
        "may_manage": may.may_manage_tenants(person),
        "may_manage_members": may_manage_members,
        "may_issue": may.may_issue_keys(person, tenant),
        "may_revoke": may.may_revoke(person, tenant),
        "may_audit": may.may_read_audit_of(person, tenant),
        **_in_force(Revision.current()),
    }


@open_to(may.may_see_tenants)
@require_safe
def in_force(request: HttpRequest) -> HttpResponse:
    """On how many gateways a change holds; a page that shows it asks each second until on all."""
    said = request.GET.get("revision", "")
    number = int(said) if said.isascii() and said.isdecimal() and len(said) < 18 else 0
    return render(request, "tenants/_in_force.html", _in_force(number))


def _in_force(revision: int) -> dict[str, Any]:
    reached = GatewayState.objects.all().of_revision(revision, timezone.now())
    return {"revision": revision, "in_force": reached}


@open_in_tenant(may.may_suspend)
@form_page
def suspend(request: HttpRequest, tenant: Tenant) -> HttpResponse:
    form = SuspendForm(request.POST or None, tenant=tenant)
    if request.method == "POST" and form.is_valid():
        reason = form.cleaned_data["reason"]
        changes.set_tenant_status(request, tenant, Tenant.Status.SUSPENDED, reason)
        messages.success(request, f"{tenant.name} is suspended: its keys are refused within 1 s.")
        return redirect("tenant:page", tenant.slug)
    active = tenant.keys.filter(status=APIKey.Status.ACTIVE).count()
    context = {"form": form, "tenant": tenant, "active": active}
    return show_form(request, "tenants/suspend.html", context)


@open_in_tenant(may.may_suspend)
@require_POST
def resume(request: HttpRequest, tenant: Tenant) -> HttpResponse:
    reason = request.POST.get("reason", "")
    if changes.set_tenant_status(request, tenant, Tenant.Status.ACTIVE, reason):
        messages.success(request, f"{tenant.name} is served again.")
    return redirect("tenant:page", tenant.slug)


@open_in_tenant(may.may_manage_members)
@require_POST
def add_member(request: HttpRequest, tenant: Tenant) -> HttpResponse:
    form = _member_form(request, request.POST)
    own = (request.user, request.user.get_username())
    if form.is_valid() and form.cleaned_data["person"] in own:
        form.add_error("person", "That is you: somebody else gives you a role.")
    if form.is_valid():
        person, role = form.cleaned_data["person"], form.cleaned_data["role"]
        told = f"{person} belongs to {tenant.name}."
        if not isinstance(person, str):
            changes.set_member(request, tenant, person, role)
        elif changes.invite_member(request, tenant, person, role):
            told = f"{person} is invited: whoever signs in with this name belongs to {tenant.name}."
        messages.success(request, told)
        return redirect("tenant:page", tenant.slug)
    return show_form(
        request, "tenants/tenant.html", tenant_context(request, tenant) | {"member_form": form}
    )


@open_in_tenant(may.may_manage_members)
@require_POST
def remove_member(request: HttpRequest, tenant: Tenant, name: str) -> HttpResponse:
    name = name.replace("\0", "")
    row = Membership.objects.filter(tenant=tenant, user__username=name).first()
    invited = Invitation.objects.filter(tenant=tenant, name=name).first()
    if invited is not None:
        changes.take_invitation_back(request, invited)
        messages.success(request, f"{name} is not invited any more.")
    if row is not None:
        changes.remove_member(request, row)
        messages.success(request, f"{name} no longer belongs to {tenant.name}.")
    return redirect("tenant:page", tenant.slug)


def _member_form(request: HttpRequest, post: QueryDict | None = None) -> MemberForm:
    """Whoever may see all people gives a part at once; the others invite a name."""
    if may.may_manage_people(request.user):
        return MemberForm(post, about="tenant")
    return InvitedForm(post)


def _line(key: APIKey, policy: Policy, requests: int, tenant: Tenant, now: Any) -> KeyLine:
    key.tenant = tenant  # known, so it needs no query a key
    rules = key.as_rules()
    most = policy.by_urgency[0].priority
    at_most = policy.tier_at(rules.ceiling) if rules.ceiling < most else None
    return KeyLine(key, state_of(key, now), rules, at_most, requests, may_end_now(key, now))


def _default_tier(policy: Policy, tenant: Tenant) -> Tier | None:
    rules = policy.tenants.get(tenant.slug)
    return policy.tier((rules.default_tier if rules else None) or policy.default_tier)


def _ceiling_tier(policy: Policy, tenant: Tenant) -> Tier | None:
    """The most urgent one that its ceiling leaves; None: it is below every tier."""
    ceiling = policy.tenants.get(tenant.slug, TenantRules()).ceiling
    return next((tier for tier in policy.by_urgency if tier.priority <= ceiling), None)


def show_form(request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    """A form that was sent and comes back has errors: 422, so that no client takes it for done."""
    return render(request, template, context, status=422 if request.method == "POST" else 200)
