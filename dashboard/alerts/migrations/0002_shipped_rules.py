"""The rules every installation begins with; one that somebody deletes stays deleted.

They are on the charts at once, and sent when somebody chooses a channel for them.
"""

from typing import Any

from django.db import migrations

MOST_URGENT = "^"
# Named by their sentence; durations in seconds, shares from 0 to 1.
SHIPPED: tuple[dict[str, Any], ...] = (
    {
        "name": "Oldest waiting, most urgent tier",
        "metric": "oldest",
        "tier": MOST_URGENT,
        "of_target": True,
        "warn": 1,
        "warn_for_s": 30,
        "crit": 3,
        "crit_for_s": 30,
    },
    {
        "name": "Wait p95 against the target wait",
        "metric": "wait_p95",
        "of_target": True,
        "warn": 1,
        "warn_for_s": 120,
        "crit": 2,
        "crit_for_s": 120,
    },
    {
        "name": "Queue against its limit",
        "metric": "queue",
        "warn": 0.7,
        "warn_for_s": 60,
        "crit": 0.95,
        "crit_for_s": 15,
    },
    {
        "name": "Growing: full soon",
        "metric": "time_to_full",
        "warn": 600,
        "warn_for_s": 300,
        "crit": 120,
        "crit_for_s": 15,
    },
    {
        "name": "Refused in the most urgent tier",
        "metric": "refused_share",
        "tier": MOST_URGENT,
        "warn": 0,
        "warn_for_s": 60,
        "crit": 0.01,
        "crit_for_s": 60,
    },
    {
        "name": "Target wait missed too often",
        "metric": "burn",
        "warn": 6,
        "warn_for_s": 60,
        "crit": 14.4,
        "crit_for_s": 60,
    },
    {
        "name": "Backend down",
        "metric": "backends_down",
        "warn": 0,
        "warn_for_s": 60,
        "crit": 1,
        "crit_for_s": 10,
    },
    {"name": "vLLM is queueing", "metric": "engine_queue", "warn": 0, "warn_for_s": 60},
    {
        "name": "Priority ignored",
        "metric": "priority_ignored",
        "warn": 0,
        "warn_for_s": 60,
        "crit": 1,
        "crit_for_s": 10,
    },
    {
        "name": "Evaluator silent",
        "metric": "heartbeat",
        "crit": 15,
        "crit_for_s": 10,
        "keep_s": 0,
        "no_data": "alert",
    },
)


def ship(apps: Any, schema_editor: Any) -> None:
    rules = apps.get_model("alerts", "Rule").objects
    for rule in SHIPPED:
        rules.get_or_create(name=rule["name"], defaults=rule)


class Migration(migrations.Migration):
    dependencies = [("alerts", "0001_rules_states_incidents")]

    operations = [migrations.RunPython(ship, migrations.RunPython.noop)]
