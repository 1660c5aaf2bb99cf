"""The roles over the whole installation.  Nobody loses what they could do before there were any."""

from typing import Any

from django.conf import settings
from django.db import migrations


def make(apps: Any, editor: Any) -> None:
    groups, people = apps.get_model("auth", "Group"), apps.get_model("auth", "User")
    roles = {
        name: groups.objects.get_or_create(name=name)[0]
        for name in ("viewer", "on-call", "admin", "security")
    }
    for person in people.objects.filter(is_active=True).iterator():
        names = ("admin", "security") if person.is_superuser else ("viewer",)
        person.groups.add(*[roles[name] for name in names])


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_membership"),
        ("auth", "0012_alter_user_first_name_max_length"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]
    # Backwards the groups stay: who was in them would be forgotten.
    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
