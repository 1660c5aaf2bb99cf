"""``manage.py doctor``: what is wrong here, and what to do about it."""

from argparse import RawDescriptionHelpFormatter
from typing import Any

from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from msgspec import json

from gateway import doctor
from gateway.doctor.finding import WORST_FIRST
from gateway.doctor.looking import live_from
from gateway.management.commands.up import address

MARKS = {"error": "✗", "warning": "!", "note": "·", "ok": "✓"}

EXAMPLES = """examples:
  manage.py doctor
  manage.py doctor --brief
  manage.py doctor --json | jq '.[] | select(.severity == "error")'
"""


class Command(BaseCommand):
    help = (
        "Examine this installation and its model servers: what is wrong, why priority may have no "
        "effect, and what to do. Exits with 1 if there is an error."
    )
    requires_system_checks: list[str] = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs.update(epilog=EXAMPLES, formatter_class=RawDescriptionHelpFormatter)
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="the findings as a JSON list")
        parser.add_argument("--brief", action="store_true", help="leave out what is well")

    def handle(self, **options: Any) -> None:
        live, gateway_error = live_from(address())
        report = async_to_sync(doctor.examine)(timezone.now(), live, gateway_error)
        if options["json"]:
            self.stdout.write(json.encode(report.findings).decode())
        else:
            self.show(report, brief=options["brief"])
        errors = len(report.of("error"))
        if errors and options["json"]:
            raise SystemExit(1)
        if errors:
            raise CommandError(f"{errors} error{'s' if errors > 1 else ''} found.")

    def show(self, report: doctor.Report, *, brief: bool) -> None:
        styles = {"error": self.style.ERROR, "warning": self.style.WARNING}
        for severity in WORST_FIRST:
            style = styles.get(severity, str)
            for finding in report.of(severity):
                if brief and severity == "ok":
                    continue
                mark = style(f"{MARKS[severity]} {finding.about}")
                self.stdout.write(f"{mark}: {finding.message}")
                if finding.advice:
                    self.stdout.write(f"    → {finding.advice}")
        self.stdout.write(f"\n{settings.LANEWAY_HOME}: {report.counts}")
