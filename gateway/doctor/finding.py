"""One thing that was found: how bad it is, a sentence, and what to do."""

from typing import Literal

from msgspec import Struct

Severity = Literal["ok", "note", "warning", "error"]
WORST_FIRST: tuple[Severity, ...] = ("error", "warning", "note", "ok")


class Finding(Struct, frozen=True):
    severity: Severity
    about: str  # a backend's name, or a part of the installation
    code: str  # stable, for programs
    message: str
    advice: str = ""
