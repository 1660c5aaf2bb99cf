"""``manage.py auditcheck``: verify the audit trail's chain."""

import re
from argparse import RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from dashboard.audit.chain import check

EXAMPLES = """examples:
  manage.py auditcheck
  manage.py auditcheck --noted NUMBER:HASH      what "Newest" was when it was last looked at
"""


class Command(BaseCommand):
    help = (
        "Recompute the audit trail's hashes. Fails with the first row changed, missing or cut off."
    )
    requires_system_checks: list[str] = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs.update(epilog=EXAMPLES, formatter_class=RawDescriptionHelpFormatter)
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--noted",
            default="",
            metavar="NUMBER:HASH",
            help="what an earlier run printed: also finds a chain that was written anew",
        )

    def handle(self, **options: Any) -> None:
        if options["noted"] and not re.fullmatch(r"\d{1,18}:[0-9a-f]{64}", options["noted"]):
            raise CommandError("--noted is NUMBER:HASH, as an earlier run printed it.")
        verdict = check(options["noted"])
        if verdict.broken:
            raise CommandError(f"{verdict.broken} Sound up to {verdict.newest}.")
        self.stdout.write(f"{verdict.rows} rows, all sound. Newest: {verdict.newest}")
