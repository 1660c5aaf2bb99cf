"""The roles that come with an upgrade, and with a first start."""

from importlib import import_module

import pytest
from django.apps import apps
from django.contrib.auth.models import User

from dashboard.accounts.permissions import ROLES, standing
from gateway import seed
from tests.support.people import person

pytestmark = pytest.mark.django_db


def test_nobody_loses_by_the_upgrade_what_they_could_do():
    make = import_module("dashboard.accounts.migrations.0002_roles").make
    root = User.objects.create_superuser("root")
    otto, gone = person("otto"), User.objects.create_user("gone", is_active=False)

    for _ in range(2):
        make(apps, None)

    assert standing(root).roles == {"admin", "security"}
    assert standing(otto).roles == {"viewer"}
    assert not gone.groups.exists()


def test_the_first_person_may_change_the_rules_and_say_who_may(settings):
    settings.LANEWAY_REQUIRE_MFA = False
    seed.admin()

    assert standing(User.objects.get()).roles == set(seed.FIRST_ROLES)
    assert set(seed.FIRST_ROLES) <= set(ROLES)
