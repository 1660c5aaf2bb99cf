"""What a page wants to know beside the frame: asked and answered by way of the cache.

Pages never touch the running queue and may live in another process.  They leave a question; the
ticker answers within a second, for as long as somebody goes on asking.  Answers are JSON.
"""

import time
from collections.abc import Mapping

from django.core.cache import cache

LINE_WANTED, LINE = "laneway.live.line-wanted", "laneway.live.line"
WHY_WANTED, WHY = "laneway.live.why-wanted", "laneway.live.why."
ASKED_FOR_S = 10
ANSWER_TTL_S = 5
LINE_MOST = 1_000  # of those who wait: about 4 ms of the gateway's loop
WHY_MOST = 50  # requests explained at a time


def ask_line() -> bytes | None:
    """The first ``LINE_MOST`` of each pool's line, by pool; None: not answered yet."""
    cache.set(LINE_WANTED, True, ASKED_FOR_S)
    answer: bytes | None = cache.get(LINE)
    return answer


def ask_why(request_id: str) -> bytes | None:
    """Why a request stands where it stands; None: not answered yet, or not known.

    Two pages that ask at once may lose one question: it comes again a second later.
    """
    now = time.time()
    wanted = {id: until for id, until in (cache.get(WHY_WANTED) or {}).items() if until > now}
    if len(wanted) < WHY_MOST:
        cache.set(WHY_WANTED, wanted | {request_id: now + ASKED_FOR_S}, ASKED_FOR_S)
    answer: bytes | None = cache.get(WHY + request_id)
    return answer


def asked() -> tuple[bool, list[str]]:
    """Whether somebody wants the line, and the requests somebody wants explained."""
    wanted = cache.get_many([LINE_WANTED, WHY_WANTED])
    now = time.time()
    return LINE_WANTED in wanted, [
        id for id, until in wanted.get(WHY_WANTED, {}).items() if until > now
    ]


def answer(line: bytes | None, why: Mapping[str, bytes]) -> None:
    """``why`` by request."""
    answers = {WHY + id: document for id, document in why.items()}
    if line is not None:
        answers[LINE] = line
    cache.set_many(answers, ANSWER_TTL_S)
