"""Is the trail whole?  Recomputes every hash and names the first row that is not as it was written."""

import logging
from datetime import datetime
from typing import NamedTuple

from dashboard.audit.models import FIRST_PREV, AuditEvent, AuditHead, AuditLook

logger = logging.getLogger(__name__)


class Verdict(NamedTuple):
    rows: int
    newest: str  # "number:hash" of the last sound row: keep it elsewhere, compare it later
    broken: str  # a sentence about the first broken row; "" when all is well


def check(expected: str = "") -> Verdict:
    """``expected`` is a ``newest`` noted earlier: a chain written anew would not pass by it."""
    number, prev = 0, FIRST_PREV
    wanted_number, _, wanted_hash = expected.partition(":")
    at_first = AuditHead.objects.filter(pk=1).first()  # people go on while this reads
    for row in AuditEvent.objects.order_by("number").iterator(chunk_size=1000):
        said = f"Row {number + 1}"
        if row.number != number + 1:
            return _broken(number, prev, f"{said} is missing: row {row.number} follows {number}.")
        if row.prev != prev:
            return _broken(number, prev, f"{said} does not follow row {number}: its link differs.")
        if row.sealed() != row.hash:
            return _broken(number, prev, f"{said} was changed: {row} does not match its hash.")
        if str(row.number) == wanted_number and row.hash != wanted_hash:
            return _broken(number, prev, f"{said} is not the row that was noted as {expected}.")
        number, prev = row.number, row.hash
    head = AuditHead.objects.filter(pk=1).first()
    last = max(at_first.number if at_first else 0, int(wanted_number or 0))
    if number < last:
        return _broken(
            number, prev, f"Row {number + 1} is missing: rows up to {last} were cut off."
        )
    if head is None and number:
        return _broken(
            number, prev, f"The head is missing: whether row {number} is last is unknown."
        )
    # A head beyond the last row read: more was written meanwhile.
    if head and head.number <= number and (head.number, head.hash) != (number, prev):
        return _broken(number, prev, f"Row {number} is not what the head names: {head}.")
    return Verdict(number, f"{number}:{prev}", "")


def look(now: datetime) -> AuditLook:
    """Check, and keep what was found for the page.

    What the look before found sound must still be there: so a chain written anew is found too.
    """
    before = AuditLook.objects.filter(pk=1).first()
    verdict = check(before.newest if before else "")
    if verdict.broken:
        logger.error("the audit trail is broken: %s Sound up to %s", verdict.broken, verdict.newest)
        newest = before.newest if before else ""  # a break stays one, until somebody mends it
    else:
        newest = verdict.newest
    found = {"at": now, "rows": verdict.rows, "newest": newest, "broken": verdict.broken[:500]}
    return AuditLook.objects.update_or_create(pk=1, defaults=found)[0]


def _broken(number: int, prev: str, sentence: str) -> Verdict:
    return Verdict(number, f"{number}:{prev}", sentence)
