"""One more rule that every installation begins with: an order is about to run out."""

from typing import Any

from django.db import migrations

RULE = {"metric": "override_term", "warn": 0.8, "warn_for_s": 0, "keep_s": 0}


def ship(apps: Any, schema_editor: Any) -> None:
    rules = apps.get_model("alerts", "Rule").objects
    rules.get_or_create(name="An order ends soon", defaults=RULE)


class Migration(migrations.Migration):
    dependencies = [("alerts", "0002_shipped_rules")]

    operations = [migrations.RunPython(ship, migrations.RunPython.noop)]
