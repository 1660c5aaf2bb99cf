"""Who looks after the policy and each tenant: people in the browser, a file, or a program.

What a file manages is read-only elsewhere, so neither side silently wins.  Rolling back stays
possible, as on-call needs it: what then differs from the file is shown as drift.
"""

from collections.abc import Iterable
from typing import NamedTuple

from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest

from dashboard.audit.log import record
from dashboard.policies.diff import keyed, sentences
from dashboard.policies.fields import DEFAULT_RULES, Document
from dashboard.policies.models import Managed, document_of, in_force

By = Managed.By
POLICY = "policy"


class Standing(NamedTuple):
    row: Managed | None
    drift: list[str]  # what is in force against what the file holds, in sentences

    @property
    def in_file(self) -> bool:
        return self.row is not None and self.row.by == By.FILE


def tenant(slug: str) -> str:
    return f"tenant:{slug}"


def owner(what: str) -> Managed | None:
    return Managed.objects.filter(what=what).first()


def owners(objects: Iterable[str]) -> dict[str, Managed]:
    return {row.what: row for row in Managed.objects.filter(what__in=list(objects))}


def file_of(what: str) -> str:
    """The file that manages it; empty when none does."""
    row = owner(what)
    return row.where if row and row.by == By.FILE else ""


def standing() -> Standing:
    row = owner(POLICY)
    if row is None or row.by != By.FILE or row.version is None:
        return Standing(row, [])
    held, (_, now) = document_of(row.version), in_force()
    if same(held, now):
        return Standing(row, [])
    return Standing(row, sentences(settled(held), settled(now)) or ["something no page shows"])


def claim(what: str, by: Managed.By, where: str, version: int | None = None) -> None:
    values = {"by": by, "where": where[:200], "version": version}
    Managed.objects.update_or_create(what=what, defaults=values)


def release(what: str) -> None:
    Managed.objects.filter(what=what).delete()


def published_in_browser() -> None:
    """A program manages the policy no longer.  A file that people took over must still hear of it."""
    Managed.objects.filter(what=POLICY, by=By.API).delete()


@transaction.atomic
def take_over(person: User, reason: str, request: HttpRequest | None = None) -> bool:
    """People look after all that a file did.  The file must say so before it applies again."""
    rows = Managed.objects.filter(by=By.FILE)
    before = {row.what: row.where for row in rows.select_for_update()}
    if not before:
        return False
    name = person.get_username()
    rows.update(by=By.UI, where=name)
    record(
        person,
        "policy.taken_over",
        "policy:management",
        before=before,
        after=dict.fromkeys(before, name),
        reason=reason,
        request=request,
    )
    return True


def unseen(newest: int) -> str:
    """What a file would write over without knowing: who changed what it held.  Empty: nothing."""
    row, drift = standing()
    if row is None or (row.by == By.FILE and not drift):
        return ""
    if row.by == By.FILE:
        return f"v{newest} differs from v{row.version}, which {row.where} holds: " + "; ".join(
            drift
        )
    who = {By.UI.value: "took it over in the browser", By.API.value: "manages it by API"}[row.by]
    return f"v{newest} is in force and {row.where} {who}"


def settled(document: Document) -> Document:
    """Without rules that say nothing: a tenant at its defaults is a tenant without rules."""
    rules = {slug: own for slug, own in document["tenants"].items() if own != DEFAULT_RULES}
    return {**document, "tenants": rules}


def same(one: Document, other: Document) -> bool:
    return keyed(settled(one)) == keyed(settled(other))
