from django.db import migrations, models

import gateway.models.backends


class Migration(migrations.Migration):
    dependencies = [
        ("gateway", "0011_override_end_recorded"),
    ]

    operations = [
        migrations.AlterField(
            model_name="backend",
            name="url",
            field=models.CharField(max_length=500, validators=[gateway.models.backends.is_address]),
        ),
    ]
