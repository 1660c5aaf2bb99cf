"""Whose people somebody is.  Roles over the whole installation are groups (``permissions.ROLES``)."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import models
from django.db.models import Q

from gateway.models import Tenant

INVITED_FOR = timedelta(days=14)


class Membership(models.Model):
    """A person's part in one tenant.  They see that tenant and no other."""

    class Role(models.TextChoices):
        ADMIN = "tenant-admin", "Tenant admin"
        VIEWER = "tenant-viewer", "Tenant viewer"

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="tenant_memberships"
    )
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role, default=Role.VIEWER)

    class Meta:
        ordering = ["tenant__slug", "user__username"]
        constraints = [
            models.UniqueConstraint(fields=["user", "tenant"], name="one_part_in_a_tenant"),
            models.CheckConstraint(
                condition=Q(role__in=["tenant-admin", "tenant-viewer"]), name="membership_role"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.tenant}: {self.role}"


class Invitations(models.QuerySet["Invitation"]):
    def open(self, now: datetime) -> "Invitations":
        return self.filter(at__gt=now - INVITED_FOR)


class Invitation(models.Model):
    """A part in a tenant for whoever signs in with a name.

    A tenant's admins give no part to anybody at once: the answer would tell them who there is.
    """

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="invitations")
    name = models.CharField(max_length=150)  # a User's, or nobody's
    role = models.CharField(max_length=16, choices=Membership.Role)
    by = models.CharField(max_length=150)
    at = models.DateTimeField()

    objects = Invitations.as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "name"], name="one_invitation_of_a_name"),
            models.CheckConstraint(
                condition=Q(role__in=["tenant-admin", "tenant-viewer"]), name="invitation_role"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} to {self.tenant}: {self.role}"

    @property
    def ends_at(self) -> datetime:
        return self.at + INVITED_FOR


class OneTimeLink(models.Model):
    """A link that lets its person choose a password, once and for a while.  Its token is not kept."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="one_time_link"
    )
    digest = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"of {self.user}"
