"""People: who they are, what they may, and what becomes of them.  For the security role alone.

Nobody changes what they may themselves, and a superuser only another one: else whoever resets
their sign-in could become them.  For the last one there is ``createadmin --reset``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import IntegrityError, transaction
from django.db.models import Prefetch, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from dashboard.accounts import changes
from dashboard.accounts.gate import form_page, open_to
from dashboard.accounts.models import Membership
from dashboard.accounts.people_forms import InviteForm, MemberForm, RolesForm
from dashboard.accounts.permissions import may_change_person, may_manage_people
from dashboard.accounts.roles import GUARDED, ROLES
from dashboard.tenants import changes as tenant_changes
from dashboard.tenants.forms import ReasonForm

PER_PAGE = 50


class Act(NamedTuple):
    title: str
    meaning: str
    button: str
    do: Callable[[HttpRequest, User, str], bool]
    done: str


ACTS = {
    "off": Act(
        "Switch {} off?",
        "Every session ends now, and no sign-in works. Nothing is deleted; switching on takes it back.",
        "Switch off",
        lambda request, person, reason: changes.switch(request, person, False, reason),
        "{} is switched off.",
    ),
    "on": Act(
        "Switch {} on again?",
        "They sign in as before, with the roles and tenants that they had.",
        "Switch on",
        lambda request, person, reason: changes.switch(request, person, True, reason),
        "{} may sign in again.",
    ),
    "reset": Act(
        "Reset the second factor of {}?",
        "For a lost phone: their app, passkeys and recovery codes open nothing any more, and every session "
        "ends. Be sure that it is them who asks. The password alone signs in then; admin and security "
        "rest until there is a new factor.",
        "Reset it",
        changes.reset_factors,
        "{} has no second factor any more.",
    ),
    "end": Act(
        "End all sessions of {}?",
        "They are signed out everywhere and may sign in again.",
        "End them",
        changes.end_sessions,
        "{} is signed out everywhere.",
    ),
}


@open_to(may_manage_people)
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    asked = request.GET.get("q", "").strip().replace("\0", "")
    rows = _people()
    if asked:
        rows = rows.filter(Q(username__icontains=asked) | Q(email__icontains=asked))
    part = Paginator(rows, PER_PAGE).get_page(request.GET.get("page"))
    lines = [_told(person) for person in part]
    return render(request, "people/list.html", {"part": part, "lines": lines, "asked": asked})


@open_to(may_manage_people)
@never_cache
@form_page
def invite(request: HttpRequest) -> HttpResponse:
    form = InviteForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        said = form.cleaned_data
        try:
            with transaction.atomic():
                person = changes.invite(request, said["name"], said["mail"], said["roles"])
                if said["tenant"]:
                    tenant_changes.set_member(request, said["tenant"], person, said["tenant_role"])
                link = changes.give_link(request, person)
        except IntegrityError:  # the same form arrived twice at once
            form.add_error("name", "There is somebody of this name.")
        else:
            return _shown_once(request, person, link)
    return _form(request, "people/invite.html", {"form": form})


@open_to(may_manage_people)
@require_safe
def one(request: HttpRequest, name: str) -> HttpResponse:
    return render(request, "people/person.html", _context(request, _person(name)))


@open_to(may_manage_people)
@require_POST
def roles(request: HttpRequest, name: str) -> HttpResponse:
    person = _other(request, name)
    form = RolesForm(request.POST)
    if not form.is_valid():
        return _form(request, "people/person.html", _context(request, person) | {"form": form})
    try:
        changed = changes.set_roles(
            request, person, form.cleaned_data["roles"], seen=form.cleaned_data["seen"]
        )
    except changes.Moved:
        context = _context(request, person)
        seen = context["form"].initial["seen"]  # saved again, it counts
        form.data = {"roles": form.cleaned_data["roles"], "seen": seen}
        form.add_error("roles", f"Somebody changed them meanwhile: {context['told']} at present.")
        return render(request, "people/person.html", context | {"form": form}, status=409)
    if changed:
        messages.success(request, f"{name} has the roles you chose, from now on.")
    return redirect("people:one", name)


@open_to(may_manage_people)
@require_POST
def member_add(request: HttpRequest, name: str) -> HttpResponse:
    person = _other(request, name)
    form = MemberForm(request.POST, about="person")
    if not form.is_valid():
        context = _context(request, person) | {"member_form": form}
        return _form(request, "people/person.html", context)
    tenant = form.cleaned_data["tenant"]
    tenant_changes.set_member(request, tenant, person, form.cleaned_data["role"])
    messages.success(request, f"{name} belongs to {tenant.name}.")
    return redirect("people:one", name)


@open_to(may_manage_people)
@require_POST
def member_remove(request: HttpRequest, name: str, slug: str) -> HttpResponse:
    row = Membership.objects.filter(user=_other(request, name), tenant__slug=slug).first()
    if row is not None:
        tenant_changes.remove_member(request, row)
        messages.success(request, f"{name} no longer belongs to {row.tenant.name}.")
    return redirect("people:one", name)


@open_to(may_manage_people)
@form_page
def act(request: HttpRequest, name: str, act: str) -> HttpResponse:
    person, chosen = _other(request, name), ACTS[act]
    form = ReasonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        if chosen.do(request, person, form.cleaned_data["reason"]):
            messages.success(request, chosen.done.format(name))
        return redirect("people:one", name)
    context = {"form": form, "person": person, "act": chosen, "title": chosen.title.format(name)}
    return _form(request, "people/act.html", context)


@open_to(may_manage_people)
@never_cache
@require_POST
def link(request: HttpRequest, name: str) -> HttpResponse:
    """A new one-time link: the invitation again, or a way to choose a new password."""
    person = _other(request, name)
    return _shown_once(request, person, changes.give_link(request, person))


def _shown_once(request: HttpRequest, person: User, link: str) -> HttpResponse:
    """The answer to the form itself: no redirect, for nothing keeps the link that one could lead to."""
    return render(request, "people/link.html", {"person": person, "link": link})


def _context(request: HttpRequest, person: User) -> dict[str, Any]:
    line = _told(person)
    told = changes.told(line["roles"])
    return {
        **line,
        "form": RolesForm(initial={"roles": line["roles"], "seen": told}),
        "told": told,
        "member_form": MemberForm(about="person"),
        "sessions": UserSession.objects.filter(user=person).count(),
        "is_self": person.pk == request.user.pk,
        "may_change": may_change_person(request.user, person),
    }


def _people() -> Any:
    parts = Membership.objects.select_related("tenant")
    return (
        User.objects.select_related("one_time_link")
        .order_by("username")
        .prefetch_related(
            "groups",
            Prefetch("tenant_memberships", parts),
            Prefetch("authenticator_set", Authenticator.objects.exclude(type="recovery_codes")),
            Prefetch("socialaccount_set", SocialAccount.objects.all()),
        )
    )


def _told(person: Any) -> dict[str, Any]:
    roles = sorted(
        (group.name for group in person.groups.all() if group.name in ROLES), key=ROLES.index
    )
    factors = {factor.type for factor in person.authenticator_set.all()}
    named = [word for kind, word in (("totp", "app"), ("webauthn", "passkey")) if kind in factors]
    link = getattr(person, "one_time_link", None)
    guarded = settings.LANEWAY_REQUIRE_MFA and bool({*roles} & {*GUARDED})
    return {
        "person": person,
        "roles": roles,
        "memberships": person.tenant_memberships.all(),
        "factors": named,
        "by_provider": bool(person.socialaccount_set.all()),
        "rests": guarded and not named and person.has_usable_password(),
        "link_until": link.expires_at if link and link.expires_at > timezone.now() else None,
    }


def _person(name: str) -> Any:
    return get_object_or_404(_people(), username=name.replace("\0", ""))


def _other(request: HttpRequest, name: str) -> Any:
    """Somebody whom this person may change."""
    person = _person(name)
    if not may_change_person(request.user, person):
        raise PermissionDenied
    return person


def _form(request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    return render(request, template, context, status=422 if request.method == "POST" else 200)
