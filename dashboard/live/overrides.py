"""The only writers of orders: each is a row, its audit entry, and the check that nothing moved.

No queue is touched here.  Gateways see the row within a second, do it, and write back what came of it.
"""

from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from dashboard.accounts.permissions import Person, may_abort, may_move, may_operate
from dashboard.audit.log import record
from gateway.core.selection import Selection
from gateway.marks import told
from gateway.models import Override, Revision

UNDO_WITHIN_S = 10
GRACE_S = 2  # a click that left in time
LONGEST = timedelta(hours=24)  # from now on, however often it is extended
VERBS = {
    "pause": "tier.paused",
    "drain": "tier.drained",
    "boost": "line.boosted",
    "evict": "line.evicted",
    "move": "tenant.moved",
    "abort": "request.aborted",
}
PERMITS = {"move": may_move, "abort": may_abort}  # the others are on call


class Changed(Exception):
    """Somebody changed this since the person looked."""

    def __init__(self, row: Override) -> None:
        super().__init__(f"changed by {row.changed_by}")
        self.row = row


class NotNow(ValueError):
    """It cannot be done any more; the text says why."""


class Order(NamedTuple):
    """What is wanted, and about what.  The other parts are empty."""

    verb: str
    pool: str = ""
    tier: str = ""
    tenant: str = ""
    selection: Selection = Selection()
    by: int = 0
    minutes: int = 0  # of what lasts

    @property
    def scope(self) -> str:
        """Orders of one scope follow each other: about one tier, one tenant, the same requests."""
        if self.verb in ("pause", "drain"):
            return f"tier:{self.pool}/{self.tier}"
        if self.verb == "move":
            return f"tenant:{self.tenant}"
        chosen = blake2b(msgspec.json.encode(self.selection), digest_size=12).hexdigest()
        return f"line:{self.pool}/{chosen}"


def permits(person: Person, verb: str) -> bool:
    return PERMITS.get(verb, may_operate)(person)


def was_sent(key: str) -> bool:
    """Whether this form arrived before: it is answered as then, whatever has changed since."""
    return Override.objects.filter(key=key).exists()


@transaction.atomic
def begin(
    request: HttpRequest,
    order: Order,
    *,
    reason: str,
    key: str,
    saw_at: datetime,
    seen: int | None = None,
) -> Override:
    """Order something.  A key that was used before answers with the order it made then.

    ``saw_at`` is when the person was shown what the order is about; ``seen`` how many waited.

    Raises:
        Changed: somebody else ordered something about the same since.
    """
    Revision.move()  # its lock puts orders in a line
    sent = Override.objects.filter(key=key).first()
    if sent is not None:
        return sent
    now, owner = timezone.now(), request.user.get_username()
    before = Override.objects.newest_about(order.scope)
    if before is not None and before.changed_at > saw_at and before.changed_by != owner:
        raise Changed(before)
    if before is not None and before.runs(now):
        _close(before, owner, now)
    row = Override.objects.create(
        verb=order.verb,
        pool=order.pool,
        tier=order.tier,
        tenant=order.tenant,
        selection=msgspec.to_builtins(order.selection),
        by=order.by,
        scope=order.scope,
        owner=owner,
        reason=reason,
        begun_at=now,
        ends_at=now + timedelta(minutes=order.minutes) if order.minutes else None,
        changed_at=now,
        changed_by=owner,
        key=key,
        seen=seen,
    )
    _record(request, VERBS[order.verb], row, after=_kept(row), reason=reason)
    return row


@transaction.atomic
def end(request: HttpRequest, pk: int, saw: int) -> Override:
    """End what lasts; one that is over already stays as it is.

    Raises:
        Changed: it is not at its ``saw``-th edit any more.
    """
    row = _held(pk)
    now = timezone.now()
    if row.runs(now):
        _unchanged(row, saw)
        _close(row, request.user.get_username(), now)
        _record(request, "override.ended", row, before=_kept(row))
    return row


@transaction.atomic
def extend(request: HttpRequest, pk: int, saw: int, minutes: int) -> Override:
    """Move its end.

    Raises:
        Changed: it is not at its ``saw``-th edit any more.
        NotNow: it is over, or would last for longer than a day from now.
    """
    row = _held(pk)
    now = timezone.now()
    if not row.runs(now) or row.ends_at is None:
        raise NotNow("It has ended: order it again.")
    _unchanged(row, saw)
    before, row.ends_at = row.ends_at, row.ends_at + timedelta(minutes=minutes)
    if row.ends_at > now + LONGEST:
        raise NotNow("No override lasts for longer than 24 h from now. Change the policy instead.")
    _touch(row, request.user.get_username(), now)
    ends = {"ends_at": before}, {"ends_at": row.ends_at}
    _record(request, "override.extended", row, before=ends[0], after=ends[1])
    return row


@transaction.atomic
def undo(request: HttpRequest, pk: int) -> Override:
    """Take a boost back; a second click finds the first.

    Raises:
        NotNow: it is too late, or nothing that could be taken back.
    """
    row = _held(pk)
    undone = Override.objects.filter(undoes=row).first()
    if undone is not None:
        return undone
    now, owner = timezone.now(), request.user.get_username()
    if row.verb != Override.Verb.BOOST or row.undoes_id or row.owner != owner:
        raise NotNow("Only your own boosts can be taken back.")
    if now - row.begun_at > timedelta(seconds=UNDO_WITHIN_S + GRACE_S):
        raise NotNow(f"The {UNDO_WITHIN_S} s to undo it are over. Boost by 0 puts requests back.")
    back = Override.objects.create(
        verb=row.verb,
        pool=row.pool,
        undoes=row,
        scope=row.scope,
        owner=owner,
        reason="undone",
        begun_at=now,
        changed_at=now,
        changed_by=owner,
        key=f"undo-{row.pk}",
    )
    _record(request, "line.boost_undone", back, after={"undoes": row.pk}, reason="undone")
    return back


def record_ended(now: datetime) -> None:
    """Put into the trail what ran its term, which no person's request did; once, whoever tries."""
    Override.objects.end_due(now)  # also while no gateway runs
    for row in Override.objects.ran_out().order_by("ended_at"):
        with transaction.atomic():
            if Override.objects.claim_end(row.pk):
                ran_until = {"ended_at": row.ended_at}
                _record(None, "override.ended", row, before=_kept(row), after=ran_until)


def _held(pk: int) -> Override:
    Revision.move()
    return Override.objects.get(pk=pk)


def _unchanged(row: Override, saw: int) -> None:
    if row.edits != saw:
        raise Changed(row)


def _close(row: Override, by: str, at: datetime) -> None:
    row.ended_at, row.ended_by = at, by
    _touch(row, by, at)


def _touch(row: Override, by: str, at: datetime) -> None:
    row.edits += 1
    row.changed_at, row.changed_by = at, by
    row.save()


def _kept(row: Override) -> dict[str, Any]:
    """What the trail says of an order: what it is, for whom and until when."""
    said = {
        "order": told(row),
        "pool": row.pool,
        "selection": {name: value for name, value in row.selection.items() if name != "ids"},
        "ids": row.selection.get("ids", [])[:20],
        "seen": row.seen,
        "ends_at": row.ends_at,
    }
    return {name: value for name, value in said.items() if value not in ("", None, [], {})}


def _record(request: HttpRequest | None, verb: str, row: Override, **details: Any) -> None:
    """Also in the trail of the tenant, where it is about one alone."""
    named = row.selection.get("tenant", [])
    tenant = row.tenant or (named[0] if len(named) == 1 else "")
    object = f"tenant:{row.tenant}" if row.tenant else row.scope
    by = request.user if request else "system"
    record(by, verb, object, tenant=tenant, request=request, **details)
