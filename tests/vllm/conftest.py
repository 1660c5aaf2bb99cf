# ruff: noqa: TID251 -- continuous integration is told apart by the environment alone
"""Three real vLLM servers and a Laneway in front of them, started once for all of these tests."""

import os
import sqlite3
from collections.abc import Iterator

import httpx
import pytest

from tests.support.started import Started, outside, started
from tests.vllm.calling import Gateway
from tests.vllm.servers import RealVLLM, every, missing, serving

MOST_IN_FLIGHT = 8  # far above what runs, so that requests queue inside the engine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "vllm":
            item.add_marker(pytest.mark.vllm)


@pytest.fixture(scope="session")
def servers(tmp_path_factory) -> Iterator[dict[str, RealVLLM]]:
    why = missing()
    if why is not None and os.environ.get("CI"):
        pytest.fail(f"A real vLLM is needed here, and {why}.")
    if why is not None:
        pytest.skip(f"No real vLLM: {why}.")
    started = every(tmp_path_factory.mktemp("vllm"))
    with serving(*started.values()):
        yield started


@pytest.fixture(scope="session")
def laneway(servers, tmp_path_factory) -> Iterator[Started]:
    """Each model in a pool of its own, since a pool is what serves one model."""
    home = tmp_path_factory.mktemp("laneway")
    rows = "; ".join(
        f"Backend.objects.create(name={name!r}, pool={pool!r}, url={servers[name].url!r}, "
        f"max_in_flight={MOST_IN_FLIGHT})"
        for pool, name in (("arrival", "tiny-fcfs"), ("pooling", "tiny-pool"))
    )
    limit = f"Backend.objects.filter(pool='default').update(max_in_flight={MOST_IN_FLIGHT})"
    with started(outside(home), VLLM_URL=servers["tiny"].url) as up:
        up.manage("shell", "-c", f"from gateway.models import Backend; {rows}; {limit}")
        with gateway_of(up) as gateway:
            gateway.until(lambda: len(gateway.models()) == 3)
            gateway.until(lambda: gateway.backend("tiny")["limit"] == MOST_IN_FLIGHT)
        yield up


@pytest.fixture(autouse=True)
def _all_serve(servers) -> None:
    """Name the server that died, and why, before a hundred tests fail for want of it."""
    for server in servers.values():
        server.check()


def gateway_of(up: Started) -> Gateway:
    key = up.home / "admin-key"
    if not key.exists():
        issued = up.manage("issuekey", "default", "--name", "watch", "--kind", "admin")
        key.write_text(issued.split()[-1])
    assert up.key
    return Gateway(up.address, up.key, key.read_text())


@pytest.fixture
def gateway(laneway) -> Iterator[Gateway]:
    with gateway_of(laneway) as gateway:
        yield gateway
        gateway.until(lambda: all(pool["in_flight"] == 0 for pool in gateway.frame()["pools"]))


@pytest.fixture
def usage(laneway):
    """The settled row of a request, by the id its answer bore."""

    def row(id: str) -> dict[str, object]:
        with sqlite3.connect(laneway.home / "laneway.sqlite3") as database:
            database.row_factory = sqlite3.Row
            asked = "select * from gateway_usagerecord where request_id = ?"
            found = database.execute(asked, (id,)).fetchone()
        return dict(found) if found else {}

    return row


@pytest.fixture
def direct(servers) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=servers["tiny"].url, trust_env=False, timeout=120) as client:
        yield client
