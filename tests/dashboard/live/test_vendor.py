"""Vendored files are what they say they are, and fit the Python packages beside them."""

import re
from hashlib import sha256

from django.conf import settings
from plotly.offline import get_plotlyjs_version

VENDOR = settings.BASE_DIR / "static/vendor"


def test_every_file_has_its_checksum_and_fits_it():
    listed = dict(
        reversed(line.split("  ")) for line in (VENDOR / "CHECKSUMS").read_text().splitlines()
    )
    there = {
        str(path.relative_to(VENDOR)): sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.rglob("*")
        if path.is_file() and path.name not in ("CHECKSUMS", "README.md")
    }

    assert there == listed


def test_plotly_js_is_the_version_that_plotly_for_python_was_made_for():
    head = (VENDOR / "plotly-basic.min.js").read_text()[:200]

    assert re.search(r"v(\d+\.\d+\.\d+)", head)[1] == get_plotlyjs_version()


def test_the_rules_plotly_would_inject_are_all_there():
    assert len((VENDOR / "plotly-global.css").read_text().splitlines()) == 66


def test_every_icon_used_is_in_the_sprite():
    names = set(re.findall(r'<symbol id="([a-z-]+)"', (VENDOR / "icons.svg").read_text()))
    templates = "\n".join(
        path.read_text() for path in (settings.BASE_DIR / "templates").rglob("*.html")
    )

    used = set(re.findall(r'_icon\.html" with name="([a-z-]+)"', templates))

    assert used
    assert used <= names


def test_nothing_vendored_asks_another_host_for_a_file():
    for path in VENDOR.glob("*.css"):
        assert not re.search(r"url\(['\"]?(?:https?:)?//|@import", path.read_text())
