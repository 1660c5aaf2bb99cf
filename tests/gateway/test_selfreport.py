import pytest

from gateway.selfreport import SelfReport, read_server_info

DUMP = {
    "vllm_config": {
        "scheduler_config": {
            "policy": "priority",
            "max_num_seqs": 256,
            "max_num_queued_reqs": 512,
            "max_num_queued_tokens": None,
            "long_prefill_token_threshold": 2048,
        },
        "cache_config": {"enable_prefix_caching": True, "kv_cache_size_tokens": 400_000},
    },
    "vllm_env": {"VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "5"},
}


def test_a_whole_dump_is_read():
    assert read_server_info(DUMP) == SelfReport("priority", 256, 400_000, True, True, 2048, 5)


@pytest.mark.parametrize(
    "document",
    [None, [], {}, {"vllm_config": "as text"}, {"vllm_config": {"scheduler_config": []}}],
)
def test_what_is_missing_is_unknown(document):
    assert read_server_info(document) == SelfReport()


def test_a_policy_of_another_name_is_unknown():
    changed = {"vllm_config": {"scheduler_config": {"policy": "my.Scheduler"}}}

    assert read_server_info(changed).policy == "unknown"
