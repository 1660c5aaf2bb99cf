"""Anyone who holds a key can revoke it, signed in or not: who finds one must not look for a person."""

from django import forms
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods

from dashboard.accounts.gate import open_to_all
from dashboard.accounts.keys import proven
from dashboard.tenants import changes
from gateway.errors import GatewayError
from gateway.models import APIKey

TRIES, WINDOW_S = 20, 60  # of one address
UNKNOWN = "No key reads like this. Paste the whole of it, from lw_ on."


class RevokeForm(forms.Form):
    """The key, whose page never shows it again: not even after an error."""

    key = forms.CharField(
        label="The key",
        max_length=200,
        strip=True,
        widget=forms.PasswordInput(
            attrs={"autocomplete": "off", "spellcheck": "false", "placeholder": "lw_live_…"}
        ),
        help_text="It is checked and forgotten: it is neither kept, logged nor shown.",
    )

    @sensitive_variables()
    def clean(self) -> None:
        self.row: APIKey | None = None
        try:
            self.row = proven(self.cleaned_data["key"]) if "key" in self.cleaned_data else None
        except GatewayError:
            self.add_error("key", UNKNOWN)


@open_to_all
@never_cache
@csrf_protect
@sensitive_post_parameters("key")
@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest) -> HttpResponse:
    if request.method == "POST" and not _may_try(request):
        answer = render(request, "tenants/revoke.html", {"form": RevokeForm(), "slow": True})
        answer.status_code, answer["Retry-After"] = 429, str(WINDOW_S)
        return answer
    form = RevokeForm(request.POST or None)
    if request.method == "POST" and form.is_valid() and form.row is not None:
        done = changes.give_up_key(request, form.row)
        return render(request, "tenants/revoke.html", {"key": form.row, "done": done})
    status = 422 if request.method == "POST" else 200
    return render(request, "tenants/revoke.html", {"form": form}, status=status)


def _may_try(request: HttpRequest) -> bool:
    """A key cannot be guessed; this spares the database."""
    counter = f"laneway.revoke.{request.META.get('REMOTE_ADDR', '')}"
    if cache.add(counter, 1, WINDOW_S):
        return True
    try:
        return bool(cache.incr(counter) <= TRIES)
    except ValueError:  # it ran out in between
        return True
