"""What operators type, against the real thing: doctor, the serve line, locust."""

import csv
import json
import subprocess
import sys

from django.conf import settings

from gateway.vllm_flags import Wanted, command
from tests.support.started import MANAGE
from tests.vllm.servers import environment

PARSE = """
import sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser
parsed = make_arg_parser(FlexibleArgumentParser()).parse_args(sys.argv[1:])
print(parsed.scheduling_policy, parsed.max_num_seqs)
"""


def test_the_doctor_tells_the_servers_apart(gateway, laneway):
    state = "Backend.objects.filter(name='tiny-fcfs').update(scheduling_policy='fcfs')"
    laneway.manage("shell", "-c", f"from gateway.models import Backend; {state}")

    done = subprocess.run(
        (*MANAGE, "doctor", "--json"), env=laneway.env, capture_output=True, text=True, check=False
    )

    found = {(one["about"], one["code"]): one for one in json.loads(done.stdout)}
    tiny = gateway.backend("tiny")["name"]
    assert done.returncode == 1  # for the one that keeps order of arrival
    assert found["tiny-fcfs", "fcfs"]["severity"] == "error"
    assert found[tiny, "priority"]["message"] == "It schedules by priority (it says so itself)."
    assert found[tiny, "serves"]["message"] == "vLLM 0.32.0 serves tiny."
    assert found[tiny, "max_num_seqs"]["message"] == "It runs at most 2 at once."
    assert (tiny, "probe") in found or (tiny, "slow_probe") in found
    assert (tiny, "kv_cache") in found
    assert ("tiny-pool", "probe_failed") not in found
    assert {("gateway", "running"), ("database", "database"), ("celery", "celery")} <= found.keys()


def test_vllm_knows_every_flag_of_the_serve_line():
    line = command(Wanted("Qwen/Qwen2.5-7B-Instruct", max_model_len=4096, served_name="qwen"))

    done = subprocess.run(
        (str(environment() / "bin" / "python"), "-c", PARSE, *line[2:]),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.split() == ["priority", "269"], done.stderr[-2000:]


def test_locust_counts_what_each_tier_got(laneway, tmp_path):
    locustfile = settings.BASE_DIR / "tests" / "load" / "locustfile.py"
    done = subprocess.run(
        (
            *(sys.executable, "-m", "locust", "-f", str(locustfile), "--key", laneway.key),
            *("--host", laneway.address, "--csv", str(tmp_path / "run"), "--headless"),
            *("--served-model", "tiny", "--users", "18", "--spawn-rate", "18", "-t", "10s"),
        ),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    with (tmp_path / "run_stats.csv").open() as file:
        rows = {(row["Type"], row["Name"]): row for row in csv.DictReader(file)}
    assert {"realtime", "standard"} <= {name for kind, name in rows if kind == "TTFT"}
    assert int(rows["", "Aggregated"]["Failure Count"]) == 0
