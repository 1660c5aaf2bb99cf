"""``manage.py policy``: the policy and the tenants as a file under version control.

``plan`` tells a pipeline by its exit status: 0 the same, 2 changes, 1 the file cannot be used.
"""

import hashlib
import sys
from argparse import RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from dashboard.policies import file, managed, publish, review, yaml_text
from dashboard.policies.reach import tiers_that_keys_name
from gateway.core.policy import load

CHANGES = 2

EXAMPLES = """examples:
  manage.py policy export -o laneway.yaml
  manage.py policy plan -f laneway.yaml
  manage.py policy apply -f laneway.yaml -m "More room for batch" --ref repo@3f2c1
"""


class Command(BaseCommand):
    help = "Export policy and tenants as YAML, show what a file would change, or put it in force."
    requires_system_checks: list[str] = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs.update(epilog=EXAMPLES, formatter_class=RawDescriptionHelpFormatter)
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        does = parser.add_subparsers(dest="does", required=True)
        export = does.add_parser("export", help="print the policy in force and the tenants")
        export.add_argument("-o", "--output", metavar="FILE", help="write it there instead")
        plan = does.add_parser("plan", help="say what FILE would change; exit 2 if anything")
        apply = does.add_parser("apply", help="publish FILE; from then on it manages the policy")
        for parser_of in (plan, apply):
            parser_of.add_argument("-f", "--file", required=True, help="YAML; - reads the input")
        apply.add_argument("-m", "--message", required=True, help="why, for the history")
        apply.add_argument("--accept", metavar="WHY", default="", help="why its warnings are fine")
        apply.add_argument(
            "--ref",
            default="",
            help="where the file stands, such as repo@3f2c1; else FILE@checksum",
        )
        apply.add_argument(
            "--over",
            metavar="VERSION",
            type=int,
            default=0,
            help="write over this version, which was not published from a file",
        )

    def handle(self, **options: Any) -> None:
        if options["does"] == "export":
            self.export(options["output"])
            return
        text, said = self.read(options["file"])
        plan = file.planned(said)
        self.stdout.write("\n".join(plan.changes or [f"No changes: v{plan.newest} says the same."]))
        if plan.unseen:
            self.stderr.write(f"drift: {plan.unseen}")
        warned = self.warned(plan)
        if options["does"] == "plan":
            sys.exit(CHANGES if plan.changes else 0)
        if warned and not options["accept"]:
            raise CommandError("Not published: say why the warnings are fine with --accept.")
        message = options["message"]
        if warned:
            message += f" (accepted: {options['accept']})"
        where = options["ref"] or _name(options["file"], text)
        self.apply(said, plan, where, message, options["over"])

    def export(self, output: str | None) -> None:
        text = file.exported()
        if output:
            try:
                Path(output).write_text(text)
            except OSError as error:
                raise CommandError(f"{output}: {error.strerror}.") from None
        else:
            self.stdout.write(text, ending="")

    def read(self, name: str) -> tuple[str, yaml_text.File]:
        try:
            text = sys.stdin.read() if name == "-" else Path(name).read_text()
            return text, yaml_text.parsed_file(text)
        except OSError as error:
            raise CommandError(f"{name}: {error.strerror}.") from None
        except UnicodeDecodeError:
            raise CommandError(f"{name}: this is no text in UTF-8.") from None
        except ValueError as error:
            raise CommandError(f"{name}: {error}") from None

    def warned(self, plan: file.Plan) -> list[review.Warned]:
        """Print the warnings the file brings; those that stand already are known."""
        used = tiers_that_keys_name()
        standing = review.warnings(load(plan.before), used)
        added = [w for w in review.warnings(load(plan.after), used) if w not in standing]
        for warning in added:
            self.stderr.write(f"warning: {warning.where}: {warning.text}")
        return added

    def apply(
        self, said: yaml_text.File, plan: file.Plan, where: str, message: str, over: int
    ) -> None:
        adopted = not managed.file_of(managed.POLICY)
        try:
            version = file.apply(said, plan, where, message, over)
        except publish.BaseMoved as moved:
            raise CommandError(f"Not published: {moved} Run plan again.") from None
        except file.Unseen as lost:
            way = f"Put it into the file, or apply with --over {plan.newest}."
            raise CommandError(f"Not published: {lost}. {way}") from None
        if version:
            self.stdout.write(f"Published v{version.number}.")
        if adopted:
            self.stdout.write(f"Managed in {where}.")


def _name(name: str, text: str) -> str:
    """``policy.yaml@3f2c1a9``: the file and a checksum of what it says."""
    checksum = hashlib.sha256(text.encode()).hexdigest()[:7]
    return f"{'input' if name == '-' else Path(name).name}@{checksum}"
