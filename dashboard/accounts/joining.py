"""Whoever signs in takes the parts in tenants that they were invited to."""

from typing import Any

from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in
from django.dispatch import receiver

from dashboard.tenants.changes import follow_invitations


@receiver(user_logged_in)
def signed_in(user: User, **_: Any) -> None:
    follow_invitations(user)
