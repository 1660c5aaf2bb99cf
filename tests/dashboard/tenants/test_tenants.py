"""The list of tenants, one tenant's page, suspending, people."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from dashboard.accounts.models import Invitation, Membership
from dashboard.audit.models import AuditEvent
from gateway.core.policy import KeyRules
from gateway.models import APIKey, Tenant, UsageRecord
from tests.support.people import member, person
from tests.support.usage import used

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada(client):
    client.force_login(person("ada", "admin"))
    return client


@pytest.fixture
def tess(client, acme):
    client.force_login(member("tess", acme))
    return client


def acts() -> list[tuple[str, str, str]]:
    rows = AuditEvent.objects.exclude(verb__startswith="person.").order_by("number")
    return list(rows.values_list("actor", "verb", "object"))


def test_the_list_shows_each_tenant_with_its_keys_and_requests(ada, acme, birch):
    APIKey.objects.issue(acme, "one")
    APIKey.objects.issue(acme, "two")[0].revoke()
    used(acme, "AAAAAAAA", times=3)
    used(acme, "AAAAAAAA", ago=timedelta(hours=25))

    context = ada.get("/tenants/").context

    assert [(t.slug, t.keys_in_use) for t in context["part"]] == [("acme", 1), ("birch", 0)]
    assert context["requests"] == {acme.pk: 3}


@pytest.mark.parametrize(
    ("query", "found"),
    [("q=ac", ["acme"]), ("q=BIRCH", ["birch"]), ("status=suspended", ["birch"]), ("q=zzz", [])],
)
def test_the_list_is_searched_by_name_and_status(ada, acme, birch, query, found):
    Tenant.objects.filter(pk=birch.pk).update(status="suspended")

    assert [t.slug for t in ada.get(f"/tenants/?{query}").context["part"]] == found


def test_a_key_s_id_leads_to_its_tenant(ada, acme, birch):
    key, _ = APIKey.objects.issue(birch, "prod")

    assert [t.slug for t in ada.get(f"/tenants/?q={key.id8}").context["part"]] == ["birch"]


def test_a_tenant_s_people_see_their_own_alone(tess, birch):
    html = tess.get("/tenants/").content.decode()

    assert "acme" in html
    assert "birch" not in html.lower()
    assert "New tenant" not in html


def test_a_new_tenant_is_made_once_and_told(ada):
    form = {"slug": "dune", "name": "Dune", "status": "suspended", "id": "7"}

    first, second = ada.post("/tenants/new/", form), ada.post("/tenants/new/", form)

    assert first["Location"] == "/tenant/dune/"
    assert second.status_code == 422
    dune = Tenant.objects.get(slug="dune")
    assert (dune.status, dune.name) == ("active", "Dune")  # fields of no form are not taken
    assert acts() == [("ada", "tenant.created", "tenant:dune")]


@pytest.mark.parametrize("slug", ["Dune", "d une", "-dune", "", "x" * 64, "dune\n"])
def test_a_wrong_short_name_is_said_beside_its_field_and_on_top(ada, slug):
    answer = ada.post("/tenants/new/", {"slug": slug, "name": "Dune"})
    html = answer.content.decode()

    if slug.strip() == "dune":  # a line feed at the end is trimmed
        assert answer.status_code == 302
        return
    assert answer.status_code == 422
    assert 'href="#id_slug"' in html
    assert 'id="id_slug_error"' in html
    assert 'aria-invalid="true"' in html
    assert not Tenant.objects.exists()


def test_suspending_takes_a_reason_and_is_undone_by_resuming(ada, acme):
    for wrong in (
        {"reason": " ", "typed": "acme"},
        {"reason": "x", "typed": "birch"},
        {"reason": "x"},
    ):
        assert ada.post("/tenant/acme/suspend/", wrong).status_code == 422
    assert Tenant.objects.get().status == "active"

    for _ in range(2):  # sent twice: told once
        ada.post("/tenant/acme/suspend/", {"reason": "the invoice is open", "typed": "acme"})
    assert Tenant.objects.get().status == "suspended"
    ada.post("/tenant/acme/resume/")

    assert Tenant.objects.get().status == "active"
    assert [verb for _, verb, _ in acts()] == ["tenant.suspended", "tenant.resumed"]
    assert AuditEvent.objects.get(verb="tenant.suspended").reason == "the invoice is open"


def test_the_page_shows_how_each_key_stands(ada, acme):
    now = timezone.now()

    def key(name, **columns):
        row, _ = APIKey.objects.issue(acme, name)
        APIKey.objects.filter(pk=row.pk).update(**columns)

    key("fresh")
    key("ending", expires_at=now + timedelta(days=3, hours=1))
    key("ended", expires_at=now - timedelta(days=1))
    key("later", not_before=now + timedelta(days=1))
    key("leaving", retires_at=now + timedelta(hours=1), rotated_at=now)
    key("left", retires_at=now - timedelta(hours=1), rotated_at=now)
    key("off", status="disabled")
    key("gone", status="revoked")

    lines = ada.get("/tenant/acme/").context["lines"]

    assert {line.key.name: line.state.words for line in lines} == {
        "fresh": "active",
        "ending": "expires in 3 d",
        "ended": "expired",
        "later": "starts",
        "leaving": "retiring until",
        "left": "retired",
        "off": "disabled",
        "gone": "revoked",
    }


def test_keys_stand_by_service_with_what_they_may_use(ada, acme):
    rules = KeyRules(ceiling=-5, models=("qwen",), networks=("10.0.0.0/8",))
    APIKey.objects.issue(acme, "b", service="zoo")
    key, _ = APIKey.objects.issue(acme, "a", service="chat", rules=rules)
    used(acme, key.id8, times=2)

    answer = ada.get("/tenant/acme/")

    assert [(line.key.service, line.requests) for line in answer.context["lines"]] == [
        ("chat", 2),
        ("zoo", 0),
    ]
    html = " ".join(answer.content.decode().split())
    assert "at most batch (\N{MINUS SIGN}5)" in html
    assert "1 network" in html


def test_the_number_of_queries_is_fixed(ada, acme, django_assert_num_queries):
    def ask() -> None:
        ada.get("/tenant/acme/")

    APIKey.objects.issue(acme, "first")
    ask()
    with django_assert_num_queries(13):
        ask()
    for n in range(8):
        key, _ = APIKey.objects.issue(acme, f"key {n}")
        APIKey.objects.filter(pk=key.pk).update(replaces=APIKey.objects.first())
        member(f"m{n}", acme)
    with django_assert_num_queries(13):
        ask()


def test_the_list_takes_a_fixed_number_of_queries(ada, acme, django_assert_num_queries):
    with django_assert_num_queries(8):
        ada.get("/tenants/")
    Tenant.objects.bulk_create([Tenant(slug=f"t{n}", name=f"T{n}") for n in range(40)])
    with django_assert_num_queries(8):
        ada.get("/tenants/")


def test_a_tenant_admin_invites_and_removes_their_own_people(tess, acme, birch):
    sam = person("sam")

    for _ in range(2):
        tess.post("/tenant/acme/members/", {"person": "sam", "role": "tenant-viewer"})
    assert not Membership.objects.filter(user=sam).exists()
    assert tess.post("/tenant/birch/members/", {"person": "sam", "role": "x"}).status_code == 404
    Client().force_login(sam)
    assert list(Membership.objects.filter(user=sam).values_list("tenant__slug", "role")) == [
        ("acme", "tenant-viewer")
    ]
    tess.post(
        "/tenant/acme/members/", {"person": "sam", "role": "tenant-admin"}
    )  # a member: at once
    assert Membership.objects.get(user=sam).role == "tenant-admin"
    tess.post("/tenant/acme/members/sam/remove/")

    assert not Membership.objects.filter(user=sam).exists()
    assert not Invitation.objects.exists()
    verbs = [verb for _, verb, _ in acts() if verb.startswith("member.")]
    assert verbs == ["member.invited"] * 2 + ["member.set"] * 2 + ["member.removed"]


def test_a_tenant_admin_does_not_learn_who_there_is(tess, acme):
    person("zelda")

    def answers(name):
        answer = tess.post("/tenant/acme/members/", {"person": name, "role": "tenant-viewer"})
        page = tess.get("/tenant/acme/").content.decode()
        tess.post(f"/tenant/acme/members/{name}/remove/")
        tess.get("/tenant/acme/")  # takes the message
        told = re.sub(r'value="[^"]*"|hx-headers=[^>]*|nonce="[^"]*"|:\d\d', "", page)
        return answer.status_code, answer["Location"], told.replace(name, "NAME")

    assert answers("zelda") == answers("quentin")  # nobody's name


def test_an_invitation_is_taken_back_or_runs_out(tess, acme):
    sam, pam = person("sam"), person("pam")
    for name in ("sam", "pam"):
        tess.post("/tenant/acme/members/", {"person": name, "role": "tenant-viewer"})

    tess.post("/tenant/acme/members/sam/remove/")
    Invitation.objects.filter(name="pam").update(at=timezone.now() - timedelta(days=14))
    for one in (sam, pam):
        Client().force_login(one)

    assert not Membership.objects.filter(user__in=[sam, pam]).exists()


@pytest.mark.parametrize(
    "form",
    [
        {"person": "no body", "role": "tenant-viewer"},
        {"person": "", "role": "tenant-viewer"},
        {"person": "sam", "role": "admin"},
        {"person": "tess", "role": "tenant-viewer"},
    ],
)
def test_a_member_form_that_is_wrong_changes_nothing(tess, acme, form):
    assert tess.post("/tenant/acme/members/", form).status_code == 422
    assert Membership.objects.get().role == "tenant-admin"
    assert not Invitation.objects.exists()


def test_whoever_has_no_right_sees_no_button(client, acme):
    APIKey.objects.issue(acme, "prod")
    client.force_login(member("sam", acme, "tenant-viewer"))

    html = client.get("/tenant/acme/").content.decode()

    for word in ("New key", "Rotate…", "Revoke…", "Suspend…", "Audit", "Remove"):
        assert word not in html


def test_names_are_no_markup(ada, acme):
    Tenant.objects.filter(pk=acme.pk).update(name="<script>alert(1)</script>")
    APIKey.objects.issue(acme, "<img src=x>", service="<b>")

    html = ada.get("/tenant/acme/").content.decode() + ada.get("/tenants/").content.decode()

    assert "<script>alert" not in html
    assert "<img src=x>" not in html


def test_usage_rows_of_others_count_for_nobody_else(ada, acme, birch):
    used(birch, "BBBBBBBB", times=5)

    assert ada.get("/tenant/acme/").context["requests_in_a_day"] == 0
    assert UsageRecord.objects.count() == 5


def test_a_tenant_s_rules_are_one_click_away_for_those_who_may_draft(client, acme):
    rules = 'href="/policy/draft/tenants/acme/"'

    client.force_login(person("ada", "admin"))
    assert rules in client.get("/tenant/acme/").content.decode()
    client.force_login(member("tess", acme, "tenant-admin"))
    assert rules not in client.get("/tenant/acme/").content.decode()
