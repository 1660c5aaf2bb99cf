"""``manage.py issuekey``: make an API key and show it, once."""

import json
from argparse import RawDescriptionHelpFormatter
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import IntegrityError
from django.utils import timezone

from gateway.core.policy import KeyRules
from gateway.keys import KINDS
from gateway.models import APIKey, Tenant

MOST_DAYS = 36_500  # beyond some centuries a date cannot be written
EXAMPLES = """examples:
  manage.py issuekey default --name prod
  manage.py issuekey acme --name nightly --ceiling -5 --days 30
  manage.py issuekey acme --name terraform --kind admin --scope write
"""


class Command(BaseCommand):
    help = "Make an API key for a tenant. It is shown once, alone on the last line."
    requires_system_checks: list[str] = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs.update(epilog=EXAMPLES, formatter_class=RawDescriptionHelpFormatter)
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("tenant", metavar="TENANT_SLUG")
        add("--name", required=True, help="what the key is for; each name is in use once a tenant")
        add(
            "--ceiling", type=int, default=10, help="the most urgent priority it reaches, -10 to 10"
        )
        add(
            "--kind",
            choices=KINDS,
            default="live",
            help="admin: for the management API and /metrics, calls no models",
        )
        add(
            "--scope",
            choices=("read", "write"),
            default="read",
            help="of an admin key: write changes tenants, keys and the policy (default: read)",
        )
        add("--days", type=int, default=180, help="until it expires; 0: never (default: 180)")
        add("--json", action="store_true", help="the key and what is known of it, as one object")

    def handle(self, **options: Any) -> None:
        tenant = Tenant.objects.filter(slug=options["tenant"]).first()
        if tenant is None:
            known = ", ".join(Tenant.objects.values_list("slug", flat=True)) or "none yet"
            raise CommandError(f"There is no tenant {options['tenant']!r}. Tenants: {known}.")
        if not -10 <= options["ceiling"] <= 10:
            raise CommandError("--ceiling is a priority from -10 to 10; higher is more urgent.")
        longest = APIKey._meta.get_field("name").max_length or 0
        if not 0 < len(options["name"].strip()) <= longest:
            raise CommandError(f"--name must have 1 to {longest} characters.")
        if not 0 <= options["days"] <= MOST_DAYS:
            raise CommandError(f"--days is a whole number from 0 (never ends) to {MOST_DAYS}.")
        expires_at = timezone.now() + timedelta(days=options["days"]) if options["days"] else None
        try:
            row, key = APIKey.objects.issue(
                tenant,
                options["name"],
                kind=options["kind"],
                rules=KeyRules(ceiling=options["ceiling"], scope=options["scope"]),
                expires_at=expires_at,
            )
        except IntegrityError:
            twin = APIKey.objects.in_use().get(tenant=tenant, name=options["name"])
            raise CommandError(
                f"{tenant.slug} has a key named {twin.name!r} in use ({twin.id8}). "
                "Take another name, or revoke that one first."
            ) from None
        until = f"{expires_at:%Y-%m-%d}" if expires_at else None
        if options["json"]:
            told = {name: options[name] for name in ("tenant", "name", "kind", "ceiling")}
            self.stdout.write(json.dumps({**told, "id8": row.id8, "expires": until, "key": key}))
            return
        self.stdout.write(f"Key {row.id8} of {tenant.slug}, valid until {until or 'revoked'}.")
        self.stdout.write("It is shown this once:")
        self.stdout.write(key)
