"""``manage.py simvllm``: a simulated vLLM on a port, for development, the demo and load tests."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from gateway.simvllm.options import EXAMPLES, HelpFormatter, add_arguments, from_arguments
from gateway.simvllm.server import serve


class Command(BaseCommand):
    help = "Run a simulated vLLM: vLLM's HTTP interface and scheduler, without a GPU."
    requires_system_checks: list[str] = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs.update(epilog=EXAMPLES, formatter_class=HelpFormatter)
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_arguments(parser)

    def handle(self, *args: Any, **given: Any) -> None:
        try:
            options = from_arguments(Namespace(**given))
        except (ValueError, ArgumentTypeError) as error:
            raise CommandError(str(error)) from error
        serve(options, self.say)

    def say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
