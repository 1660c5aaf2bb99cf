"""The past of the live page's charts, for a range that the address names.

    GET /live/history/?pool=default&range=6h
    GET /live/history/?pool=default&from=2026-11-22T10:00:00Z&to=2026-11-22T11:00:00Z

``range`` is a number with s, m, h or d and ends now; ``from`` and ``to`` are ISO 8601 (UTC unless
they name a zone) or epoch milliseconds, ``to`` now unless said.  Without any: the last 15 min.
``tier``, any number of times, leaves the others out.  From 10 s to 13 months.

    {"pool": "default", "step_s": 48, "from": …, "to": …,      epoch ms, as asked for
     "at": […],                                                epoch ms, where each point begins
     "tiers": {"standard": {
        "waiting": […], "waiting_min": […], "waiting_max": […],    last, least and most of the point
        "in_flight": […], "in_flight_max": […], "oldest_max": […], seconds
        "p50": […], "p95": […], "p99": […], "p95_max": […],        seconds, see ``series.series``
        "in_per_s": […], "out_per_s": […],
        "lost": […]}},                              how many left the line without a slot
     "marks": [{"at": …, "kind": "policy", "text": "policy v42", "by": "ada"}]}     override, note …

At most 450 points.  A null is a gap: nobody looked; of a percentile also: too few waits to say.
"""

import re
from datetime import UTC, datetime

from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from dashboard.accounts.gate import open_to
from dashboard.accounts.permissions import may_watch
from dashboard.live.series import series

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
SHORTEST_S = 10.0
LONGEST_S = 396 * 86_400.0
USUAL_S = 900.0


class Unclear(ValueError):
    """What is wrong with a part of the address, as a sentence."""

    def __init__(self, part: str, sentence: str) -> None:
        super().__init__(sentence)
        self.part = part


@open_to(may_watch)
@require_safe
def history(request: HttpRequest) -> JsonResponse:
    now_s = timezone.now().timestamp()
    asked = request.GET
    try:
        start, end = span(asked.get("range", ""), asked.get("from", ""), asked.get("to", ""), now_s)
    except Unclear as error:
        return JsonResponse({"error": {"message": str(error), "param": error.part}}, status=400)
    tiers = asked.getlist("tier") or None
    pool = asked.get("pool", "").replace("\0", "") or "default"  # PostgreSQL refuses NUL
    shown = series(pool, tiers, start, end, now_s)
    return JsonResponse(shown, headers={"Cache-Control": "no-store"})


def span(length: str, since: str, until: str, now_s: float) -> tuple[float, float]:
    """From when to when, in unix seconds, never past now.

    Raises:
        Unclear: it cannot be read, or is too short or too long.
    """
    if length and since:
        raise Unclear("range", "Give either range, or from and to.")
    end = min(now_s, moment("to", until)) if until else now_s
    if since:
        part, start = "from", moment("from", since)
    else:
        part, start = "range", end - (seconds(length) if length else USUAL_S)
    if end < now_s - LONGEST_S:
        raise Unclear("to", "to is longer ago than the 13 months that history is kept.")
    if not SHORTEST_S <= end - start <= LONGEST_S:
        raise Unclear(part, f"{part} must lie from 10 s to 13 months before the end of the range.")
    return start, end


def seconds(text: str) -> float:
    found = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
    if not found:
        raise Unclear("range", "range must be a number with s, m, h or d, such as 15m or 30d.")
    return float(int(found[1]) * UNITS_S[found[2]])


def moment(part: str, text: str) -> float:
    """Unix seconds of an ISO moment, or of epoch milliseconds."""
    if re.fullmatch(r"[0-9]{1,14}", text):
        return int(text) / 1000
    try:
        at = datetime.fromisoformat(text.replace(" ", "+"))  # a + that an address made a space
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        example = "such as 2026-11-22T10:00:00Z, or epoch milliseconds"
        raise Unclear(part, f"{part} must be a moment in ISO 8601, {example}.") from None
