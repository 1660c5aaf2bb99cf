"""What the templates and the page's own script say of a number is the same."""

import json

import pytest
from django.conf import settings

from dashboard.units import shown

CASES = json.loads((settings.BASE_DIR / "tests/dashboard/js/units.json").read_text())


@pytest.mark.parametrize("name", CASES)
def test_numbers_read_as_the_table_says(name):
    says = getattr(shown, name)

    assert [[value, says(value)] for value, _ in CASES[name]] == CASES[name]
