"""``manage.py policy``: export, plan, apply."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from hypothesis import HealthCheck, given, settings
from msgspec.structs import replace

from dashboard.audit.models import AuditEvent
from dashboard.policies import yaml_text
from gateway.core.policy import default_policy
from gateway.models import PolicyVersion
from tests.support.policies import policies

pytestmark = pytest.mark.django_db


def run(*arguments):
    """What the command said, and its exit status."""
    out, status = StringIO(), 0
    try:
        call_command("policy", *arguments, stdout=out, stderr=out)
    except SystemExit as end:
        status = int(end.code or 0)
    return out.getvalue(), status


@pytest.fixture
def file(tmp_path):
    def write(policy):
        path = tmp_path / "policy.yaml"
        path.write_text(yaml_text.exported(policy))
        return str(path)

    return write


def test_what_is_exported_plans_no_changes(tmp_path):
    path = str(tmp_path / "policy.yaml")
    run("export", "-o", path)

    assert run("plan", "-f", path) == ("No changes: v1 says the same.\n", 0)
    assert run("export")[0] == yaml_text.exported(default_policy())


def test_a_plan_tells_the_changes_and_exits_with_two(file):
    path = file(replace(default_policy(), rescue_share=0.2))

    assert run("plan", "-f", path) == ("rescue lane 10 % \u2192 20 %\n", 2)
    assert PolicyVersion.objects.count() == 1


def test_applying_publishes_and_is_audited(file):
    path = file(replace(default_policy(), rescue_share=0.2))

    assert "Published v2." in run("apply", "-f", path, "-m", "from the repository")[0]
    assert run("apply", "-f", path, "-m", "again") == ("No changes: v2 says the same.\n", 0)

    assert PolicyVersion.objects.newest().message == "from the repository"
    verbs = list(AuditEvent.objects.order_by("number").values_list("verb", "actor"))
    assert verbs == [
        ("policy.published", "manage.py policy"),
        ("policy.managed", "manage.py policy"),
    ]


def test_warnings_need_a_word(file):
    path = file(replace(default_policy(), max_waiting=3000))

    with pytest.raises(CommandError, match="--accept"):
        run("apply", "-f", path, "-m", "m")
    run("apply", "-f", path, "-m", "m", "--accept", "known")

    assert PolicyVersion.objects.newest().message == "m (accepted: known)"


@pytest.mark.parametrize("text", ["tiers: 3", "- ", "default_tier: [", None])
def test_a_file_that_is_no_policy_is_an_error(tmp_path, text):
    path = tmp_path / "policy.yaml"
    if text is not None:
        path.write_text(text)

    with pytest.raises(CommandError, match=r"policy\.yaml"):
        run("plan", "-f", str(path))


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(policies())
def test_export_apply_and_plan_say_no_changes(file, policy):
    path = file(policy)
    run("apply", "-f", path, "-m", "m", "--accept", "any")

    assert run("plan", "-f", path)[1] == 0
    assert yaml_text.parsed(run("export")[0]).by_urgency == policy.by_urgency


def test_a_file_that_cannot_be_written_or_read_is_named(tmp_path):
    nowhere, binary = str(tmp_path / "no" / "p.yaml"), tmp_path / "b.yaml"
    binary.write_bytes(b"\xff\xfe")

    for arguments, said in (
        (("export", "-o", nowhere), f"{nowhere}: No such file or directory."),
        (("plan", "-f", nowhere), f"{nowhere}: No such file or directory."),
        (("plan", "-f", str(binary)), f"{binary}: this is no text in UTF-8."),
    ):
        with pytest.raises(CommandError) as refused:
            run(*arguments)
        assert str(refused.value) == said
