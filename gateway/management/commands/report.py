"""``manage.py report``: what a day came to, by tenant and tier."""

import csv
import json
from argparse import RawDescriptionHelpFormatter
from datetime import UTC, date, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from rich.console import Console
from rich.table import Table

from gateway import reports
from gateway.models import Tenant, TierDay
from gateway.reports import Line

EXAMPLES = """examples:
  manage.py report                              yesterday, all tenants
  manage.py report --day 2026-11-22 --tenant acme
  manage.py report --day today --csv > today.csv
  manage.py report --json | jq '.[] | select(.within_share < 0.99)'
"""

WIDE = 120  # columns, where nobody knows how many there are


class Command(BaseCommand):
    help = "Count a day of UTC by tenant and tier: requests, tokens, waits, refusals."
    requires_system_checks: list[str] = []

    def create_parser(self, *names: Any, **options: Any) -> CommandParser:
        parser = super().create_parser(
            *names, epilog=EXAMPLES, formatter_class=RawDescriptionHelpFormatter, **options
        )
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("--day", default="yesterday", help="YYYY-MM-DD, yesterday (the default) or today")
        add("--tenant", metavar="SLUG", help="only this one")
        shape = parser.add_mutually_exclusive_group()
        shape.add_argument("--csv", action="store_true")
        shape.add_argument("--json", action="store_true")

    def handle(self, **options: Any) -> None:
        day = day_of(options["day"], timezone.now().astimezone(UTC).date())
        tenant = None
        if options["tenant"]:
            tenant = Tenant.objects.filter(slug=options["tenant"]).first()
            if tenant is None:
                known = ", ".join(Tenant.objects.values_list("slug", flat=True)) or "none yet"
                raise CommandError(f"There is no tenant {options['tenant']!r}. Tenants: {known}.")
        reports.make(day)
        lines = reports.lines(TierDay.objects.of(day, tenant))
        if options["json"]:
            self.stdout.write(json.dumps([as_json(line) for line in lines], indent=1))
        elif options["csv"]:
            writer = csv.writer(self.stdout)
            writer.writerow(reports.COLUMNS)
            writer.writerows(reports.cells(line) for line in lines)
        elif lines:
            console = Console(width=None if self.stdout.isatty() else WIDE)
            with console.capture() as shown:
                console.print(table(day, lines))
            self.stdout.write(shown.get())
        else:
            self.stdout.write(f"No request on {day} (UTC).")


def day_of(text: str, today: date) -> date:
    named = {"today": today, "yesterday": today - timedelta(days=1)}
    try:
        day = named.get(text) or date.fromisoformat(text)
    except ValueError:
        raise CommandError("--day must be YYYY-MM-DD, yesterday or today.") from None
    if day > today:
        raise CommandError(f"--day {day} has not come yet: today is {today} (UTC).")
    return day


def as_json(line: Line) -> dict[str, Any]:
    return {**line._asdict(), "within_share": line.within_share}


def table(day: date, lines: list[Line]) -> Table:
    shown = Table(title=f"{day} (UTC)")
    for name in ("tenant", "tier"):
        shown.add_column(name)
    for name in ("requests", "tokens in", "out", "p50", "p95", "p99", "within target", "refused"):
        shown.add_column(name, justify="right")
    for line in lines:
        waits = [
            "-" if wait_s is None else f"{wait_s:.3g} s"
            for wait_s in (line.p50_s, line.p95_s, line.p99_s)
        ]
        share = "-" if line.within_share is None else f"{line.within_share * 100:.1f} %"
        refused = "\n".join(f"{code} {n}" for code, n in line.refused.items()) or "0"
        tokens = (f"{line.prompt_tokens:,}", f"{line.completion_tokens:,}")
        shown.add_row(line.tenant, line.tier, f"{line.requests:,}", *tokens, *waits, share, refused)
    return shown
