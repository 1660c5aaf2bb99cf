"""What runs by itself: each entry of the schedule names a task that there is."""

from dashboard.celery import app


def test_every_scheduled_task_exists():
    app.loader.import_default_modules()

    scheduled = {entry["task"] for entry in app.conf.beat_schedule.values()}
    assert {"gateway.tasks.roll_up_history", "gateway.tasks.make_reports"} <= scheduled
    assert scheduled <= set(app.tasks)
