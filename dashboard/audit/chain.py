"""Is the trail whole?  Recomputes every hash and names the first row that is not as it was written."""

from typing import NamedTuple

from dashboard.audit.models import FIRST_PREV, AuditEvent, AuditHead


class Verdict(NamedTuple):
    rows: int
    newest: str  # "number:hash" of the last sound row: keep it elsewhere, compare it later
    broken: str  # a sentence about the first broken row; "" when all is well


def check(expected: str = "") -> Verdict:
    """``expected`` is a ``newest`` noted earlier: a chain written anew would not pass by it."""
    number, prev = 0, FIRST_PREV
    wanted_number, _, wanted_hash = expected.partition(":")
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
    last = max(head.number if head else 0, int(wanted_number or 0))
    if number < last:
        return _broken(
            number, prev, f"Row {number + 1} is missing: rows up to {last} were cut off."
        )
    if head is None and number:
        return _broken(
            number, prev, f"The head is missing: whether row {number} is last is unknown."
        )
    if head is not None and (head.number, head.hash) != (number, prev):
        return _broken(number, prev, f"Row {number} is not what the head names: {head}.")
    return Verdict(number, f"{number}:{prev}", "")


def _broken(number: int, prev: str, sentence: str) -> Verdict:
    return Verdict(number, f"{number}:{prev}", sentence)
