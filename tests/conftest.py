"""What all layers share: two tenants, and the rows every installation begins with."""

import pkgutil
from importlib import import_module

import pytest
from django.apps import AppConfig, apps
from django.conf import settings
from django.db.models.signals import post_migrate
from django.dispatch import receiver

from dashboard.alerts import migrations
from gateway.models import Tenant


def pytest_report_header() -> str:
    return "database: " + settings.DATABASES["default"]["ENGINE"].rpartition(".")[2]


@pytest.fixture
def acme(db: None) -> Tenant:
    return Tenant.objects.create(slug="acme", name="Acme")


@pytest.fixture
def birch(db: None) -> Tenant:
    return Tenant.objects.create(slug="birch", name="Birch")


@receiver(post_migrate)
def ship_again(app_config: AppConfig, plan: object = None, **_: object) -> None:
    """A test with transactions ends in a flush: what migrations had put there comes back, so that
    tests may run in any order."""
    if plan is None and app_config.label == "alerts":
        for found in pkgutil.iter_modules(migrations.__path__):
            migration = import_module(f"{migrations.__name__}.{found.name}")
            if hasattr(migration, "ship"):
                migration.ship(apps, None)
