"""What allauth asks of the site when somebody signs in with a password or a passkey."""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context
from django.http import HttpRequest
from django.utils.http import url_has_allowed_host_and_scheme

from dashboard.accounts.confirming import confirmed_lately

WRONG = "This name and this password do not belong together."


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    error_messages = DefaultAccountAdapter.error_messages | {
        "username_password_mismatch": WRONG,
        "email_password_mismatch": WRONG,
        "incorrect_password": "That is not your password.",
        "too_many_login_attempts": "Too many wrong attempts. Try again in five minutes.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False  # people are invited

    def is_safe_url(self, url: str) -> bool:
        """Of this very site, not of another of its names."""
        request = context.request
        return url_has_allowed_host_and_scheme(
            url, {request.get_host()}, require_https=request.is_secure()
        )

    def is_reauthentication_required(self, *, app: str, **_: Any) -> bool:
        return not confirmed_lately(context.request)

    def add_message(
        self,
        request: HttpRequest,
        level: int,
        message_template: str | None = None,
        message_context: dict[str, Any] | None = None,
        extra_tags: str = "",
        message: str | None = None,
    ) -> None:
        """What went wrong, in a message.  That one has signed in can be seen."""
        super().add_message(request, level, message=message, extra_tags=extra_tags)
