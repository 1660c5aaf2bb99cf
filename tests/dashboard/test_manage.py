"""``manage.py`` at a user's mistake: a sentence with a way out, no traceback."""

import subprocess
import sys

import pytest
from django.conf import settings
from django.core.management import get_commands, load_command_class

OURS = sorted(n for n, app in get_commands().items() if str(app).startswith(("gateway", "dashb")))


def test_before_there_are_tables_one_is_told_how_to_make_them(tmp_path):
    ran = subprocess.run(
        (
            *("env", f"LANEWAY_HOME={tmp_path}", "DATABASE_URL="),
            *("DJANGO_SETTINGS_MODULE=dashboard.settings", sys.executable, "manage.py", "report"),
        ),
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ran.returncode == 1
    assert "no such table" in ran.stderr
    assert "manage.py migrate" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("name", OURS)
def test_each_command_says_what_it_is_for_with_examples(name):
    app = get_commands()[name]
    told = load_command_class(app, name).create_parser("manage.py", name).format_help()

    assert "examples:" in told
    assert len(load_command_class(app, name).help) > 20
