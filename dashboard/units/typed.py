"""Seconds, counts, shares and priorities as people type them, and back: ``30s``, ``2k``, ``10%``.

Each ``…_text`` gives the shortest text that its reader turns back into exactly the same number.
"""

import re
from decimal import Decimal

MINUS = "\N{MINUS SIGN}"
NUMBER = r"\d+(?:\.\d+)?(?:e[+-]?\d{1,3})?"
SECONDS_IN: dict[str, int | Decimal] = {
    "d": 86_400,
    "h": 3600,
    "min": 60,
    "m": 60,
    "s": 1,
    "ms": Decimal("0.001"),
}
SHOWN = (("d", 86_400), ("h", 3600), ("m", 60))
SPAN = re.compile(rf"({NUMBER})\s*(d|h|min|ms|m|s)?\s*")
COUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([kM]?)")
LONGEST = 40  # characters; no number that a policy allows needs more


def seconds(text: str) -> float:
    """``30s``, ``1.5m``, ``1h 10m``, ``500ms``; a bare number is seconds.

    Raises:
        ValueError: with a sentence that says how to write it.
    """
    rest, total = text.strip().lower(), Decimal(0)
    if not rest or len(rest) > LONGEST:
        raise ValueError("Write a time like 30s, 1.5m or 2h.")
    whole = rest
    while rest:
        part = SPAN.match(rest)
        if part is None or (part[2] is None and part[0] != whole):
            raise ValueError("Write a time like 30s, 1.5m or 2h.")
        total += Decimal(part[1]) * SECONDS_IN[part[2] or "s"]
        rest = rest[part.end() :]
    return float(total)


def seconds_text(value: float) -> str:
    for unit, length in SHOWN:
        text = f"{value / length:.3g}"
        if value >= length and "e" not in text and seconds(text + unit) == value:
            return text + unit
    return _plain(value) + "s"


def seconds_said(value: float) -> str:
    """The same in a sentence: ``2 s``, ``1.5 min``, ``2 h``.  What is typed has no room for a space."""
    text = seconds_text(value)
    return f"{text[:-1]} {'min' if text[-1] == 'm' else text[-1]}"


def count(text: str) -> int:
    """``600``, ``2k``, ``1.5M``, ``6 000``.

    Raises:
        ValueError: with a sentence that says how to write it.
    """
    squeezed = re.sub(r"(?<=\d)[ \u2009\u202f](?=\d{3})", "", text.strip()).replace("K", "k")
    said = COUNT.fullmatch(squeezed)
    number = Decimal(said[1]) * {"": 1, "k": 1000, "M": 1_000_000}[said[2]] if said else None
    if number is None or len(text) > LONGEST or number != int(number):
        raise ValueError("Write a whole number like 600, 2k or 1.5M.")
    return int(number)


def count_text(value: int) -> str:
    for unit, size in (("M", 1_000_000), ("k", 1000)):
        text = f"{value / size:.3g}"
        if value >= size and "e" not in text and count(text + unit) == value:
            return text + unit
    return str(value)


def share(text: str) -> float:
    """``10%`` or ``0.1``; a bare 1 or more could mean either, so it is refused.

    Raises:
        ValueError: with a sentence that says how to write it.
    """
    said = re.fullmatch(rf"({NUMBER})\s*(%?)", text.strip().lower())
    if said is None or len(text) > LONGEST or (not said[2] and Decimal(said[1]) >= 1):
        raise ValueError("Write a share like 10%.")
    return float(Decimal(said[1]) / (100 if said[2] else 1))


def share_text(value: float) -> str:
    return _plain(Decimal(repr(value)) * 100) + "%"


def share_said(value: float) -> str:
    """The same in a sentence: ``10 %``."""
    return share_text(value).replace("%", " %")


def priority(text: str) -> int:
    """A whole number with either minus sign; higher runs first.

    Raises:
        ValueError: with a sentence that says how to write it.
    """
    said = text.strip().replace(MINUS, "-").replace("\N{EN DASH}", "-")
    if not re.fullmatch(r"[+-]?\d{1,3}", said):
        raise ValueError(f"Write a whole number from {MINUS}10 to 10; higher runs first.")
    return int(said)


def priority_text(value: int) -> str:
    return str(value).replace("-", MINUS)


def _plain(value: float | Decimal) -> str:
    """All digits that count, without a trailing point; an exponent only where nobody types."""
    exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    text = format(exact, "f")
    if len(text) > LONGEST - 2:
        return format(exact, "e").lower()
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"
