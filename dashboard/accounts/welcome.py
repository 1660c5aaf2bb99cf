"""What a one-time link opens: choose a password, and one is in."""

from allauth.account.utils import perform_login
from django.contrib.auth.forms import SetPasswordForm
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from dashboard.accounts import links
from dashboard.accounts.gate import open_to_all
from dashboard.audit.log import record


@open_to_all
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def welcome(request: HttpRequest, token: str) -> HttpResponse:
    """Looking uses nothing up: mail programs look at links before people do."""
    link = links.find(token, timezone.now())
    if link is None:
        return render(request, "accounts/used_up.html", status=404)
    person = link.user
    form: SetPasswordForm[User] = SetPasswordForm(person, request.POST or None)
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            if not links.use(link):  # sent twice at once, or replaced by a newer link
                return render(request, "accounts/used_up.html", status=404)
            form.save()
            record(
                person,
                "person.password_changed",
                f"person:{person.get_username()}",
                reason="by a one-time link",
                request=request,
            )
        answer: HttpResponse = perform_login(request, person, redirect_url="/")
        return answer
    status = 422 if form.is_bound else 200
    return render(request, "accounts/welcome.html", {"form": form, "person": person}, status=status)
