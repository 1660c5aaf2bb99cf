"""``manage.py createadmin``: a person who may change the rules and say who may."""

from typing import Any

from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils.crypto import get_random_string

from dashboard.accounts.models import OneTimePassword
from dashboard.accounts.permissions import ADMIN, SECURITY
from dashboard.audit.log import record


class Command(BaseCommand):
    help = "Make an admin. The password is shown once, alone on the last line; it works once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument(
            "--reset",
            action="store_true",
            help="give somebody who is there a password and both roles again",
        )

    @transaction.atomic
    def handle(self, **options: Any) -> None:
        name, reset = options["name"], options["reset"]
        person = User.objects.filter(username=name).first()
        if reset and person is None:
            raise CommandError(f"There is nobody named {name!r}.")
        if person is not None and not reset:
            raise CommandError(f"There is somebody named {name!r}. --reset gives them a password.")
        try:
            User.username_validator(name)
        except ValidationError as error:
            raise CommandError(f"{name!r} is no name for a person.") from error
        password = get_random_string(16)
        if person is None:
            person = User(username=name)
        person.is_active = person.is_staff = person.is_superuser = True
        person.set_password(password)
        person.save()
        for role in (ADMIN, SECURITY):
            person.groups.add(Group.objects.get_or_create(name=role)[0])
        OneTimePassword.objects.get_or_create(user=person)
        record(
            "system",
            "person.password_reset" if reset else "person.created",
            f"person:{name}",
            after={"roles": [ADMIN, SECURITY]},
            reason="manage.py createadmin",
        )
        self.stdout.write(f"{name} may sign in once with this password, then chooses another:")
        self.stdout.write(password)
