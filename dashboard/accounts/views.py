"""A password of one's own, and the page everybody starts at."""

from typing import Any

from allauth.usersessions.models import UserSession
from django.contrib.auth.forms import PasswordChangeForm
from django.contrib.auth.models import User
from django.contrib.auth.views import PasswordChangeView
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse_lazy
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_safe

from dashboard.accounts.gate import open_to
from dashboard.accounts.permissions import Person, may_see_tenants, may_watch, visible_tenants
from dashboard.audit.log import record


def has_a_role(person: Person) -> bool:
    return may_watch(person) or may_see_tenants(person)


@open_to(has_a_role)
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """The live page; for a tenant's people their tenant."""
    if may_watch(request.user):
        return redirect("live:page")
    own = visible_tenants(request.user)[:2]
    return redirect("tenant:page", own[0].slug) if len(own) == 1 else redirect("tenants:page")


class OwnPassword(PasswordChangeView):
    template_name = "accounts/password.html"
    form_class = PasswordChangeForm
    success_url = reverse_lazy("home")

    def get_success_url(self) -> str:
        wanted = self.request.POST.get("next", "")
        here = {self.request.get_host()}
        safe = url_has_allowed_host_and_scheme(wanted, here, self.request.is_secure())
        return wanted if wanted and safe else str(self.success_url)

    @transaction.atomic
    def form_valid(self, form: Any) -> HttpResponse:
        answer = super().form_valid(form)
        UserSession.objects.create_from_request(self.request)  # this one has a new name now
        person = self.request.user
        assert isinstance(person, User)
        record(
            person,
            "person.password_changed",
            f"person:{person.get_username()}",
            request=self.request,
        )
        return answer
