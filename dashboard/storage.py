"""Static files under names that change with their content, so browsers may keep them for ever."""

from typing import Any

from django.contrib.staticfiles.storage import HashedFilesMixin
from whitenoise.storage import CompressedManifestStaticFilesStorage

MODULES = "js/*.js"
_, imports = HashedFilesMixin._js_module_import_aggregation_patterns  # type: ignore[attr-defined]


class HashedStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc] # no stubs
    """Relative imports between this site's modules are rewritten too: an import map would be an
    inline script, which the content security policy refuses.  Other people's scripts are left
    alone: Django's switch for all of them trips over an import in a comment of django-htmx's."""

    patterns = (*HashedFilesMixin.patterns, (MODULES, imports))

    def create_compressor(self, **options: Any) -> Any:
        """gzip alone: brotli, where another package brings it, takes twelve seconds of a first
        start, and makes a sixth less of files that a browser fetches once."""
        return super().create_compressor(use_brotli=False, **options)
