"""What all layers share: two tenants, and the environment a started process gets."""

import os

import pytest
from django.conf import settings

from gateway.models import Tenant


def pytest_report_header() -> str:
    return "database: " + settings.DATABASES["default"]["ENGINE"].rpartition(".")[2]


@pytest.fixture
def acme(db: None) -> Tenant:
    return Tenant.objects.create(slug="acme", name="Acme")


@pytest.fixture
def birch(db: None) -> Tenant:
    return Tenant.objects.create(slug="birch", name="Birch")


@pytest.fixture
def environment(tmp_path, monkeypatch) -> dict[str, str]:
    """For processes that must start as an operator would start them, in a folder of their own."""
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    return {**os.environ, "LANEWAY_HOME": str(tmp_path / "home")}
