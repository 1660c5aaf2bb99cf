"""The Celery application and its schedule: in code, so that nobody edits cron."""

import fcntl
import os
from typing import Any

from celery import Celery, bootsteps
from celery.schedules import crontab
from celery.signals import beat_init
from kombu.transport import TRANSPORT_ALIASES

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dashboard.settings")

TRANSPORT_ALIASES["filesystem"] = "dashboard.broker:Transport"
app = Celery("laneway")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.conf.beat_schedule = {
    "prune-samples": {"task": "gateway.tasks.prune_samples", "schedule": 300.0},
    "roll-up-history": {"task": "gateway.tasks.roll_up_history", "schedule": 60.0},
    "reports": {"task": "gateway.tasks.make_reports", "schedule": 1800.0},
    "prune-history": {"task": "gateway.tasks.prune_history", "schedule": 3600.0},
    # Whatever a broker loses is found again; a sweep that comes late is no use beside the next.
    "deliveries": {
        "task": "dashboard.delivery.tasks.sweep",
        "schedule": 5.0,
        "options": {"expires": 5},
    },
    "prune-deliveries": {
        "task": "dashboard.delivery.tasks.prune_deliveries",
        "schedule": 3600.0,
    },
    "remind-of-keys": {"task": "dashboard.tenants.tasks.remind_of_keys", "schedule": 60.0},
    "heartbeat": {"task": "dashboard.delivery.tasks.heartbeat", "schedule": 60.0},
    "prune-incidents": {"task": "dashboard.alerts.tasks.prune_incidents", "schedule": 86_400.0},
    # A dead evaluator cannot report itself; a look that comes late is no use beside the next.
    "evaluator": {
        "task": "dashboard.alerts.tasks.watch_the_evaluator",
        "schedule": 15.0,
        "options": {"expires": 15},
    },
    "ended-overrides": {
        "task": "dashboard.live.tasks.record_ended_overrides",
        "schedule": 10.0,
        "options": {"expires": 10},
    },
    "prune-overrides": {"task": "dashboard.live.tasks.prune_overrides", "schedule": 86_400.0},
    # At night: it reads the whole trail.
    "audit-chain": {
        "task": "dashboard.audit.tasks.look_at_the_chain",
        "schedule": crontab(hour="3", minute="40"),
    },
    "prune-usage": {"task": "gateway.tasks.prune_usage", "schedule": 3600.0},
}


class EndsAtOnce(bootsteps.StartStopStep):
    """Celery asks a broker on a folder for 2 s before it looks whether it shall end, then once more."""

    requires = ("celery.worker.consumer.connection:Connection",)

    def start(self, consumer: Any) -> None:
        drain_events = consumer.connection.drain_events
        consumer.connection.drain_events = lambda timeout: drain_events(timeout=min(timeout, 0.1))


app.steps["consumer"].add(EndsAtOnce)


@beat_init.connect
def only_beat(sender: Any, **kwargs: Any) -> None:
    """Keep a second beat on the same data folder away: each task would be sent twice."""
    from django.conf import settings

    lock = open(settings.LANEWAY_HOME / "celery" / "beat.lock", "w")  # noqa: SIM115 - held until the process ends
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SystemExit("Another Celery beat already works on this data folder.") from None
    sender.lock = lock
