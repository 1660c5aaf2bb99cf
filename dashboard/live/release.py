"""Which release this process serves: a page that was opened before an upgrade can tell."""

from functools import lru_cache

from django.contrib.staticfiles.storage import staticfiles_storage


@lru_cache(maxsize=1)
def release() -> str:
    """Changes with any static file; "" where those are not collected, as in tests."""
    return str(getattr(staticfiles_storage, "manifest_hash", None) or "")
