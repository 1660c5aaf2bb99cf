"""The locustfile, headless and short, on a started Laneway with a simulated vLLM behind it."""

import csv
import subprocess
import sys

import pytest
from django.conf import settings

from tests.support.started import outside, started

pytestmark = pytest.mark.e2e

LOCUSTFILE = settings.BASE_DIR / "tests" / "load" / "locustfile.py"
SHORT = ("--headless", "--users", "18", "--spawn-rate", "18", "--run-time", "8s")


def test_it_counts_what_each_tier_got(new_home, tmp_path):
    with started(outside(new_home())) as laneway:
        done = subprocess.run(
            (
                *(sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--key", laneway.key),
                *("--host", laneway.address, "--csv", str(tmp_path / "run"), *SHORT),
            ),
            capture_output=True,
            text=True,
            check=False,
        )

    assert done.returncode == 0, done.stderr[-3000:]
    with (tmp_path / "run_stats.csv").open() as file:
        rows = {(row["Type"], row["Name"]): row for row in csv.DictReader(file)}
    tiers = {name for kind, name in rows if kind == "E2E"}
    assert {"realtime", "standard", "batch"} <= tiers
    assert tiers == {name for kind, name in rows if kind == "QUEUE"}
    assert {"realtime", "standard"} <= {name for kind, name in rows if kind == "TTFT"}
    assert int(rows["POST", "chat"]["Request Count"]) > 0
    assert int(rows["", "Aggregated"]["Failure Count"]) == 0
