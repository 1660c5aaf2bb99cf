"""A file under version control against what is in force: plan it, then apply it whole or not at all.

The file holds the policy, the tenants' names and their rules; never a key.  A tenant that it no
longer names stays, with its keys: people look after it again.
"""

from typing import NamedTuple

from django.db import transaction

from dashboard.audit.log import record
from dashboard.policies import managed, publish
from dashboard.policies.diff import keyed as by_name
from dashboard.policies.diff import sentences, unkeyed
from dashboard.policies.fields import Document
from dashboard.policies.fields import document as as_document
from dashboard.policies.models import Managed, in_force
from dashboard.policies.yaml_text import File, written
from dashboard.tenants import changes
from gateway.core.policy import load
from gateway.models import PolicyVersion, Revision, Tenant

ACTOR = "manage.py policy"


class Plan(NamedTuple):
    newest: int  # the version that it was compared with
    before: Document
    after: Document
    policy: list[str]  # what changes, in sentences
    tenants: list[str]
    unseen: str  # what came after the file's own version, and would be lost

    @property
    def changes(self) -> list[str]:
        return [*self.policy, *self.tenants]


class Unseen(Exception):
    """Somebody changed what the file held; applying it has to name their version."""


def exported() -> str:
    names = dict(Tenant.objects.order_by("slug").values_list("slug", "name"))
    return written(managed.settled(in_force()[1]), names)


def planned(file: File) -> Plan:
    newest, before = in_force()
    before = managed.settled(before)
    after = managed.settled(unkeyed(by_name(as_document(file.policy))))
    told: list[str] = []
    if not managed.same(before, after):
        told = sentences(before, after) or ["something that no page shows"]
    return Plan(newest, before, after, told, _tenants(file), managed.unseen(newest))


@transaction.atomic
def apply(file: File, plan: Plan, where: str, message: str, over: int) -> PolicyVersion | None:
    """Put the file in force and under the file's management; None if the policy stays as it was.

    Raises:
        BaseMoved: another version was published since the plan.
        Unseen: it would undo what somebody did since, and ``over`` does not name that version.
    """
    Revision.move()
    if plan.unseen and over != plan.newest:
        raise Unseen(plan.unseen)
    version = None
    if plan.policy:
        version = publish.publish_file(load(plan.after), plan.newest, message)
    was = managed.file_of(managed.POLICY)
    number = version.number if version else plan.newest
    managed.claim(managed.POLICY, managed.By.FILE, where, number)
    if not was:
        told = {"managed_by": "file", "where": where}
        record(ACTOR, "policy.managed", "policy:management", after=told, reason=message)
    _apply_tenants(file, where)
    return version


def _tenants(file: File) -> list[str]:
    rows = dict(Tenant.objects.filter(slug__in=file.names).values_list("slug", "name"))
    return [
        *(
            f"tenant {slug} is made: {name}"
            for slug, name in file.names.items()
            if slug not in rows
        ),
        *(
            f"tenant {slug} is called {name}, not {rows[slug]}"
            for slug, name in file.names.items()
            if rows.get(slug, name) != name
        ),
        *(
            f"{what.replace(':', ' ')} is no longer in the file: it stays"
            for what in _left_out(file)
        ),
    ]


def _apply_tenants(file: File, where: str) -> None:
    for slug, name in file.names.items():
        row = Tenant.objects.filter(slug=slug).first()
        if row is None:
            changes.make_tenant(ACTOR, slug, name)
        else:
            changes.rename_tenant(ACTOR, row, name)
        managed.claim(managed.tenant(slug), managed.By.FILE, where)
    for what in _left_out(file):
        managed.release(what)


def _left_out(file: File) -> list[str]:
    """The tenants that a file managed and that this one does not name."""
    rows = Managed.objects.filter(by=managed.By.FILE, what__startswith="tenant:")
    named = {managed.tenant(slug) for slug in file.names}
    return sorted(row.what for row in rows if row.what not in named)
