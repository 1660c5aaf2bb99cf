from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("gateway", "0010_override_abort")]

    operations = [
        # Ends of before this version stay untold: the trail is of now.
        migrations.AddField("override", "end_recorded", models.BooleanField(default=True)),
        migrations.AlterField("override", "end_recorded", models.BooleanField(default=False)),
    ]
