"""``manage.py issuekey``."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from gateway import keys
from gateway.models import APIKey

pytestmark = pytest.mark.django_db


def issuekey(*arguments: str) -> str:
    out = StringIO()
    call_command("issuekey", *arguments, stdout=out)
    return out.getvalue()


def test_the_key_stands_alone_on_the_last_line(acme):
    key = issuekey("acme", "--name", "ci", "--ceiling", "0").splitlines()[-1]

    parts = keys.parse(key)
    row = APIKey.objects.get()
    assert (row.id8, row.tenant, row.name, row.kind) == (parts.id8, acme, "ci", "live")
    assert row.as_rules().ceiling == 0
    assert (row.expires_at - row.created_at).days in (179, 180)


def test_json_tells_all_that_is_known(acme):
    told = json.loads(issuekey("acme", "--name", "ops", "--kind", "admin", "--days", "0", "--json"))

    assert told["key"].startswith(f"lw_admin_{told['id8']}_")
    assert (told["tenant"], told["name"], told["kind"], told["ceiling"], told["expires"]) == (
        "acme",
        "ops",
        "admin",
        10,
        None,
    )


def test_an_unknown_tenant_is_answered_with_those_there_are(acme, birch):
    with pytest.raises(CommandError, match=r"no tenant 'dune'. Tenants: acme, birch\."):
        issuekey("dune", "--name", "ci")


def test_a_name_in_use_is_refused_and_nothing_is_made(acme):
    issuekey("acme", "--name", "ci")

    with pytest.raises(CommandError, match="acme has a key named 'ci' in use"):
        issuekey("acme", "--name", "ci")

    assert APIKey.objects.count() == 1


@pytest.mark.parametrize("wrong", [("--ceiling", "11"), ("--ceiling", "-11"), ("--days", "-1")])
def test_nonsense_is_refused(acme, wrong):
    with pytest.raises(CommandError):
        issuekey("acme", "--name", "ci", *wrong)

    assert not APIKey.objects.exists()


@pytest.mark.parametrize(
    "wrong",
    [
        ("--name", ""),
        ("--name", "x" * 300),
        ("--name", "ci", "--days", "-1"),
        ("--name", "ci", "--days", "99999999"),
    ],
)
def test_what_no_key_can_have_is_refused_by_name(acme, wrong):
    with pytest.raises(CommandError, match=wrong[-2]):
        issuekey("acme", *wrong)

    assert not APIKey.objects.exists()
