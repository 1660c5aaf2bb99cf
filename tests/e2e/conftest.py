"""A browser for each file of tests: they share no cookies, and one that dies takes none along.
And data folders for what is started: one gets its tables and static files, the others are copies,
which saves 3 s of CPU a start.  ``test_up`` and the demo start from an empty folder.
"""

import fcntl
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.support.chromium import chromium
from tests.support.started import MANAGE, outside

MAKE_READY = """
from django.core.management import call_command
from gateway.management.commands.up import collect_static
call_command("migrate", verbosity=0)
collect_static()
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def ready_home(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Migrated, nobody and nothing in it; the first worker that asks makes it for all of them."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    home = shared / "ready"
    with (shared / "ready.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not home.exists():
            begun = shared / "begun"
            begun.mkdir(exist_ok=True)
            command = (*MANAGE, "shell", "-v0", "-c", MAKE_READY)
            subprocess.run(command, env=outside(begun), check=True, timeout=300)
            begun.rename(home)
    return home


@pytest.fixture(scope="session")
def new_home(ready_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Call it for a data folder of one's own."""

    def new_home() -> Path:
        return shutil.copytree(ready_home, tmp_path_factory.mktemp("home"), dirs_exist_ok=True)

    return new_home
