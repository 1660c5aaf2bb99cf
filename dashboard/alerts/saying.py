"""When people are told of an incident: pure.  Times are unix seconds.

One message for all that a rule finds in a pool; few, and none twice.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from dashboard.alerts.rules import Severity

Say = Literal["firing", "reminder", "digest"]

FIRST_AFTER_S = 10.0  # what else begins within it is in the first message
CHANGES_AFTER_S = 120.0
REPEAT_S: dict[Severity, float] = {"warn": 4 * 3600.0, "crit": 1800.0}
DIGEST_S = 600.0
RANK: dict[str, int] = {"": 0, "warn": 1, "crit": 2}


class Told(NamedTuple):
    """What was said of an incident so far."""

    messages: int = 0
    at: float = 0.0
    severity: Severity = ""
    instances: frozenset[str] = frozenset()
    flapping: bool = False


def due(
    told: Told,
    loud: Mapping[str, Severity],
    *,
    opened_at: float,
    acked: bool,
    flapping: bool,
    now: float,
) -> Say | None:
    """What to say now.  ``loud``: what fires, is not silenced and not hidden, by instance."""
    if not loud:
        return None
    worst = worst_of(loud)
    if flapping:
        rose = RANK[worst] > RANK[told.severity]
        late = rose or not told.flapping or now - told.at >= DIGEST_S
        return "digest" if late and not acked else None
    if told.messages == 0:
        return "firing" if now - opened_at >= FIRST_AFTER_S else None
    if RANK[worst] > RANK[told.severity]:
        return "firing"
    if loud.keys() - told.instances:
        return "firing" if now - told.at >= CHANGES_AFTER_S else None
    if acked:
        return None
    return "reminder" if now - told.at >= REPEAT_S[worst] else None


def worst_of(severities: Mapping[str, Severity]) -> Severity:
    return max(severities.values(), key=RANK.__getitem__, default="")
