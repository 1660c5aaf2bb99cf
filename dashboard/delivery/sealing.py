"""Secrets at rest: sealed with a key that is made from the site's own and stands in no row."""

import base64

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings


class Unreadable(ValueError):
    """Sealed under another LANEWAY_SECRET_KEY, or damaged."""


def seal(text: str) -> str:
    return _fernet().encrypt(text.encode()).decode()


def unseal(sealed: str) -> str:
    """
    Raises:
        Unreadable: the secret key of the site is another one than when it was sealed.
    """
    try:
        return _fernet().decrypt(sealed.encode()).decode()
    except InvalidToken:
        raise Unreadable(
            "It was sealed with another LANEWAY_SECRET_KEY: enter the address again."
        ) from None


def _fernet() -> Fernet:
    derived = HKDF(SHA256(), length=32, salt=None, info=b"laneway/delivery/channel")
    return Fernet(base64.urlsafe_b64encode(derived.derive(settings.SECRET_KEY.encode())))
