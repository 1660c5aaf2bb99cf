"""``python -m gateway.simvllm``: the same as ``manage.py simvllm``, without Django."""

import sys
from argparse import ArgumentParser

from gateway.simvllm.options import EXAMPLES, HelpFormatter, add_arguments, from_arguments
from gateway.simvllm.server import serve


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


parser = ArgumentParser("simvllm", epilog=EXAMPLES, formatter_class=HelpFormatter)
add_arguments(parser)
arguments = parser.parse_args()
try:
    options = from_arguments(arguments)
except ValueError as error:
    parser.error(str(error))
serve(options, say)
