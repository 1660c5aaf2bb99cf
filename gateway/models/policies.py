"""The policy, version by version."""

from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models, transaction

from gateway.core import canary
from gateway.core import policy as core
from gateway.core.policy import Policy
from gateway.models.announced import Announced, AnnouncedRows, Revision
from gateway.models.tenants import Tenant


class Immutable(TypeError):
    """A published version was about to change: publish another one."""


def policy_of(version: "PolicyVersion | None") -> Policy:
    """What it says; before the first version the defaults are in force."""
    return version.as_policy() if version else core.default_policy()


class PolicyRows(AnnouncedRows["PolicyVersion"]):
    def newest(self) -> "PolicyVersion | None":
        return self.order_by("-number").first()

    def newest_policy(self) -> Policy:
        return policy_of(self.newest())

    def in_force(self) -> "tuple[PolicyVersion | None, Rollout | None]":
        """The newest version, and its trial where one runs.

        One statement finds both.  Were it two, everybody would follow a canary that starts between
        them, or one that is taken back.
        """
        running = Rollout.objects.filter(
            state=Rollout.State.RUNNING, version=models.OuterRef("number")
        )
        trial = models.Subquery(running.values("pk")[:1])
        newest = self.annotate(trial=trial).order_by("-number").first()
        if newest is None:
            return None, None
        pk = newest.trial  # type: ignore[attr-defined] # as annotated
        return newest, Rollout.objects.filter(pk=pk).first()

    def publish(self, policy: Policy, message: str, author: User | None = None) -> "PolicyVersion":
        """Put ``policy`` in force as the next version.

        Raises:
            ValueError: it contradicts itself; nothing was written.
        """
        document = core.dump(core.load(core.dump(policy)))
        with transaction.atomic(self.db):
            Revision.move()  # its lock makes two publishers take turns, so numbers have no gap
            newest = self.newest()
            number = newest.number + 1 if newest else 1
            return self.create(number=number, document=document, message=message, author=author)

    def update(self, **values: Any) -> int:
        raise Immutable("A published policy version never changes.")

    def delete(self) -> tuple[int, dict[str, int]]:
        raise Immutable("A published policy version is never deleted.")

    delete.queryset_only = True  # type: ignore[attr-defined]


class RolloutRows(AnnouncedRows["Rollout"]):
    def running(self) -> "Rollout | None":
        """The canary under way: of the newest version, else it is over whatever its row says."""
        return PolicyVersion.objects.in_force()[1]


class Rollout(Announced):
    """A version on trial: the tenants under ``bar`` follow it, the others the one before.

    ``core.canary`` says how both live in one line.  What ends it is the site's to decide.
    """

    class State(models.TextChoices):
        RUNNING = "running"
        PROMOTED = "promoted"  # everybody follows it
        TAKEN_BACK = "taken_back"  # the document before was published again

    version = models.PositiveIntegerField(unique=True)
    base = models.PositiveIntegerField()
    percent = models.PositiveSmallIntegerField()
    bar = models.PositiveIntegerField()
    guards = models.JSONField(default=list)  # names of what takes it back by itself
    promotes_after_s = models.PositiveIntegerField(null=True)  # quiet seconds; None: by hand
    state = models.CharField(max_length=16, choices=State, default=State.RUNNING)
    started_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True)
    why = models.CharField(max_length=500, blank=True)  # it ended

    objects = RolloutRows.as_manager()

    class Meta:
        ordering = ["-version"]
        constraints = [
            models.UniqueConstraint(
                fields=["state"], condition=models.Q(state="running"), name="one_canary"
            )
        ]

    def __str__(self) -> str:
        return f"v{self.version} for {self.percent} %"

    def takes(self, tenant_id: int) -> bool:
        return canary.place(tenant_id) < self.bar

    def as_canary(self) -> canary.Canary:
        slugs = Tenant.objects.values_list("pk", "slug")
        return canary.Canary(
            PolicyVersion.objects.get(number=self.version).as_policy(),
            self.version,
            frozenset(slug for pk, slug in slugs if self.takes(pk)),
        )


class PolicyVersion(Announced):
    """One policy document as it was in force.  Never changed, never deleted."""

    number = models.PositiveIntegerField(unique=True)
    document = models.JSONField()
    message = models.CharField(max_length=500)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)
    published_at = models.DateTimeField(auto_now_add=True)

    objects = PolicyRows.as_manager()

    class Meta:
        ordering = ["-number"]

    def __str__(self) -> str:
        return f"v{self.number}"

    def save(self, *args: Any, **options: Any) -> None:
        if not self._state.adding:
            raise Immutable(f"{self} is published: it never changes.")
        super().save(*args, **options)

    def delete(self, *args: Any, **options: Any) -> tuple[int, dict[str, int]]:
        raise Immutable(f"{self} is published: it is never deleted.")

    def as_policy(self) -> Policy:
        return core.load(self.document)
