"""Second factors of people in tests."""

import re
import time

from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, hotp_value
from django.contrib.auth.models import User
from django.test import Client

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
PERIOD_S = 30


def code(secret: str = SECRET, ago: int = 0) -> str:
    """What an app with this secret shows now, or showed some periods ago."""
    return format_hotp_value(hotp_value(secret, int(time.time()) // PERIOD_S - ago))


def with_app(person: User, secret: str = SECRET) -> User:
    """Let somebody have an authenticator app."""
    TOTP.activate(person, secret)
    return person


def recovery_codes(client: Client) -> list[str]:
    """New ones, as the page shows them once."""
    page = client.post("/accounts/factors/codes/new/", follow=True).content.decode()
    found = re.search(r"<pre[^>]*>([\d\s]+)</pre>", page)
    assert found
    return found[1].split()
