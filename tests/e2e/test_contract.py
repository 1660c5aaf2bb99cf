"""The simulated vLLM, in its own process, against what was recorded from the real one."""

import subprocess
import sys

import httpx
import pytest

from tests.support import vllm_contract as contract
from tests.support.started import free_port

pytestmark = pytest.mark.e2e

MODEL = "tiny"
READY_TRIES = 200
DIFFERS = {
    "embeddings of a model that chats": "one simulated server answers every endpoint",
}


@pytest.fixture(scope="module")
def simulated():
    port = free_port()
    options = ("--model", MODEL, "--max-model-len", str(contract.CONTEXT_TOKENS), "--dev-mode")
    process = subprocess.Popen(
        (
            *(sys.executable, "-m", "gateway.simvllm", "--port", str(port), *options),
            "--enable-per-request-metrics",
        )
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(READY_TRIES):
            try:
                httpx.get(f"{url}/health")
                break
            except httpx.TransportError:
                assert process.poll() is None
                contract.pause(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize("ask", contract.ASKS, ids=lambda ask: ask.name)
def test_it_answers_as_the_real_one(simulated, ask):
    expected = contract.recorded()["answers"][ask.name]

    shape = contract.shape_of(ask, simulated, MODEL)

    assert (shape == expected) is (ask.name not in DIFFERS)


def test_its_metrics_are_a_part_of_the_real_ones(simulated):
    real = contract.recorded()["metrics"]

    for name, (kind, *labels) in contract.metric_names(simulated).items():
        assert kind == real[name][0], name
        if name != "vllm:cache_config_info":  # which carries all of vLLM's cache settings
            assert labels == real[name][1:], name


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_that_leaves_leaves_its_engine(simulated, stream):
    contract.check_that_leaving_aborts(simulated, MODEL, stream=stream)


def test_server_info_is_read_alike(simulated):
    contract.check_server_info(simulated, policy="priority")
