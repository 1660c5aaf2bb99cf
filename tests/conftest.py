"""What all layers share: two tenants."""

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
