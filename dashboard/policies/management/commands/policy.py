"""``manage.py policy``: the policy as a file under version control.

``plan`` tells a pipeline by its exit status: 0 the same, 2 changes, 1 the file cannot be used.
"""

import sys
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError, CommandParser

from dashboard.policies import diff, publish, review, yaml_text
from dashboard.policies.fields import Document
from dashboard.policies.fields import document as as_document
from dashboard.policies.models import in_force
from dashboard.policies.reach import tiers_that_keys_name
from gateway.core.policy import Policy, load

CHANGES = 2


class Command(BaseCommand):
    help = "Export the policy as YAML, show what a file would change, or publish a file."

    def add_arguments(self, parser: CommandParser) -> None:
        does = parser.add_subparsers(dest="does", required=True)
        export = does.add_parser("export", help="print the policy in force")
        export.add_argument("-o", "--output", metavar="FILE", help="write it there instead")
        plan = does.add_parser("plan", help="say what FILE would change; exit 2 if anything")
        apply = does.add_parser("apply", help="publish FILE as the next version")
        for parser_of in (plan, apply):
            parser_of.add_argument("-f", "--file", required=True, help="YAML; - reads the input")
        apply.add_argument("-m", "--message", required=True, help="why, for the history")
        apply.add_argument("--accept", metavar="WHY", default="", help="why its warnings are fine")

    def handle(self, **options: str) -> None:
        if options["does"] == "export":
            self.export(options["output"])
            return
        policy = self.read(options["file"])
        number, before = in_force()
        after = diff.unkeyed(diff.keyed(as_document(policy)))
        changes = diff.sentences(before, after)
        if not changes and diff.keyed(before) == diff.keyed(after):
            self.stdout.write(f"No changes: v{number} says the same.")
            return
        self.stdout.write("\n".join(changes or ["something that no page shows"]))
        warned = self.warned(before, policy)
        if options["does"] == "plan":
            sys.exit(CHANGES)
        self.apply(policy, number, warned, options["message"], options["accept"])

    def export(self, output: str | None) -> None:
        text = yaml_text.written(in_force()[1])
        if output:
            Path(output).write_text(text)
        else:
            self.stdout.write(text, ending="")

    def read(self, name: str) -> Policy:
        try:
            return yaml_text.parsed(sys.stdin.read() if name == "-" else Path(name).read_text())
        except (OSError, ValueError) as error:
            raise CommandError(f"{name}: {error}") from None

    def warned(self, before: Document, policy: Policy) -> list[review.Warned]:
        """Print the warnings the file brings; those that stand already are known."""
        used = tiers_that_keys_name()
        standing = review.warnings(load(before), used)
        added = [w for w in review.warnings(policy, used) if w not in standing]
        for warning in added:
            self.stderr.write(f"warning: {warning.where}: {warning.text}")
        return added

    def apply(
        self, policy: Policy, number: int, warned: list[review.Warned], message: str, accept: str
    ) -> None:
        if warned and not accept:
            raise CommandError("Not published: say why the warnings are fine with --accept.")
        said = f"{message} (accepted: {accept})" if warned else message
        try:
            version = publish.publish_file(policy, number, said)
        except publish.BaseMoved as moved:
            raise CommandError(f"Not published: {moved} Run plan again.") from None
        self.stdout.write(f"Published v{version.number}.")
