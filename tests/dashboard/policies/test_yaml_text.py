"""The policy as a file."""

import pytest
from hypothesis import given, settings

from dashboard.policies import yaml_text
from gateway.core.policy import default_policy
from tests.support.policies import policies


@settings(max_examples=40, deadline=None)
@given(policies())
def test_what_is_exported_is_read_back_the_same(policy):
    assert yaml_text.parsed(yaml_text.exported(policy)) == policy


def test_a_tenant_s_defaults_are_left_out():
    assert "client_priority" not in yaml_text.exported(default_policy())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- 1",
        "tiers: [",
        "tiers: 3",
        "1: 2",
        "tiers: !!python/object:os.system {}",
        "a: &a [*a]",
    ],
)
def test_what_is_no_policy_is_an_error_with_a_sentence(text):
    with pytest.raises(ValueError, match=r"\w"):
        yaml_text.parsed(text)
