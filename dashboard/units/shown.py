"""Seconds, counts and shares as people read them.

``static/js/units.js`` says the same in the browser: one table of cases tests both.
"""

ABSENT = "\N{EN DASH}"


def seconds(value: float | None) -> str:
    """A span with as many digits as help: 0.02 s, 4.1 s, 42 s, 2m31s, 1h04m, 2d03h."""
    if value is None:
        return ABSENT
    if value < 0.995:
        return f"{value:.2f} s"
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    minutes = whole // 60
    if minutes < 24 * 60:
        return f"{minutes // 60}h{minutes % 60:02d}m"
    return f"{minutes // 1440}d{minutes % 1440 // 60:02d}h"


def span(value: float) -> str:
    """A span somebody chose, so mostly round: 2 s, 1 min, 1.5 min, 3 h."""
    for unit_s, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if value >= unit_s:
            return f"{value / unit_s:.3g} {unit}"
    return f"{value:.3g} s"


def count(value: float | None) -> str:
    """A whole number, thousands set apart by a thin space."""
    return ABSENT if value is None else f"{round(value):,}".replace(",", "\u2009")


def percent(share: float | None) -> str:
    return ABSENT if share is None else f"{share * 100:.0f} %"
