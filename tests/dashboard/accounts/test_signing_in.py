"""Signing in and out, a password of one's own, and the page everybody starts at."""

from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from allauth.usersessions.models import UserSession
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from time_machine import travel

from dashboard.accounts import links
from dashboard.accounts.models import OneTimeLink
from dashboard.accounts.permissions import standing
from dashboard.audit.models import AuditEvent
from tests.support.factors import code, with_app
from tests.support.people import member, person

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"


@pytest.fixture
def otto():
    return person("otto", "on-call", password=PASSWORD)


def sign_in(client, password, name="otto", **more):
    return client.post("/accounts/login/", {"login": name, "password": password, **more})


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


@pytest.mark.parametrize("elsewhere", ["https://elsewhere.example/", "//elsewhere.example"])
def test_signing_out_leads_to_no_other_site(client, otto, elsewhere):
    client.force_login(otto)

    assert client.post("/accounts/logout/", {"next": elsewhere})["Location"] == "/accounts/login/"


def test_a_session_that_somebody_else_made_is_not_signed_into(client, otto):
    """A planted cookie, also one that already waits for the second step."""
    with_app(otto)
    client.session["planted"] = True
    planted = client.session.session_key
    client.cookies["sessionid"] = planted
    sign_in(client, PASSWORD)
    waiting = client.cookies["sessionid"].value

    client.post("/accounts/login/factor/", {"code": code()})

    assert client.get("/live/").status_code == 200
    assert client.cookies["sessionid"].value not in (planted, waiting)
    for old in {planted, waiting}:
        other = Client()
        other.cookies["sessionid"] = old
        assert other.get("/live/").status_code == 302


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


def test_an_admin_s_link_lets_them_choose_a_password_once(client, db, capsys):
    call_command("createadmin", "ada")
    link = urlsplit(capsys.readouterr().out.split()[-1]).path
    chosen = {"new_password1": PASSWORD, "new_password2": PASSWORD}

    assert b"Welcome, ada" in client.get(link).content
    assert client.post(link, {**chosen, "new_password2": "another"}).status_code == 422
    assert client.post(link, chosen)["Location"] == "/"

    assert client.get("/tenants/")["Location"] == "/accounts/factors/?next=/tenants/"
    assert Client().get(link).status_code == Client().post(link, chosen).status_code == 404
    assert sign_in(Client(), PASSWORD, name="ada").status_code == 302


def test_a_link_that_is_too_old_or_replaced_opens_nothing(client, otto):
    now = timezone.now()
    first, second = links.make(otto, now), links.make(otto, now)

    assert client.get(first).status_code == 404
    assert client.get(second).status_code == 200
    assert links.find(second.split("/")[-2], now + timedelta(days=3)) is None


def test_whoever_is_switched_off_comes_in_by_no_link_and_no_password(client, otto):
    link = links.make(otto, timezone.now())
    otto.is_active = False
    otto.save()

    assert client.get(link).status_code == 404
    assert sign_in(client, PASSWORD)["Location"] == "/accounts/inactive/"
    assert client.get("/live/").status_code == 302


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

    again = capsys.readouterr().out.split()[-1]
    assert again.startswith("http://127.0.0.1:8000/accounts/welcome/")
    assert again != first
    assert list(AuditEvent.objects.order_by("number").values_list("actor", "verb")) == [
        ("system", "person.created"),
        ("system", "person.password_reset"),
    ]
    assert first.split("/")[-2] not in str(list(OneTimeLink.objects.values()))


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


def test_an_e_mail_address_is_as_good_as_the_name(client, otto):
    otto.email = "otto@example.org"
    otto.save()

    assert sign_in(client, PASSWORD, name="Otto@Example.org")["Location"] == "/"
    assert sign_in(Client(), "wrong", name="otto@example.org").status_code == 200
    assert AuditEvent.objects.filter(verb="person.sign_in_refused", object="person:otto").exists()


def test_more_fields_than_the_form_has_change_nothing(client, otto):
    sign_in(client, PASSWORD, is_superuser="on", is_staff="on", groups="1", email="x@example.org")

    otto.refresh_from_db()
    assert (otto.is_superuser, otto.is_staff, otto.email) == (False, False, "")
    assert standing(otto).roles == {"on-call"}


def test_after_five_wrong_passwords_the_right_one_waits_too(client, otto):
    for _ in range(5):
        sign_in(Client(REMOTE_ADDR="10.0.0.7"), "wrong")

    answer = sign_in(client, PASSWORD)

    assert b"Too many wrong attempts" in answer.content
    assert client.get("/live/").status_code == 302


def test_one_address_may_try_thirty_times_a_minute(client, db):
    answers = [sign_in(client, "wrong", name=f"name-{n}").status_code for n in range(31)]

    assert answers[-1] == 429
    assert 429 not in answers[:30]


def test_a_flood_of_refusals_is_told_as_a_count(client, otto):
    with travel("2026-11-26T10:00:00Z", tick=False) as clock:
        for n in range(18):
            sign_in(Client(REMOTE_ADDR=f"10.0.{n}.1"), "wrong", name=f"name-{n}")
        refused = AuditEvent.objects.filter(verb="person.sign_in_refused")
        assert refused.count() == 10
        clock.shift(60)
        sign_in(client, PASSWORD)

    assert refused.first().object == "people:8 more"
    assert refused.first().after == {"minute": "2026-11-26T10:00+00:00"}
    assert refused.count() == 11


def test_sessions_are_listed_and_ended_one_or_all(client, otto):
    phone, laptop, tablet = Client(), Client(), Client()
    for browser in (client, phone, laptop, tablet):
        sign_in(browser, PASSWORD)
    page = client.get("/accounts/sessions/").content.decode()
    assert page.count('name="session"') == 3

    newest = UserSession.objects.get(session_key=phone.cookies["sessionid"].value)
    client.post("/accounts/sessions/end/", {"session": newest.pk})
    assert phone.get("/live/").status_code == 302
    assert laptop.get("/live/").status_code == 200

    client.post("/accounts/sessions/end/")
    assert laptop.get("/live/").status_code == tablet.get("/live/").status_code == 302
    assert client.get("/live/").status_code == 200
    assert list(
        AuditEvent.objects.filter(verb="person.sessions_ended").values_list("after", flat=True)
    ) == [{"which": "all others"}, {"which": "one"}]


@pytest.mark.parametrize("of", ["another's", "x", "-1", "99999999999999999999"])
def test_nobody_ends_the_session_of_another(client, otto, of):
    ada = Client()
    person("ada", "viewer", password=PASSWORD)
    sign_in(ada, PASSWORD, name="ada")
    hers = UserSession.objects.get(user__username="ada")
    sign_in(client, PASSWORD)

    client.post("/accounts/sessions/end/", {"session": hers.pk if of == "another's" else of})

    assert ada.get("/live/").status_code == 200


def test_a_new_password_ends_the_other_sessions_and_keeps_this_one(client, otto):
    other = Client()
    for browser in (client, other):
        sign_in(browser, PASSWORD)

    new = "staple correct horse"
    client.post(
        "/accounts/password/",
        {"old_password": PASSWORD, "new_password1": new, "new_password2": new},
    )

    assert client.get("/live/").status_code == 200
    assert other.get("/live/").status_code == 302
    assert client.get("/accounts/sessions/").content.decode().count("this one") == 1


def test_the_break_glass_pages_are_entered_by_the_same_door(client, db):
    root = person("root", "admin", password=PASSWORD)
    root.is_staff = root.is_superuser = True
    root.save()

    turned = client.get("/_admin/", follow=True)
    tried = client.post("/_admin/login/", {"username": "root", "password": PASSWORD})

    assert turned.redirect_chain[-1][0].startswith("/accounts/login/?next=")
    assert tried["Location"].startswith("/accounts/login/?next=")
    assert "sessionid" not in client.cookies
