"""Frames with the numbers a test wants, and a quiet site to judge them on."""

from datetime import UTC, datetime

import pytest
from django.core.cache import cache
from msgspec.structs import replace

from dashboard.alerts import watch
from dashboard.alerts.models import Incident, Rule
from dashboard.delivery.models import Channel
from gateway.core.snapshot import QuantileView
from tests.support.frames import Traffic
from tests.support.people import person

START = datetime(2026, 11, 23, 10, 0, tzinfo=UTC).timestamp()  # a Monday
CALM = Traffic(per_s={}).frame(START)


def frame(second, *, backends=None, **tiers):
    """One pool, ``second`` after the start; each tier may say ``p95``, ``oldest_s`` and so on."""
    pool = CALM.pools[0]
    views = []
    for view in pool.tiers:
        said = dict(tiers.get(view.name, {}))
        if "p95" in said:
            p95 = QuantileView(float(said.pop("p95")), said.pop("at_least", False))
            said["wait"] = replace(view.wait, n=100, p95=p95)
        views.append(replace(view, **said))
    servers = pool.backends
    if backends is not None:
        servers = tuple(
            replace(servers[0], name=f"gpu-{n + 1}", state=state)
            for n, state in enumerate(backends)
        )
    pool = replace(pool, tiers=tuple(views), backends=servers)
    return replace(CALM, at=START + second, pools=(pool,))


def play(seconds, **said):
    for second in seconds:
        watch.judge(frame(second, **said))


def at(second):
    return datetime.fromtimestamp(START + second, UTC)


@pytest.fixture(autouse=True)
def _nothing_leaves(monkeypatch):
    """Messages are rows here; sending them is tested with delivery."""
    monkeypatch.setattr("dashboard.delivery.posting.hand_out", lambda pks: None)


@pytest.fixture(autouse=True)
def _empty_cache():
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def no_rules(db):
    """Without the shipped rules: a test's own stands alone."""
    Rule.objects.all().delete()


@pytest.fixture
def channel(db):
    channel = Channel(name="oncall", kind="ntfy", where="ntfy.sh", created_by="ada")
    channel.address = "ntfys://ntfy.sh/laneway"
    channel.save()
    return channel


@pytest.fixture
def rule(no_rules, channel):
    """Wait p95 of standard (0): warn over 60 s for 5 s, crit over 120 s for 5 s."""
    rule = Rule.objects.create(
        name="Standard waits",
        metric="wait_p95",
        tier="standard",
        warn=60,
        warn_for_s=5,
        crit=120,
        crit_for_s=5,
        keep_s=5,
        runbook="https://wiki.example/waits",
    )
    rule.warn_channels.add(channel)
    return rule


@pytest.fixture
def fired(rule):
    play(range(16), standard={"p95": 70})
    return Incident.objects.get()


@pytest.fixture
def signed_in(client):
    def sign_in(name, *roles):
        client.force_login(person(name, *roles))
        return client

    return sign_in
