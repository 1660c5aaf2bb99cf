"""The Django site: what people see and change.  It sits on the gateway, never the other way."""

from dashboard.celery import app as celery_app

__all__ = ["celery_app"]
