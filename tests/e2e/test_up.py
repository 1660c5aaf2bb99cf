"""``manage.py up`` as an operator meets it: it starts, serves, tells, remembers and ends."""

import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest
from django.conf import settings

from tests.support.services import postgresql, redis_server
from tests.support.started import DOWN_WITHIN_S, MANAGE, Started, free_port, outside, started

pytestmark = pytest.mark.e2e
LOOK_EVERY_S = 0.02


@pytest.fixture(scope="module")
def first_start(tmp_path_factory) -> Started:
    """A first start, ended: its folder is what later starts find."""
    home = tmp_path_factory.mktemp("first") / "home"
    with started(outside(home)) as laneway:
        laneway.answer = ask(laneway, laneway.key)
        laneway.page = httpx.get(laneway.address, follow_redirects=True)
        laneway.children = descendants(laneway)
        begun = time.perf_counter()
        laneway.code = laneway.end()
        laneway.ended_in_s = time.perf_counter() - begun
    return laneway


@pytest.fixture
def again(first_start, tmp_path) -> dict[str, str]:
    """For a start that is not the first: its environment, on a copy of that folder."""
    shutil.copytree(first_start.home, tmp_path / "home")
    return outside(tmp_path / "home")


def ask(laneway: Started, key: str | None) -> httpx.Response:
    body = {"model": laneway.model, "messages": [{"role": "user", "content": "Hi"}]}
    return httpx.post(
        f"{laneway.address}/v1/chat/completions",
        headers={"authorization": f"Bearer {key}"},
        json=body | {"max_tokens": 5},
        timeout=30,
    )


def within(seconds: float, condition) -> float:
    """Wait for the condition; how long it took."""
    begun = time.perf_counter()
    while not condition():
        assert time.perf_counter() - begun < seconds, f"not within {seconds} s"
        time.sleep(LOOK_EVERY_S)
    return time.perf_counter() - begun


def descendants(laneway: Started) -> list[psutil.Process]:
    return psutil.Process(laneway.process.pid).children(recursive=True)


def running(processes: list[psutil.Process]) -> list[psutil.Process]:
    return psutil.wait_procs(processes, timeout=3)[1]


def test_a_first_start_serves_pages_and_models(first_start):
    answer, page = first_start.answer, first_start.page

    assert answer.status_code == 200, answer.text
    assert answer.headers["x-laneway-tier"] == "standard"
    assert (page.status_code, page.url.path) == (200, "/accounts/login/")
    assert "script-src 'self'" in page.headers["content-security-policy"].split("; ")


def test_ctrl_c_ends_everything_within_ten_seconds(first_start):
    assert first_start.code == 0
    assert first_start.ended_in_s < 10
    assert "Traceback" not in first_start.text
    assert "celery did not end" not in first_start.text
    assert not running(first_start.children)


def test_no_secret_is_written_anywhere(first_start):
    assert first_start.password is not None
    assert_nowhere(first_start.home, first_start.key, first_start.password)


def test_a_second_start_finds_what_the_first_one_made(again, first_start):
    with started(again) as laneway:
        assert laneway.password is None
        assert laneway.key is None
        assert httpx.get(f"{laneway.address}/v1/models", headers=bearer(first_start.key)).is_success

        refused = subprocess.run(
            (*MANAGE, "up"), env=again, capture_output=True, text=True, check=False
        )
        assert laneway.end(signal.SIGTERM) == 0

    assert refused.returncode == 1
    assert f"Laneway is already up on {laneway.home}" in refused.stderr
    assert first_start.key not in laneway.text


def bearer(key: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def assert_nowhere(home: Path, *secrets: str | None) -> None:
    """No secret is in the database, a log or any other file, but for what ``up`` itself said."""
    for path in home.rglob("*"):
        if path.is_file() and not path.name.startswith("up-"):
            held = path.read_bytes()
            for secret in secrets:
                assert secret is not None
                assert secret[-20:].encode() not in held, path


def test_a_key_is_known_and_forgotten_within_a_second(again):
    def status(key: str) -> int:
        return httpx.get(f"{laneway.address}/v1/models", headers=bearer(key)).status_code

    with started(again) as laneway:
        key = laneway.manage("issuekey", "default", "--name", "second").splitlines()[-1]
        issued_s = within(5, lambda: status(key) == 200)
        revoke = (
            f"from gateway.models import APIKey; APIKey.objects.get(id8='{key[8:16]}').revoke()"
        )
        laneway.manage("shell", "-c", revoke)
        revoked_s = within(5, lambda: status(key) == 401)

    # The command's own end counts for some of the second; a busy machine gets another half.
    assert issued_s < 1.5
    assert revoked_s < 1.5


def test_the_demo_has_traffic_and_leaves_no_key_behind(again):
    with started(again, "--demo") as laneway:
        first = laneway.key
        assert (laneway.home / "demo-keys.json").stat().st_mode & 0o777 == 0o600

        def finished() -> bool:
            text = httpx.get(f"{laneway.address}/metrics").text
            return 'laneway_requests_total{outcome="completed",pool="default"' in text

        within(20, finished)

    assert not (laneway.home / "demo-keys.json").exists()
    assert_nowhere(laneway.home, first)

    with started(again, "--demo") as laneway:
        assert ask(laneway, laneway.key).is_success
        refused = ask(laneway, first)
        assert refused.json()["error"]["code"] == "api_key_revoked"


def test_children_die_with_a_killed_parent(again):
    with started(again) as laneway:
        children = descendants(laneway)
        assert len(children) >= 3

        laneway.process.kill()
        laneway.process.wait()

    assert not psutil.wait_procs(children, timeout=15)[1]


def test_a_dead_server_ends_everything_with_a_sentence(again):
    with started(again) as laneway:
        children = descendants(laneway)
        next(p for p in children if "daphne" in p.cmdline()).kill()

        assert laneway.process.wait(15) == 1

    assert "server was killed by SIGKILL, so everything was stopped" in laneway.text
    assert "Traceback" not in laneway.text
    assert not running(children)


def test_a_dead_worker_is_started_again(again):
    with started(again) as laneway:
        worker = next(p for p in descendants(laneway) if "worker" in p.cmdline())
        worker.kill()

        within(10, lambda: "celery ended with -9; starting it again in 1 s." in laneway.text)
        within(10, lambda: any("worker" in p.cmdline() for p in live(laneway)))


def live(laneway: Started) -> list[psutil.Process]:
    found = []
    for process in descendants(laneway):
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                process.cmdline()
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def test_a_taken_port_is_named(tmp_path):
    port = free_port()
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        done = subprocess.run(
            (*MANAGE, "up"),
            env={**outside(tmp_path / "home"), "PORT": str(port)},
            capture_output=True,
            text=True,
            check=False,
        )

    assert done.returncode == 1
    assert (
        done.stderr
        == f"CommandError: PORT {port} is taken by another program. Try PORT={port + 1}.\n"
    )


def test_nonsense_in_the_environment_is_a_sentence(tmp_path):
    done = subprocess.run(
        (*MANAGE, "up"),
        env={**outside(tmp_path / "home"), "PORT": "x"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr == (
        "Laneway cannot start.\nPORT is 'x': expected a whole number from 1 to 65535.\n"
    )


def stream_through_the_end(laneway: Started) -> str:
    """A stream that is far from over when a service manager asks for the end."""
    told = ""
    body = {"model": laneway.model, "messages": [], "stream": True, "max_tokens": 1_500}
    with httpx.stream(
        "POST",
        f"{laneway.address}/v1/chat/completions",
        headers={"authorization": f"Bearer {laneway.key}"},
        json=body | {"ignore_eos": True},
        timeout=30,
    ) as answer:
        for text in answer.iter_text():
            if not told:
                laneway.process.send_signal(signal.SIGTERM)
            told += text
    return told


def test_it_runs_on_uvicorn_with_postgresql_and_redis(tmp_path):
    with postgresql() as database, redis_server() as redis:
        with started(
            outside(tmp_path / "home"),
            "--server",
            "uvicorn",
            DATABASE_URL=database,
            REDIS_URL=redis,
        ) as laneway:
            assert ask(laneway, laneway.key).status_code == 200
            assert stream_through_the_end(laneway).endswith("data: [DONE]\n\n")
            assert laneway.process.wait(DOWN_WITHIN_S) == 0

        assert not (laneway.home / "laneway.sqlite3").exists()
        log = (laneway.home / "logs/server.log").read_text()
        assert "Traceback" not in laneway.text + log
        assert "uvicorn.access" not in log  # a line for each request would cost more than its queue


def test_a_page_that_hangs_does_not_keep_a_bare_server_from_ending(tmp_path):
    port, log = str(free_port()), tmp_path / "bare.log"
    line = (sys.executable, "-m", "uvicorn", "--port", port, "--timeout-graceful-shutdown", "1")
    with log.open("wb") as file:
        server = subprocess.Popen(
            (*line, "tests.support.hanging_site:application"),
            cwd=settings.BASE_DIR,
            env=outside(tmp_path / "home"),
            stdout=file,
            stderr=file,
        )
    try:
        within(30, lambda: "Uvicorn running" in log.read_text())
        with socket.create_connection(("127.0.0.1", int(port))) as page:
            page.sendall(b"GET /hang HTTP/1.1\r\nhost: localhost\r\n\r\n")
            within(10, lambda: "a page hangs" in log.read_text())
            server.send_signal(signal.SIGTERM)
            server.wait(DOWN_WITHIN_S)
    finally:
        server.kill()
        server.wait()

    assert "Application shutdown complete" in log.read_text()
