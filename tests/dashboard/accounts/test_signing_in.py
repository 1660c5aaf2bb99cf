"""Signing in and out, a password of one's own, and the page everybody starts at."""

import pytest
from django.core.management import CommandError, call_command

from dashboard.accounts.permissions import standing
from dashboard.audit.models import AuditEvent
from tests.support.people import member, person

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"


@pytest.fixture
def otto():
    return person("otto", "on-call", password=PASSWORD)


def sign_in(client, password, name="otto", **more):
    return client.post("/accounts/login/", {"username": name, "password": password, **more})


def test_the_right_password_leads_to_where_one_was_going(client, otto):
    answer = sign_in(client, PASSWORD, next="/live/?tz=utc")

    assert (answer.status_code, answer["Location"]) == (302, "/live/?tz=utc")


def test_the_wrong_password_says_so_and_keeps_the_name(client, otto):
    html = sign_in(client, "wrong").content.decode()

    assert 'role="alert"' in html
    assert 'value="otto"' in html


@pytest.mark.parametrize(
    "elsewhere",
    ["https://elsewhere.example/", "//elsewhere.example/", "/\\elsewhere.example", "javascript:x"],
)
def test_nobody_is_sent_to_another_site(client, otto, elsewhere):
    assert sign_in(client, PASSWORD, next=elsewhere)["Location"] == "/"


def test_signing_out_takes_a_post_and_ends_the_session(client, otto):
    client.force_login(otto)

    assert client.get("/accounts/logout/").status_code == 405
    assert client.post("/accounts/logout/")["Location"] == "/accounts/login/"
    assert client.get("/live/").status_code == 302


def test_signing_in_changes_the_session_s_name(client, otto):
    client.get("/live/")
    client.session["before"] = True
    client.session.save()
    before = client.cookies["sessionid"].value if "sessionid" in client.cookies else None

    sign_in(client, PASSWORD)

    assert client.cookies["sessionid"].value != before


def test_coming_going_and_being_refused_are_on_the_trail_without_the_password(client, otto):
    sign_in(client, "a wrong secret")
    sign_in(client, "nobody's secret", name="hunter2 typed here")
    sign_in(client, PASSWORD)
    client.post("/accounts/logout/")

    told = list(AuditEvent.objects.order_by("number").values_list("actor", "verb", "object"))
    assert told == [
        ("nobody", "person.sign_in_refused", "person:otto"),
        ("nobody", "person.sign_in_refused", "person:(unknown)"),
        ("otto", "person.signed_in", "person:otto"),
        ("otto", "person.signed_out", "person:otto"),
    ]
    assert "secret" not in str(list(AuditEvent.objects.values()))


@pytest.mark.parametrize(("roles", "where"), [(("viewer",), "/live/"), (("security",), "/live/")])
def test_whoever_watches_starts_at_the_live_page(client, roles, where):
    client.force_login(person("ada", *roles))

    assert client.get("/")["Location"] == where


def test_a_tenant_s_people_start_at_their_tenant(client, acme):
    client.force_login(member("tess", acme))

    assert client.get("/")["Location"] == "/tenant/acme/"


def test_somebody_without_any_role_is_told_so(client, db):
    client.force_login(person("stray"))

    assert client.get("/").status_code == 403


def test_an_admin_s_one_time_password_must_be_changed_first(client, db, capsys):
    call_command("createadmin", "ada")
    password = capsys.readouterr().out.split()[-1]

    sign_in(client, password, name="ada")
    turned = client.get("/tenants/")
    assert turned["Location"] == "/accounts/password/?next=/tenants/"
    changed = client.post(
        "/accounts/password/",
        {
            "old_password": password,
            "new_password1": PASSWORD,
            "new_password2": PASSWORD,
            "next": "/tenants/",
        },
    )

    assert changed["Location"] == "/tenants/"
    assert client.get("/tenants/").status_code == 200
    client.post("/accounts/logout/")
    assert sign_in(client, PASSWORD, name="ada")["Location"] == "/"
    assert client.get("/tenants/").status_code == 200


def test_changing_a_password_sends_nobody_to_another_site(client, otto):
    client.force_login(otto)

    answer = client.post(
        "/accounts/password/",
        {
            "old_password": PASSWORD,
            "new_password1": "staple correct horse",
            "new_password2": "staple correct horse",
            "next": "https://elsewhere.example/",
        },
    )

    assert answer["Location"] == "/"


def test_createadmin_makes_nobody_twice_and_resets_on_request(db, capsys):
    call_command("createadmin", "ada")
    first = capsys.readouterr().out.split()[-1]

    with pytest.raises(CommandError, match="--reset"):
        call_command("createadmin", "ada")
    with pytest.raises(CommandError, match="nobody named"):
        call_command("createadmin", "ben", "--reset")
    call_command("createadmin", "ada", "--reset")

    assert capsys.readouterr().out.split()[-1] != first
    assert list(AuditEvent.objects.order_by("number").values_list("actor", "verb")) == [
        ("system", "person.created"),
        ("system", "person.password_reset"),
    ]


def test_roles_come_from_groups_and_memberships_and_not_from_being_superuser(acme, birch):
    ada, tess = person("ada", "admin", "security"), member("tess", acme)
    root = person("root")
    root.is_superuser = True
    root.save()

    assert standing(ada).roles == {"admin", "security"}
    assert standing(tess).tenants == {acme.pk: "tenant-admin"}
    assert standing(root) == (frozenset(), {})


def test_somebody_switched_off_is_nobody(acme):
    tess = member("tess", acme)
    tess.is_active = False

    assert standing(tess) == (frozenset(), {})
