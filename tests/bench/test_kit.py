"""That the kit still runs, in a few seconds; what it measures here means nothing."""

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not shutil.which("gcc"), reason="the kit's C programs need gcc"),
    pytest.mark.skipif(not shutil.which("taskset"), reason="the kit needs taskset"),
]


def run(*words):
    given = [sys.executable, HERE / "run.py", "--rounds", 1, "--seconds", 0.6, *words]
    return subprocess.run(list(map(str, given)), capture_output=True, text=True, timeout=60)


def free_ports(count):
    """The first of so many ports in a row that nobody listens on."""
    for first in range(19_000, 30_000, 10):
        with socket.socket() as probe:
            if all(probe.connect_ex(("127.0.0.1", first + n)) for n in range(count)):
                return first
    raise AssertionError("no ports")


def test_the_yardsticks_are_measured_and_written_down(tmp_path):
    out = tmp_path / "result.json"

    done = run(
        *("--streams", 8, "--connections", 8, "--out", out),
        *("--upstream-port", free_ports(3)),
    )

    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    direct, floor = result["summary"]["direct"], result["summary"]["floor"]
    assert floor["failed"] == direct["failed"] == 0
    assert floor["delivered"] > 0.5  # of a window on a clock: over 1 where a busy machine was late
    assert {"req_s", "of_floor", "cpu_us_req", "added_p50_ms", "cpu_us_token"} <= floor.keys()
    assert result["machine"]["cpu"]
    assert "sk-bench" not in out.read_text()


def test_a_figure_that_is_not_met_is_named_and_ends_in_failure():
    done = run(
        "--phases", "quiet", "--require", "floor:p50_ms<=0", "--upstream-port", free_ports(3)
    )

    assert done.returncode == 1
    assert "not met by floor: p50_ms<=0" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--target", "laneway http://10.0.0.7:8000"), "must be on 127.0.0.1"),
        (("--target", "laneway"), "should be 'NAME URL'"),
        (("--require", "p50<1"), "NAME<=VALUE"),
    ],
)
def test_nonsense_is_refused_before_anything_starts(words, said):
    done = run(*words)

    assert done.returncode == 2
    assert said in done.stderr
