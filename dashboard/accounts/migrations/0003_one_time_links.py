"""Links that work once instead of passwords that must be changed.

Such a password that nobody changed yet was seen by others: ``createadmin --reset`` gives a link.
"""

from typing import Any

import django.db.models.deletion
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db import migrations, models


def forget_seen_passwords(apps: Any, editor: Any) -> None:
    for seen in apps.get_model("accounts", "OneTimePassword").objects.select_related("user"):
        seen.user.password = make_password(None)
        seen.user.save(update_fields=["password"])


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_roles"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RunPython(forget_seen_passwords, migrations.RunPython.noop),
        migrations.CreateModel(
            name="OneTimeLink",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("digest", models.CharField(max_length=64, unique=True)),
                ("expires_at", models.DateTimeField()),
                (
                    "user",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="one_time_link",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        migrations.DeleteModel(name="OneTimePassword"),
    ]
