"""The only writers of a version from the site: publish a draft, roll back to an old version."""

from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from dashboard.accounts.actor import actor
from dashboard.accounts.permissions import Person
from dashboard.audit.log import record
from dashboard.policies import managed
from dashboard.policies.diff import keyed, sentences, unkeyed
from dashboard.policies.edit import clean
from dashboard.policies.fields import Document
from dashboard.policies.fields import document as as_document
from dashboard.policies.models import Draft, StaleDraft, document_of
from gateway.core.policy import Policy, load
from gateway.models import PolicyVersion, Revision, Rollout, policy_of

UNDO_WITHIN_S = 10
GRACE_S = 2  # a click that left in time
LONGEST_MESSAGE = 500


class BaseMoved(Exception):
    """Another version was published since; ``newest`` is its number."""

    def __init__(self, newest: int) -> None:
        super().__init__(f"v{newest} was published meanwhile.")
        self.newest = newest


class InFile(BaseMoved):
    """A file manages the policy: it is changed there."""

    def __init__(self, newest: int, where: str) -> None:
        super().__init__(newest)
        self.args = (f"The policy is managed in {where}. Change it there, or take it over first.",)


class OnTrial(BaseMoved):
    """A canary runs: until it is promoted or taken back nothing else is published."""

    def __init__(self, version: int) -> None:
        super().__init__(version)
        self.args = (f"v{version} is on trial: promote it or take it back first.",)


@transaction.atomic
def publish(
    draft: Draft, edit: int, message: str, author: User, request: HttpRequest | None = None
) -> PolicyVersion:
    """Put the draft in force as it was at its ``edit``-th save, and let go of it.

    Raises:
        BaseMoved: it began from a version that is no longer the newest; ``InFile``, a file's.
        StaleDraft: it was saved again since.
        ValueError: it is no policy.
    """
    before = hold_to_edit(draft.base)
    policy = take(draft, edit)
    version = PolicyVersion.objects.publish(policy, message[:LONGEST_MESSAGE], author)
    recorded("policy.published", version, before, message, author, request)
    managed.published_in_browser()
    return version


def take(draft: Draft, edit: int) -> Policy:
    """Let go of the draft as it was at its ``edit``-th save; what it says, ready to publish.

    Raises:
        StaleDraft: it was saved again since.
        ValueError: it is no policy.
    """
    gone, _ = Draft.objects.filter(pk=draft.pk, edit=edit).delete()
    if not gone:
        raise StaleDraft
    return load(unkeyed(keyed(clean(draft.document))))


@transaction.atomic
def publish_file(policy: Policy, newest: int, message: str) -> PolicyVersion:
    """Put a file's policy in force, as the version after ``newest``.

    Raises:
        BaseMoved: ``newest`` no longer is the newest.
    """
    before = hold(newest)
    version = PolicyVersion.objects.publish(policy, message[:LONGEST_MESSAGE])
    recorded("policy.published", version, before, message, "manage.py policy", None)
    return version


@transaction.atomic
def publish_by_api(
    policy: Policy, newest: int, message: str, request: HttpRequest
) -> PolicyVersion:
    """Put a program's policy in force, as the version after ``newest``.

    Raises:
        BaseMoved: ``newest`` no longer is the newest; ``InFile``, a file manages the policy.
    """
    before, by = hold_to_edit(newest), actor(request)
    version = PolicyVersion.objects.publish(policy, message[:LONGEST_MESSAGE])
    recorded("policy.published", version, before, message, by, request)
    managed.claim(managed.POLICY, managed.By.API, str(by), version.number)
    return version


@transaction.atomic
def roll_back(
    to: PolicyVersion,
    newest: int,
    reason: str,
    author: User | None,
    request: HttpRequest | None = None,
) -> PolicyVersion:
    """Publish the document of ``to`` again, as the version after ``newest``.

    Raises:
        BaseMoved: ``newest`` no longer is the newest.
    """
    return put_back(to.as_policy(), to.number, newest, reason, author, request)


@transaction.atomic
def put_back(
    policy: Policy,
    number: int,
    newest: int,
    reason: str,
    author: User | None,
    request: HttpRequest | None = None,
    by: str = "system",
) -> PolicyVersion:
    """Publish the document of version ``number`` for everybody, which ends a canary.

    Raises:
        BaseMoved: ``newest`` no longer is the newest.
    """
    before = hold(newest, on_trial=True)
    message = f"Back to v{number}: {reason}"[:LONGEST_MESSAGE]
    trial = Rollout.objects.running()
    if trial:
        end(trial, Rollout.State.TAKEN_BACK, reason)
    version = PolicyVersion.objects.publish(policy, message, author)
    whose = author or (actor(request) if request else by)
    recorded("policy.rolled_back", version, before, message, whose, request)
    return version


def undoable(version: PolicyVersion | None, person: User, at: datetime, grace_s: float = 0) -> bool:
    """Whether ``person`` published this as the newest version within the last seconds.

    What took a canary back is not undone: that would put in force for all what some tenants tried.
    """
    return (
        version is not None
        and version.number > 1
        and version.author_id == person.pk
        and at - version.published_at <= timedelta(seconds=UNDO_WITHIN_S + grace_s)
        and not Rollout.objects.filter(
            version=version.number - 1, state=Rollout.State.TAKEN_BACK
        ).exists()
    )


@transaction.atomic
def undo(version: PolicyVersion, person: User, request: HttpRequest | None = None) -> PolicyVersion:
    """Take a version back and keep its edits as the person's draft.

    Raises:
        BaseMoved: another one was published since.
    """
    before = PolicyVersion.objects.get(number=version.number - 1)
    back = roll_back(before, version.number, "undone.", person, request)
    give_back(person, document_of(version.number), back.number)
    return back


def give_back(person: User, document: Document, base: int) -> None:
    """Let somebody go on with what was not published, unless they began something else."""
    if not Draft.objects.filter(person=person).exists():
        Draft(person=person, base=base).write(document, 0)


def end(trial: Rollout, state: Rollout.State, why: str) -> bool:
    """Claim a canary's end for whoever asks first."""
    running = Rollout.objects.filter(pk=trial.pk, state=Rollout.State.RUNNING)
    return bool(running.update(state=state, why=why[:LONGEST_MESSAGE], ended_at=timezone.now()))


def lock() -> None:
    """Make publishers take turns until this transaction ends."""
    Revision.move()


def hold(expected: int, *, on_trial: bool = False) -> PolicyVersion | None:
    """Take the lock, then look what is newest; ``on_trial``: a canary may run.

    Raises:
        BaseMoved: it is not the ``expected`` one.
        OnTrial
    """
    lock()
    newest = PolicyVersion.objects.newest()
    if (newest.number if newest else 0) != expected:
        raise BaseMoved(newest.number if newest else 0)
    if newest and not on_trial and Rollout.objects.running():
        raise OnTrial(newest.number)
    return newest


def hold_to_edit(expected: int) -> PolicyVersion | None:
    """The same for an edit, which a policy that a file manages does not take.

    Raises:
        BaseMoved: see ``hold``; ``InFile`` where a file manages the policy.
    """
    before = hold(expected)
    where = managed.file_of(managed.POLICY)
    if where:
        raise InFile(expected, where)
    return before


def recorded(
    verb: str,
    version: PolicyVersion,
    before: PolicyVersion | None,
    message: str,
    by: Person | str,
    request: HttpRequest | None,
    **more: object,
) -> None:
    old = as_document(policy_of(before))
    record(
        by,
        verb,
        f"policy:v{version.number}",
        before={"version": before.number if before else 0},
        after={"version": version.number, "changes": sentences(old, version.document), **more},
        reason=message,
        request=request,
    )
