"""The real vLLM against what was recorded from it: is the recording still true?"""

import pytest

from tests.support import vllm_contract as contract


@pytest.mark.parametrize("ask", contract.ASKS, ids=lambda ask: ask.name)
def test_it_answers_as_recorded(servers, ask):
    server = servers["tiny-pool" if ask.kind == "pooling" else "tiny"]

    shape = contract.shape_of(ask, server.url, "tiny")

    assert shape == contract.recorded()["answers"][ask.name]


def test_its_metrics_have_the_recorded_names_and_labels(servers):
    names = contract.metric_names(servers["tiny"].url)

    assert names == contract.recorded()["metrics"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_that_leaves_leaves_its_engine(servers, stream):
    contract.check_that_leaving_aborts(servers["tiny"].url, "tiny", stream=stream)


def test_server_info_is_read(servers):
    contract.check_server_info(servers["tiny"].url, policy="priority")
