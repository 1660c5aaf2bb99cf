"""Refused sign-ins: a few a minute one by one, the rest as a count, so that a flood writes no flood.

The count is told when the next minute's first person comes or is refused.  It stands in the cache:
with several processes, each without Redis counts its own.
"""

import time
from datetime import UTC, datetime

from django.core.cache import cache
from django.http import HttpRequest

from dashboard.audit.log import record

A_MINUTE = 10
KEPT_S = 24 * 3600
UNTOLD = "laneway.refused.untold"  # the minute whose rest is still to be told


def refuse(object: str, request: HttpRequest | None, **after: str) -> None:
    tell_of_the_rest()
    minute = _minute()
    cache.add(_count(minute), 0, KEPT_S)
    if cache.incr(_count(minute)) > A_MINUTE:
        cache.set(UNTOLD, minute, KEPT_S)
        return
    record("nobody", "person.sign_in_refused", object, after=after or None, request=request)


def tell_of_the_rest() -> None:
    minute = cache.get(UNTOLD)
    if minute is None or minute == _minute() or not cache.delete(UNTOLD):
        return
    rest = cache.get(_count(minute), A_MINUTE) - A_MINUTE
    since = datetime.fromtimestamp(minute * 60, UTC).isoformat(timespec="minutes")
    record("nobody", "person.sign_in_refused", f"people:{rest} more", after={"minute": since})


def _minute() -> int:
    return int(time.time() // 60)


def _count(minute: int) -> str:
    return f"laneway.refused.{minute}"
