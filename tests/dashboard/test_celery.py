"""What beat sends, a worker knows."""

from dashboard.celery import app


def test_every_task_of_the_schedule_is_registered():
    app.loader.import_default_modules()
    sent = {entry["task"] for entry in app.conf.beat_schedule.values()}

    assert sent
    assert not sent - app.tasks.keys()
