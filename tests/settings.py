"""The site's settings for tests: a data folder of their own, no compiled files, quick passwords.

Whatever a developer's shell sets for a running gateway is forgotten first.
"""

import atexit
import os
import shutil
import tempfile

other_database = os.environ.get("LANEWAY_TESTS_ON", "")  # by default SQLite
for name in ("DATABASE_URL", "REDIS_URL", "VLLM_URL", "VLLM_API_KEY", "PORT", "HOST"):
    os.environ.pop(name, None)
for name in [name for name in os.environ if name.startswith(("LANEWAY_", "OTEL_"))]:
    del os.environ[name]
home = os.environ["LANEWAY_HOME"] = tempfile.mkdtemp(prefix="laneway-tests-")
atexit.register(shutil.rmtree, home, ignore_errors=True)
if other_database:
    os.environ["DATABASE_URL"] = other_database

from dashboard.settings import *  # noqa: F403

ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]", "testserver"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
CELERY_TASK_ALWAYS_EAGER = True
CELERY_TASK_EAGER_PROPAGATES = True
WHITENOISE_AUTOREFRESH = True
WHITENOISE_USE_FINDERS = True
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
