"""Whatever is typed into the forms of tenants and policy: an answer, never a 500."""

import pytest
from django.urls import reverse
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dashboard.policies import form
from dashboard.policies.models import Draft, in_force
from gateway.core.policy import default_policy
from gateway.models import APIKey, PolicyVersion
from tests.support.people import person

pytestmark = pytest.mark.django_db
TENANT_FORMS = (
    "suspend",
    "resume",
    "member-add",
    "key-new",
    "key-edit",
    "key-rotate",
    "key-change",
)
POLICY_FORMS = ("sheet", "tenant", "review", "merge", "back", "undo", "take-over", "discard")
VALUES = st.text(max_size=30) | st.sampled_from(
    [
        "",
        "0",
        "-1",
        "10",
        "1.5m",
        "2k",
        "10%",
        "9" * 40,
        "1e999",
        "nan",
        "2031-02-30",
        "\0",
        "admin",
    ]
)
FIELDS = st.sampled_from(
    [
        "name",
        "slug",
        "reason",
        "service",
        "ceiling",
        "models",
        "endpoints",
        "networks",
        "term",
        "kind",
        "expires_on",
        "overlap",
        "person",
        "role",
        "number",
        "mine",
        "message",
        "accepted",
        "how",
        "at",
        "zone",
    ]
)
ACTS = st.sampled_from(
    ["place:0:9", "place:-1:0", "remove:0", "remove:99", "add", "preset:", ":::"]
)


@pytest.fixture
def ada(client):
    ada = person("ada", "admin", "security")
    client.force_login(ada)
    return ada


def fuzzed(test):
    return settings(
        max_examples=15,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )(test)


@fuzzed
@given(said=st.dictionaries(FIELDS, VALUES, max_size=8))
@pytest.mark.parametrize("name", TENANT_FORMS)
def test_a_tenant_s_forms_take_anything(client, ada, acme, name, said):
    key = APIKey.objects.get(name="k")
    given = {"slug": "acme"} | ({"id8": key.id8} if name.startswith("key-") else {})
    given = {"slug": "acme"} if name == "key-new" else given
    given |= {"action": "disable"} if name == "key-change" else {}

    assert client.post(reverse(f"tenant:{name}", kwargs=given), said).status_code < 500


@pytest.fixture(autouse=True)
def rows(acme):
    PolicyVersion.objects.publish(default_policy(), "the first")
    APIKey.objects.issue(acme, "k")


@fuzzed
@given(said=st.dictionaries(FIELDS, VALUES, max_size=8))
def test_a_new_tenant_s_form_takes_anything(client, ada, said):
    assert client.post("/tenants/new/", said).status_code < 500


@fuzzed
@given(
    said=st.dictionaries(FIELDS, VALUES, max_size=4),
    typed=st.lists(st.tuples(st.integers(0, 99), VALUES), max_size=6),
    section=st.sampled_from(list(form.SECTIONS)),
    do=ACTS | st.just(""),
)
@pytest.mark.parametrize("name", POLICY_FORMS)
def test_the_policy_s_forms_take_anything(client, ada, name, said, typed, section, do):
    draft = Draft.objects.of(ada)
    groups = form.groups(section, draft.document, {})
    cells = [cell.name for group in groups for cell in group.every_cell]
    said |= {cells[at % len(cells)]: text for at, text in typed if cells}
    said |= {"edit": draft.edit, "newest": in_force()[0], "do": do}
    given = {"sheet": {"section": section}, "tenant": {"slug": "acme"}, "back": {"number": 1}}

    path = reverse(f"policies:{name}", kwargs=given.get(name, {}))

    assert client.post(path, said).status_code < 500
    assert client.get("/policy/draft/review/").status_code < 500
