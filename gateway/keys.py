"""API keys as text: ``lw_<kind>_<id8>_<secret43><crc6>``, base62.

``id8`` is public: shown, logged, searchable.  The whole key is shown once and stored nowhere; a
row keeps its keyed digest.  A fast digest is enough: it protects 256 random bits, not a password.
"""

import hmac
import re
import secrets
from typing import Literal, NamedTuple
from zlib import crc32

from gateway.errors import forbidden

Kind = Literal["live", "test", "admin"]
KINDS: tuple[Kind, ...] = ("live", "test", "admin")

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ID_LENGTH, SECRET_LENGTH, CHECK_LENGTH = 8, 43, 6  # 62**43 is just over 2**256
SHAPE = re.compile(r"lw_(live|test|admin)_([0-9A-Za-z]{8})_[0-9A-Za-z]{49}", re.ASCII)


class Parts(NamedTuple):
    kind: str
    id8: str
    whole: str


class Mistyped(ValueError):
    """The text has a key's shape, but its checksum does not fit: a typo, or cut off and refilled."""


def mint(kind: Kind) -> Parts:
    id8 = _random(ID_LENGTH)
    body = f"lw_{kind}_{id8}_{_random(SECRET_LENGTH)}"
    return Parts(kind, id8, body + checksum(body))


def parse(text: str) -> Parts | None:
    """Take a key apart, or None when it has not a key's shape.

    Raises:
        Mistyped: shape but no valid checksum.  The caller may be told so: it follows from the
            caller's own text.
    """
    shape = SHAPE.fullmatch(text)
    if shape is None:
        return None
    if checksum(text[:-CHECK_LENGTH]) != text[-CHECK_LENGTH:]:
        raise Mistyped
    return Parts(shape[1], shape[2], text)


def digest(whole: str, pepper: bytes) -> bytes:
    """What a row keeps of a key: HMAC-SHA256, about 2 µs."""
    return hmac.digest(pepper, whole.encode(), "sha256")


def must_write(id8: str, scope: str) -> None:
    """Raises: GatewayError: 403, an admin key that reads was about to change something."""
    if scope != "write":
        said = f"The admin key {id8} reads and changes nothing. Use one with the scope write."
        raise forbidden("key_read_only", said)


def checksum(body: str) -> str:
    """The CRC-32 of everything before it, base62, left-padded."""
    number = crc32(body.encode())
    text = ""
    while number:
        number, digit = divmod(number, len(ALPHABET))
        text = ALPHABET[digit] + text
    return text.rjust(CHECK_LENGTH, ALPHABET[0])


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))
