"""``manage.py createadmin``: a person who may change the rules and say who may."""

from argparse import RawDescriptionHelpFormatter
from typing import Any

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from dashboard.accounts import links
from dashboard.accounts.roles import GUARDED
from dashboard.audit.log import record

EXAMPLES = """examples:
  manage.py createadmin ada
  manage.py createadmin ada --reset      a new password and second factor, for who is locked out
"""


class Command(BaseCommand):
    help = "Make an admin. A link that works once is shown, alone on the last line."
    requires_system_checks: list[str] = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs.update(epilog=EXAMPLES, formatter_class=RawDescriptionHelpFormatter)
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument(
            "--reset",
            action="store_true",
            help="let somebody who is there choose a new password, without a second factor, "
            "and give both roles again",
        )

    @transaction.atomic
    def handle(self, **options: Any) -> None:
        name, reset = options["name"], options["reset"]
        person = User.objects.filter(username=name).first()
        if reset and person is None:
            raise CommandError(f"There is nobody named {name!r}.")
        if person is not None and not reset:
            raise CommandError(f"There is somebody named {name!r}. --reset lets them in again.")
        try:
            User.username_validator(name)
        except ValidationError as error:
            raise CommandError(f"{name!r} is no name for a person.") from error
        person = person or User(username=name)
        person.is_active = person.is_staff = person.is_superuser = True
        person.set_unusable_password()
        person.save()
        Authenticator.objects.filter(user=person).delete()
        for role in GUARDED:
            person.groups.add(Group.objects.get_or_create(name=role)[0])
        record(
            "system",
            "person.password_reset" if reset else "person.created",
            f"person:{name}",
            after={"roles": list(GUARDED)},
            reason="manage.py createadmin",
        )
        path = links.make(person, timezone.now())
        self.stdout.write(f"{name} chooses a password here, once, within three days:")
        self.stdout.write(settings.LANEWAY_URL + path)
