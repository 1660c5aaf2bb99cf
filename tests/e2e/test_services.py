"""What runs on SQLite and in memory runs on PostgreSQL and Redis too: the real ones."""

import runpy
import subprocess
import sys

import pytest
import redis
from celery import Celery
from django.conf import settings
from django.core.cache import CacheHandler
from django.utils.module_loading import import_string

from gateway.newest import FRAME
from tests.support.services import postgresql, redis_server

pytestmark = pytest.mark.e2e

SETTINGS = settings.BASE_DIR / "dashboard" / "settings.py"
ON_ANY_DATABASE = ("models", "records", "auth", "seed", "issuekey", "rollup", "reports")


@pytest.fixture(scope="module")
def redis_url():
    with redis_server() as url:
        yield url


@pytest.fixture
def found(redis_url, tmp_path, monkeypatch):
    """The settings of an installation with Redis."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("LANEWAY_HOME", str(tmp_path))
    return runpy.run_path(str(SETTINGS))


def test_rows_behave_alike_on_postgresql(monkeypatch):
    """The tests of everything that touches rows, migrations and COPY included, once more."""
    files = [f"tests/gateway/test_{name}.py" for name in ON_ANY_DATABASE]
    with postgresql() as url:
        monkeypatch.setenv("LANEWAY_TESTS_ON", url)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *files],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    assert done.returncode == 0, done.stdout[-4000:]
    assert "database: postgresql" in done.stdout


async def test_a_frame_reaches_watchers_in_another_process(found):
    config = found["CHANNEL_LAYERS"]["default"]
    here, there = (import_string(config["BACKEND"])(**config["CONFIG"]) for _ in range(2))
    channel = await there.new_channel()
    await there.group_add("live", channel)

    await here.group_send("live", {"type": "live.frame", "text": "{}"})

    assert await there.receive(channel) == {"type": "live.frame", "text": "{}"}
    await here.flush()
    await there.flush()


async def test_the_newest_frame_is_shared(found):
    here, there = (CacheHandler(found["CACHES"])["default"] for _ in range(2))

    await here.aset(FRAME, "{}", 5)

    assert await there.aget(FRAME) == "{}"


def test_a_task_is_handed_over(found, redis_url):
    app = Celery("laneway")
    app.config_from_object(
        {
            "broker_url": found["CELERY_BROKER_URL"],
            "broker_transport_options": found["CELERY_BROKER_TRANSPORT_OPTIONS"],
            "task_ignore_result": True,
        }
    )

    app.send_task("gateway.tasks.prune_samples")

    app.close()
    with redis.Redis.from_url(redis_url) as client:
        assert client.llen("laneway.celery") == 1
