"""When a rule judges, as people type it: ``always``, ``mon-fri 08:00-18:00``, ``sat,sun``.  Pure."""

import re

from dashboard.alerts.rules import Hours

ALWAYS = "always"
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
HINT = "Write always, or days and times in UTC like mon-fri 08:00-18:00."
_DAY = rf"(?:{'|'.join(DAYS)})"
_TEXT = re.compile(
    rf"(?P<days>{_DAY}(?:-{_DAY})?(?:,{_DAY}(?:-{_DAY})?)*)?\s*"
    r"(?:(?P<from>\d\d?:\d\d)\s*-\s*(?P<until>\d\d?:\d\d))?"
)


def parsed(text: str) -> Hours:
    """
    Raises:
        ValueError: with a sentence that says how to write it.
    """
    said = text.strip().lower().replace("\N{EN DASH}", "-")
    if said in ("", ALWAYS):
        return Hours()
    match = _TEXT.fullmatch(said)
    if match is None:
        raise ValueError(HINT)
    days = _days(match["days"]) if match["days"] else frozenset(range(7))
    if not match["from"]:
        return Hours(days)
    start, end = _minute(match["from"]), _minute(match["until"])
    if start == end or start == 1440:
        raise ValueError("The times must differ, and the day ends at 24:00. " + HINT)
    return Hours(days, start, end)


def _days(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        start, end = DAYS.index(first), DAYS.index(last or first)
        found |= {day % 7 for day in range(start, end + 1 if end >= start else end + 8)}
    return frozenset(found)


def _minute(text: str) -> int:
    hour, minute = (int(part) for part in text.split(":"))
    if minute > 59 or hour * 60 + minute > 1440:
        raise ValueError(f"There is no time {text}. " + HINT)
    return hour * 60 + minute
