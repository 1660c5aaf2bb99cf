"""A Laneway of the kit's own: a data folder that holds one backend, one tenant and its key.

Everything goes through ``manage.py`` and the servers' command lines, as a person would start it;
the environment of the caller is passed on, but for the folder.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SEED = """\
from gateway.core.policy import default_policy
from gateway.models import Backend, PolicyVersion, Tenant

if PolicyVersion.objects.newest() is None:
    PolicyVersion.objects.publish(default_policy(), "for the benchmark")
Tenant.objects.get_or_create(slug="bench", defaults={{"name": "Benchmark"}})
Backend.objects.update_or_create(name="bench", defaults={{
    "url": {url!r}, "scheduling_policy": "priority", "max_in_flight": {limit}}})
"""
SERVERS = {  # with the options that ``manage.py up`` gives them
    "daphne": (
        "-m daphne -v 0 -b 127.0.0.1 -p {port} --ping-interval 5 --ping-timeout 10 "
        "--no-server-name dashboard.asgi:application"
    ),
    "uvicorn": (
        "-m uvicorn dashboard.asgi:application --host 127.0.0.1 --port {port} --loop uvloop "
        "--http gateway.protocol:Protocol --no-access-log --no-server-header --backlog 4096 "
        "--timeout-keep-alive 75 --timeout-graceful-shutdown 2 --log-level warning --no-proxy-headers"
    ),
}


def words(home: Path, *arguments: object) -> list[str]:
    """A command line of this Python, at the project's root and with this data folder."""
    here = ["env", "-C", ROOT, f"LANEWAY_HOME={home}", "LANEWAY_LOG_LEVEL=WARNING"]
    return [str(word) for word in (*here, sys.executable, *arguments)]


def server(name: str, home: Path, port: int) -> list[str]:
    return words(home, *SERVERS[name].format(port=port).split())


def manage(home: Path, *arguments: object) -> str:
    """Run ``manage.py`` to its end and return what it printed; its complaint ends this run."""
    done = subprocess.run(
        words(home, "manage.py", *arguments), capture_output=True, text=True, timeout=120
    )
    if done.returncode:
        sys.exit(f"manage.py {arguments[0]}: {done.stderr[-3000:] or done.stdout[-3000:]}")
    return done.stdout


def prepare(home: Path, backend_url: str, limit: int) -> str:
    """Make the data folder and return the tenant's key."""
    manage(home, "migrate", "--verbosity", 0)
    configure(home, backend_url, limit)
    return manage(home, "issuekey", "bench", "--name", "bench").split()[-1]


def configure(home: Path, backend_url: str, limit: int) -> None:
    seed = SEED.format(url=backend_url, limit=limit)
    manage(home, "shell", "--no-imports", "-c", seed)
