"""Two evaluators at once on a real database: each change is made once, each message told once."""

import asyncio
import itertools
import threading

import pytest
from django.db import close_old_connections, connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboard.alerts import watch
from dashboard.alerts.models import AlertEvent, AlertState, Heartbeat, Incident, Rule
from dashboard.delivery.models import Delivery
from tests.dashboard.alerts.conftest import START, frame

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _nothing_leaves(monkeypatch):
    monkeypatch.setattr("dashboard.delivery.posting.hand_out", lambda pks: None)


def race(work, times=2):
    """Run it in threads that start together; what one of them raised is raised here."""
    barrier, failed = threading.Barrier(times), []

    def run():
        try:
            close_old_connections()
            barrier.wait()
            work()
        except BaseException as error:  # noqa: BLE001 -- told below
            failed.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def forget():
    for model in (Delivery, AlertEvent, AlertState, Incident, Heartbeat):
        model.objects.all().delete()


@given(st.lists(st.sampled_from([5.0, 55.0, 70.0, 147.0]), min_size=4, max_size=10))
@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_change_is_told_twice_by_two_evaluators(rule, levels):
    forget()
    Rule.objects.filter(pk=rule.pk).update(warn_for_s=0, crit_for_s=0, keep_s=0)
    second = 0
    for level in levels:
        for _ in range(2):
            moment = frame(second, standard={"p95": level})
            race(lambda moment=moment: watch.judge(moment))
            second += 11

    for incident in Incident.objects.all():
        said = list(incident.events.filter(kind="said"))
        assert len(said) == incident.said + (incident.closed_at is not None and incident.said > 0)
        changes = [e.kind for e in incident.events.filter(kind__in=["fired", "resolved"])]
        # It begins and ends in turns: no change was made twice.
        assert all(a != b for a, b in itertools.pairwise(changes)), changes
        assert incident.events.filter(kind="closed").count() <= 1
        assert (
            incident.said
            == Delivery.objects.filter(dedupe__regex=rf"^incident-{incident.pk}-\d+$").count()
        )
    assert Incident.objects.open().count() <= 1


def test_the_listener_judges_each_frame_it_gets(rule):
    listener = watch.Watch()

    async def two_seconds():
        await listener(frame(0, standard={"p95": 70}))
        await listener(frame(1, standard={"p95": 70}))

    asyncio.run(two_seconds())
    listener.close()

    assert AlertState.objects.count() == 1
    assert Heartbeat.last().timestamp() == START + 1
