"""``manage.py up``: bring Laneway up on this machine, whole, and down again with Ctrl-C."""

import asyncio
import errno
import fcntl
import hashlib
import json
import os
import signal
import socket
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError
from django.utils import timezone

from gateway import seed
from gateway.supervisor import Child, Died, Supervisor

READY_WITHIN_S = 60.0
SPINNER = "|/-\\"
SIMULATED_SLOTS = 16  # few enough that the demo's traffic forms a line
DEMO_RATE_PER_S = 6
DRAIN_S = 120  # for requests under way after SIGTERM; uvicorn lets them end, Daphne cuts them
# Daphne has no websocket back-pressure; pings drop a page that stopped reading after about 15 s.
DAPHNE = ("-v", "0", "--ping-interval", "5", "--ping-timeout", "10", "--no-server-name")
UVICORN = (
    *("--loop", "uvloop", "--http", "gateway.protocol:Protocol", "--no-access-log"),
    "--no-proxy-headers",  # LANEWAY_TRUSTED_PROXIES alone says whom to believe (gateway.forwarded)
    *("--no-server-header", "--backlog", "4096"),
    "--timeout-keep-alive=75",  # outlives the pools of clients; uvicorn's 5 s would not
    f"--timeout-graceful-shutdown={DRAIN_S}",
)

EXAMPLES = """examples:
  manage.py up
  VLLM_URL=http://gpu-1:8000,http://gpu-2:8000 manage.py up --server uvicorn
  PORT=8080 LANEWAY_HOME=/srv/laneway manage.py up
  manage.py up --demo
"""


class Command(BaseCommand):
    help = "Start Laneway: database, pages, /v1, background tasks; vLLM too if there is none."
    # They load every page, half a second; `make lint` runs them.
    requires_system_checks: list[str] = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs.update(epilog=EXAMPLES, formatter_class=RawDescriptionHelpFormatter)
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("--demo", action="store_true", help="add three tenants and live traffic")
        add("--server", choices=["daphne", "uvicorn"], default="daphne")
        add("--rate", type=float, default=DEMO_RATE_PER_S, help="the demo's requests a second")

    def handle(self, **options: Any) -> None:
        self.demo = options["demo"]
        self.keys_file = settings.LANEWAY_HOME / "demo-keys.json"
        try:
            with alone(settings.LANEWAY_HOME):
                refuse_taken_port(settings.LANEWAY_HOST, settings.LANEWAY_PORT)
                self.prepare()
                asyncio.run(self.serve(self.children(options["server"], options["rate"])))
        except KeyboardInterrupt:
            self.stdout.write("\nStopped before it was up.")
        except Died as died:
            raise CommandError(str(died)) from None
        finally:
            self.keys_file.unlink(missing_ok=True)

    def prepare(self) -> None:
        """Bring database and files up to date, and add what a first start needs."""
        try:
            call_command("migrate", verbosity=0, interactive=False)
        except OperationalError as error:
            raise CommandError(f"The database cannot be used (DATABASE_URL): {error}") from None
        collect_static()
        seed.policy()
        self.password = seed.admin()
        if self.demo:
            seed.demo_tenants()
            keys = seed.demo_keys(timezone.now())
            self.key: str | None = next(iter(keys.values()))
            write_private(self.keys_file, json.dumps(keys))
        else:
            self.key = seed.first_key()
        self.simulated_port: int | None = None
        if settings.LANEWAY_BACKENDS:
            seed.backends(settings.LANEWAY_BACKENDS)
        elif self.demo or not seed.has_own_backends():
            self.simulated_port = free_port()
            seed.simulated_backend(f"http://127.0.0.1:{self.simulated_port}", SIMULATED_SLOTS)

    def children(self, server: str, rate: float) -> Iterator[Child]:
        """In the order of their start; they end in the opposite one."""
        manage = (sys.executable, str(settings.BASE_DIR / "manage.py"))
        python = (sys.executable, "-m")
        host, port = settings.LANEWAY_HOST, str(settings.LANEWAY_PORT)
        if self.simulated_port:
            slots = str(SIMULATED_SLOTS)
            model = ("--port", str(self.simulated_port), "--max-num-seqs", slots)
            yield Child("simvllm", (*manage, "simvllm", *model), patience_s=1.5)
        worker = ("worker", "-P", "threads", "-c", "4", "--without-gossip", "--without-mingle")
        beat = ("-B", "-s", settings.CELERY_BEAT_SCHEDULE_FILENAME, "-l", "INFO")
        celery = (*python, "celery", "-A", "dashboard", *worker, *beat)
        yield Child("celery", celery, patience_s=2.5, restarts=True)
        listen = {
            "daphne": ("daphne", "-b", host, "-p", port, *DAPHNE),
            "uvicorn": ("uvicorn", "--host", host, "--port", port, *UVICORN),
        }
        drain_s = DRAIN_S if server == "uvicorn" else 0
        serve = (*python, *listen[server], "dashboard.asgi:application")
        yield Child("server", serve, patience_s=4, work_s=drain_s)
        if self.demo:
            traffic = ("--mix", "demo", "--seed", "7", "--rate", str(rate), "--forever", "--quiet")
            where = ("--url", address(), "--keys-file", str(self.keys_file))
            yield Child("loadgen", (*manage, "loadgen", *where, *traffic), patience_s=1.5)

    async def serve(self, children: Iterator[Child]) -> None:
        """Run the children until one of them dies or somebody asks for the end."""
        asked = asyncio.Event()
        logs = settings.LANEWAY_HOME / "logs"
        supervisor = Supervisor(logs, settings.BASE_DIR, self.stdout.write)

        def stop(number: signal.Signals) -> None:
            """A service manager has time; who presses Ctrl-C has none, or has lost it."""
            if number == signal.SIGINT:
                supervisor.hurry()
            else:
                supervisor.take_time()
            asked.set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop, number)
        async with supervisor:
            for child in children:
                await supervisor.start(child)
            watching = asyncio.create_task(supervisor.watch())
            welcome = asyncio.create_task(self.welcome(logs))
            asking = asyncio.create_task(asked.wait())
            done, rest = await asyncio.wait(
                {watching, welcome, asking}, return_when=asyncio.FIRST_COMPLETED
            )
            if done == {welcome}:
                welcome.result()
                done, rest = await asyncio.wait(rest, return_when=asyncio.FIRST_COMPLETED)
            for task in rest:
                task.cancel()
            if asking in done:
                self.stdout.write("\nStopping…")
            else:
                for task in done:
                    task.result()
        self.stdout.write("Stopped. Everything you made is kept in " + str(settings.LANEWAY_HOME))

    async def welcome(self, logs: Path) -> None:
        """Wait until requests can be served, then say where and with what."""
        async with httpx.AsyncClient(base_url=address(), timeout=2, trust_env=False) as http:
            try:
                async with asyncio.timeout(READY_WITHIN_S):
                    await self.ready(http)
            except TimeoutError:
                message = f"Laneway is not ready after {READY_WITHIN_S:g} s. See {logs}."
                raise CommandError(message) from None
            model = await first_model(http, self.key) if self.key else None
        login = f"admin / {self.password}   (shown this once)" if self.password else "as before"
        write = self.stdout.write
        write(f"\nLaneway is up.\n\n  Dashboard  {address()}/\n  Sign in    {login}")
        write(f"  Base URL   {address()}/v1\n  Logs       {logs}\n")
        if self.key:
            write(f"  A first request, with a key of {'acme' if self.demo else 'default'}:")
            write(curl(self.key, model or "MODEL"))
        else:
            write("  A key: manage.py issuekey TENANT_SLUG --name NAME")
        write("\nCtrl-C ends everything.")
        self.stdout.flush()

    async def ready(self, http: httpx.AsyncClient) -> None:
        shown = sys.stdout.isatty()
        for n in range(10_000):
            try:
                answer = await http.get("/readyz")
            except httpx.TransportError:
                state = "starting the server"
            else:
                if answer.is_success:
                    break
                state = "waiting: " + " ".join(answer.text.split())[:50]
            if shown:
                print(f"\r{SPINNER[n % 4]} {state:<60}", end="", flush=True)
            elif n == 0:
                self.stdout.write(f"{state.capitalize()}…")
            await asyncio.sleep(0.1)
        if shown:
            print("\r" + " " * 64, end="\r")


def address() -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.LANEWAY_HOST, settings.LANEWAY_HOST)
    return f"http://{host}:{settings.LANEWAY_PORT}"


def curl(key: str, model: str) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    return (
        f"  curl {address()}/v1/chat/completions -H 'Authorization: Bearer {key}' "
        f"-H 'Content-Type: application/json' -d '{json.dumps(body)}'"
    )


async def first_model(http: httpx.AsyncClient, key: str) -> str | None:
    """The model to show in the example; the servers may need a moment to be found."""
    for _ in range(20):
        answer = await http.get("/v1/models", headers={"authorization": f"Bearer {key}"})
        models = answer.json().get("data") if answer.is_success else None
        if models:
            return str(models[0]["id"])
        await asyncio.sleep(0.25)
    return None


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """Hold the data folder: two gateways on it would each think that all slots are theirs."""
    with (home / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(
                f"Laneway is already up on {home}. Set LANEWAY_HOME to another folder."
            ) from None
        yield


def refuse_taken_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            why = {
                errno.EADDRINUSE: f"PORT {port} is taken by another program. Try PORT={port + 1}.",
                errno.EACCES: f"PORT {port} needs privileges. Try PORT=8000.",
            }
            raise CommandError(
                why.get(error.errno or 0, f"HOST {host}, PORT {port} cannot be used: {error}")
            ) from None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def collect_static() -> None:
    """Collect the static files, if they are not those of the last time."""
    seen = hashlib.sha256()
    for finder in get_finders():
        for name, storage in finder.list([]):
            stat = os.stat(storage.path(name))
            seen.update(f"{name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    mark = settings.STATIC_ROOT / ".collected"
    if not mark.exists() or mark.read_text() != seen.hexdigest():
        call_command("collectstatic", verbosity=0, interactive=False, clear=True)
        mark.write_text(seen.hexdigest())
