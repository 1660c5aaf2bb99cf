"""More rules that every installation begins with: starvation, slow burn, a silent notifier."""

from typing import Any

from django.db import migrations

SHIPPED: tuple[dict[str, Any], ...] = (
    {
        "name": "Starvation: the bound is near",
        "metric": "bound_used",
        "warn": 0.8,
        "warn_for_s": 30,
        "crit": 1,
        "crit_for_s": 10,
    },
    {
        "name": "Passed over while others go",
        "metric": "passed_over",
        "warn": 300,
        "warn_for_s": 10,
        "crit": 900,
        "crit_for_s": 10,
    },
    {
        "name": "Target wait missed for hours",
        "metric": "burn_6h",
        "warn": 6,
        "warn_for_s": 60,
    },
    {
        "name": "Notifier silent",
        "metric": "notifier",
        "crit": 15,
        "crit_for_s": 10,
        "keep_s": 0,
    },
)


def ship(apps: Any, schema_editor: Any) -> None:
    rules = apps.get_model("alerts", "Rule").objects
    for rule in SHIPPED:
        rules.get_or_create(name=rule["name"], defaults=rule)
    # The slow window has a rule of its own now; where nobody changed it, the fast one is crit alone.
    rules.filter(metric="burn", warn=6, crit=14.4, edit=0).update(warn=None)


class Migration(migrations.Migration):
    dependencies = [("alerts", "0004_broken_rules_and_ends")]

    operations = [migrations.RunPython(ship, migrations.RunPython.noop)]
