"""Who may do what: one function a question, asked by views and consumers, answered nowhere else."""

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

Person = AbstractBaseUser | AnonymousUser


def may_watch(person: Person) -> bool:
    """See every tier's queue, live.  All who can sign in work here: tenants have no accounts yet."""
    return person.is_authenticated and person.is_active
