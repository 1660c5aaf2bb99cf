"""A file that manages policy and tenants: it locks the browser, and neither side silently wins."""

import subprocess

import pytest
from django.core.management import CommandError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from dashboard.audit.models import AuditEvent
from dashboard.policies import file, managed, publish, timed, yaml_text
from dashboard.policies.fields import document as as_document
from dashboard.policies.models import Draft
from gateway.core.policy import TenantRules, default_policy
from gateway.models import APIKey, PolicyVersion, Tenant
from tests.dashboard.policies.test_command import run
from tests.support.policies import policies, slugs

pytestmark = pytest.mark.django_db
WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
NAMES = st.dictionaries(slugs, WORDS.map(str.strip).filter(bool), max_size=3)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "policy.yaml"


@pytest.fixture
def write(path):
    def written(names=None, **changes):
        document = as_document(replace(default_policy(), **changes))
        path.write_text(yaml_text.written(document, names or {}))
        return str(path)

    return written


def apply(path, *more):
    return run("apply", "-f", str(path), "-m", "from git", "--accept", "known", *more)[0]


def test_a_file_makes_names_and_rules_tenants_and_holds_no_key(write, path, acme):
    _, key = APIKey.objects.issue(acme, "prod")
    rules = {"acme": TenantRules(weight=3)}
    write({"acme": "Acme Ltd", "dune": "Dune"}, tenants=rules)
    assert run("plan", "-f", str(path))[1] == 2

    out = apply(path)

    assert "tenant dune is made: Dune" in out
    assert "Managed in policy.yaml@" in out
    assert dict(Tenant.objects.values_list("slug", "name")) == {"acme": "Acme Ltd", "dune": "Dune"}
    assert PolicyVersion.objects.newest().as_policy().tenants == rules
    assert managed.file_of(managed.tenant("dune")).startswith("policy.yaml@")
    assert run("plan", "-f", str(path)) == ("No changes: v2 says the same.\n", 0)
    assert run("export")[0] == path.read_text()
    assert key not in run("export")[0]
    assert acme.keys.first().id8 not in run("export")[0]


def test_a_tenant_that_leaves_the_file_stays(write, path, acme):
    apply(write({"acme": "Acme", "dune": "Dune"}))
    write({"acme": "Acme"})

    assert "tenant dune is no longer in the file: it stays" in run("plan", "-f", str(path))[0]
    apply(path)

    assert Tenant.objects.filter(slug="dune").exists()
    assert managed.owner(managed.tenant("dune")) is None


@pytest.mark.parametrize(
    "tenants",
    ["{Acme: {name: A}}", "{acme: {name: ''}}", "{acme: {name: 3}}", "[]", "{1: {name: A}}"],
)
def test_a_tenant_that_cannot_be_is_refused(path, tenants):
    path.write_text(
        yaml_text.exported(default_policy()).replace("tenants: {}", f"tenants: {tenants}")
    )

    with pytest.raises(CommandError, match="tenants"):
        run("plan", "-f", str(path))


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(policies(), NAMES)
def test_export_apply_export_is_the_identity(path, policy, names):
    path.write_text(yaml_text.written(as_document(policy), names))
    apply(path)
    exported = file.exported()
    path.write_text(exported)

    assert run("plan", "-f", str(path))[1] == 0
    assert "Published" not in apply(path)
    assert file.exported() == exported
    again = yaml_text.parsed_file(exported)
    assert managed.same(as_document(again.policy), as_document(policy))
    assert again.names.items() >= names.items()


def test_the_pages_cannot_publish_over_the_file(as_ada, ada, sent, write):
    apply(write(rescue_share=0.2))
    sent(as_ada, "pool", {"rescue_share": "30%"})
    page = as_ada.get("/policy/draft/review/")
    assert b"Managed in <code>policy.yaml@" in page.content
    assert b"Publish v" not in page.content

    form = {"edit": Draft.objects.get(person=ada).edit, "message": "m", "how": "now"}
    answer = as_ada.post("/policy/draft/review/", form)

    assert answer.status_code == 409
    draft = Draft.objects.get(person=ada)
    with pytest.raises(publish.InFile, match=r"policy\.yaml@"):
        publish.publish(draft, draft.edit, "m", ada)
    with pytest.raises(publish.InFile):
        timed.schedule(draft, draft.edit, "m", draft.saved_at, "UTC", ada)
    assert PolicyVersion.objects.newest().number == 2


def test_the_patch_of_a_draft_fits_the_file(as_ada, sent, write, path, tmp_path, acme):
    apply(write({"acme": "Acme"}, rescue_share=0.2))
    sent(as_ada, "pool", {"rescue_share": "30%"})
    patch = as_ada.get("/policy/draft/review/").context["patch"]
    (tmp_path / "change.patch").write_text(patch)

    subprocess.run(["git", "apply", "change.patch"], cwd=tmp_path, check=True)

    assert run("plan", "-f", str(path)) == ("rescue lane 20 % \u2192 30 %\n", 2)


def test_a_roll_back_in_need_is_drift_that_the_file_must_name(as_ada, write, path, ada):
    apply(write(rescue_share=0.2))
    as_ada.post("/policy/versions/1/back/", {"newest": 2, "reason": "too slow"})
    overview = as_ada.get("/policy/")
    assert b"Drift." in overview.content
    assert overview.context["managed"].drift == ["rescue lane 20 % \u2192 10 %"]
    assert "drift: v3 differs from v2" in run("plan", "-f", str(path))[0]

    with pytest.raises(CommandError, match="--over 3"):
        apply(path)
    with pytest.raises(CommandError, match="--over 3"):
        apply(path, "--over", "2")

    assert "Published v4" in apply(path, "--over", "3")
    assert managed.standing().drift == []


def test_who_takes_over_publishes_again_and_the_file_is_told(as_ada, ada, sent, write, path):
    apply(write(rescue_share=0.2))
    assert as_ada.post("/policy/take-over/", {"reason": " "}).status_code == 422
    as_ada.post("/policy/take-over/", {"reason": "the repository is away"})
    event = AuditEvent.objects.get(verb="policy.taken_over")
    assert (event.actor, event.reason) == ("ada", "the repository is away")
    sent(as_ada, "pool", {"rescue_share": "30%"})
    draft = Draft.objects.get(person=ada)

    form = {"edit": draft.edit, "message": "m", "accepted": "x", "how": "now"}
    as_ada.post("/policy/draft/review/", form)

    assert PolicyVersion.objects.newest().document["rescue_share"] == 0.3
    with pytest.raises(CommandError, match="took it over in the browser"):
        apply(path)


def test_a_take_over_is_not_undone_by_the_next_apply(as_ada, write, path):
    apply(write(rescue_share=0.2))
    as_ada.post("/policy/take-over/", {"reason": "r"})

    with pytest.raises(CommandError, match="took it over in the browser"):
        apply(path)

    apply(path, "--over", "2")
    assert managed.standing().in_file


def test_what_people_publish_at_a_time_a_program_manages_no_longer(as_ada, ada, sent):
    sent(as_ada, "pool", {"rescue_share": "30%"})
    draft = Draft.objects.get(person=ada)
    row = timed.schedule(draft, draft.edit, "m", draft.saved_at, "UTC", ada)
    managed.claim(managed.POLICY, managed.By.API, "key x")

    timed.publish_due(row.at)

    assert managed.owner(managed.POLICY) is None


def test_a_given_ref_is_shown(write, as_ada):
    apply(write(), "--ref", "infra@3f2c1a9")

    assert b"infra@3f2c1a9" in as_ada.get("/policy/").content
