"""Runs the tests of the page's own modules under Node, where there is one."""

import shutil
import subprocess

import pytest
from django.conf import settings

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed")
HERE = settings.BASE_DIR / "tests/dashboard/js"


@pytest.mark.parametrize("file", sorted(HERE.glob("*.test.js")), ids=lambda path: path.stem)
def test_modules_do_what_their_tests_say(file):
    run = subprocess.run([NODE, "--test", file], capture_output=True, text=True, timeout=60)

    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    "file", sorted((settings.BASE_DIR / "static/js").glob("*.js")), ids=lambda path: path.stem
)
def test_modules_parse(file):
    run = subprocess.run(
        [NODE, "--input-type=module", "--check"], input=file.read_bytes(), capture_output=True
    )

    assert run.returncode == 0, run.stderr.decode()
