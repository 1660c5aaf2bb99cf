"""allauth's passkey forms, made to refuse what is no passkey: they trust its shape to be right."""

import struct
from typing import Any

from allauth.mfa.adapter import get_adapter
from allauth.mfa.webauthn import forms

DAMAGED = (AssertionError, AttributeError, LookupError, TypeError, ValueError, struct.error)


class _Careful:
    def clean_credential(self) -> Any:
        try:
            return super().clean_credential()  # type: ignore[misc]
        except DAMAGED:
            raise get_adapter().validation_error("incorrect_code") from None


class Authenticate(_Careful, forms.AuthenticateWebAuthnForm):  # type: ignore[misc]
    """As the second step of a sign-in."""


class Login(_Careful, forms.LoginWebAuthnForm):  # type: ignore[misc]
    """As the whole of it."""


class Reauthenticate(_Careful, forms.ReauthenticateWebAuthnForm):  # type: ignore[misc]
    """To be asked again."""


class Add(forms.AddWebAuthnForm):  # type: ignore[misc]
    def clean(self) -> Any:
        try:
            return super().clean()
        except DAMAGED:
            raise get_adapter().validation_error("incorrect_code") from None
