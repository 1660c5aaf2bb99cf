"""Second factors: who must have one, who has one, and how their secrets lie in the database."""

from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import generate_totp_secret
from django.conf import settings
from django.contrib.auth.models import User

from dashboard.delivery.sealing import Unreadable, seal, unseal

FACTORS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)  # recovery codes stand in for one


def lacks_factor(person: User) -> bool:
    """Whether guarded roles must sleep until a second factor is set up.

    Without a password one comes by a passkey, or by the company's own sign-in, which asks for more.
    """
    return (
        settings.LANEWAY_REQUIRE_MFA
        and person.has_usable_password()
        and not Authenticator.objects.filter(user=person, type__in=FACTORS).exists()
    )


class FactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """What allauth asks of the site."""

    error_messages = DefaultMFAAdapter.error_messages | {
        "incorrect_code": "That is not right. A code is good for half a minute, and once.",
    }

    def encrypt(self, text: str) -> str:
        return seal(text)

    def decrypt(self, encrypted_text: str) -> str:
        """Sealed under another secret key, it fits no code any more: a recovery code does not
        help either, and someone with the security role resets it."""
        try:
            return unseal(encrypted_text)
        except Unreadable:
            return str(generate_totp_secret())
