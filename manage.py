#!/usr/bin/env python
"""Django's command line: ``manage.py up`` starts Laneway, ``manage.py help`` lists the rest."""

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dashboard.settings")
    from django.core.management import execute_from_command_line
    from django.db import OperationalError, ProgrammingError

    try:
        execute_from_command_line(sys.argv)
    except (OperationalError, ProgrammingError) as error:
        if "--traceback" in sys.argv:
            raise
        sys.exit(
            f"The database cannot be used (DATABASE_URL, LANEWAY_HOME): {error}\n"
            "Tables are made and brought up to date by manage.py up or manage.py migrate."
        )
