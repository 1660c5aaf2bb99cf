"""People: invited by a link that works once, given roles by others, switched off, let in again."""

import re
from urllib.parse import urlsplit

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from dashboard.accounts import links
from dashboard.accounts.models import Membership, OneTimeLink
from dashboard.accounts.permissions import standing
from dashboard.audit.models import AuditEvent
from tests.support.factors import with_app
from tests.support.people import member, person

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"


@pytest.fixture
def sue(client):
    """Has the security role, and a browser."""
    client.force_login(person("sue", "security"))
    return client


@pytest.fixture
def otto():
    return person("otto", "on-call", password=PASSWORD)


def roles_of(name: str) -> set[str]:
    return standing(User.objects.get(username=name)).roles


def shown_link(answer) -> str:
    return urlsplit(re.search(r"http://[^<]+/welcome/[^<]+", answer.content.decode())[0]).path


def acts() -> list[tuple[str, str, str]]:
    rows = AuditEvent.objects.exclude(verb__in=["person.signed_in", "person.signed_out"])
    return list(rows.order_by("number").values_list("actor", "verb", "object"))


def test_whoever_is_invited_chooses_a_password_and_is_in(sue, acme):
    answer = sue.post(
        "/people/invite/",
        {
            "name": "tess",
            "mail": "Tess@Example.org",
            "tenant": "acme",
            "tenant_role": "tenant-admin",
        },
    )
    link = shown_link(answer)
    browser = Client()

    browser.post(link, {"new_password1": PASSWORD, "new_password2": PASSWORD})

    assert browser.get("/")["Location"] == "/tenant/acme/"
    assert "no-store" in answer["Cache-Control"]
    tess = User.objects.get(username="tess")
    assert (tess.email, tess.is_staff, tess.is_superuser) == ("tess@example.org", False, False)
    assert acts() == [
        ("sue", "person.created", "person:tess"),
        ("sue", "member.set", "person:tess"),
        ("sue", "person.link_made", "person:tess"),
        ("tess", "person.password_changed", "person:tess"),
    ]
    token = link.split("/")[-2]
    assert token not in str(list(AuditEvent.objects.values())) + str(
        list(OneTimeLink.objects.values())
    )


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("name", "", "required"),
        ("name", "ot to", "valid username"),
        ("name", "OTTO", "There is somebody of this name."),
        ("mail", "nonsense", "valid email"),
        ("mail", "Otto@example.org", "Somebody has this address."),
        ("roles", "superuser", "not one of the available choices"),
        ("roles", [], "they would see nothing"),
        ("tenant", "nowhere", "not one of the available choices"),
    ],
)
def test_what_is_wrong_is_said_and_nobody_is_made(sue, otto, field, value, said):
    User.objects.filter(pk=otto.pk).update(email="otto@example.org")
    form = {"name": "tess", "mail": "", "roles": ["viewer"], "tenant_role": "tenant-viewer"}

    answer = sue.post("/people/invite/", {**form, field: value})

    assert answer.status_code == 422
    assert said in answer.content.decode()
    assert User.objects.count() == 2


def test_roles_are_given_and_taken_with_both_sides_on_the_trail(sue, otto):
    sue.post("/people/of/otto/roles/", {"roles": ["viewer", "on-call"]})
    sue.post("/people/of/otto/roles/", {"roles": ["viewer"]})
    sue.post("/people/of/otto/roles/", {"roles": ["viewer"]})

    assert roles_of("otto") == {"viewer"}
    rows = AuditEvent.objects.filter(verb="person.roles_changed").order_by("number")
    assert [(row.before["roles"], row.after["roles"]) for row in rows] == [
        (["on-call"], ["on-call", "viewer"]),
        (["on-call", "viewer"], ["viewer"]),
    ]


def test_fields_of_no_form_are_not_taken(sue, otto):
    more = {
        "is_superuser": "on",
        "is_staff": "on",
        "password": "x",
        "groups": "1",
        "username": "root",
    }
    sue.post("/people/of/otto/roles/", {"roles": ["viewer"], **more})
    sue.post(
        "/people/invite/",
        {"name": "ben", "roles": ["viewer"], "tenant_role": "tenant-viewer", **more},
    )

    for name in ("otto", "ben"):
        found = User.objects.get(username=name)
        assert (found.is_superuser, found.is_staff) == (False, False)
    assert User.objects.get(username="otto").check_password(PASSWORD)


def test_groups_that_are_no_roles_cannot_be_given_and_are_left_alone(sue, otto):
    otto.groups.add(Group.objects.create(name="choir"))

    assert sue.post("/people/of/otto/roles/", {"roles": ["choir"]}).status_code == 422
    sue.post("/people/of/otto/roles/", {"roles": ["viewer"]})

    assert set(otto.groups.values_list("name", flat=True)) == {"choir", "viewer"}


@pytest.mark.parametrize("path", ["roles/", "link/", "off/", "reset/", "end/"])
def test_nobody_changes_what_they_may_themselves(sue, path):
    answer = sue.post(f"/people/of/sue/{path}", {"roles": ["admin", "security"], "reason": "mine"})

    assert answer.status_code == 403
    assert roles_of("sue") == {"security"}
    assert acts() == []


def test_nobody_gives_themselves_a_tenant(sue, acme):
    mine = {"tenant": "acme", "role": "tenant-admin"}

    assert sue.post("/people/of/sue/tenants/", mine).status_code == 403
    answer = sue.post("/tenant/acme/members/", {"person": "sue", "role": "tenant-admin"})

    assert (answer.status_code, b"That is you" in answer.content) == (422, True)
    assert b"people/of/sue/tenants/" not in sue.get("/people/of/sue/").content
    assert acts() == []


def test_of_two_who_use_a_link_at_once_one_does(otto):
    path = links.make(otto, timezone.now())
    found = [links.find(path.split("/")[-2], timezone.now()) for _ in range(2)]

    assert [links.use(link) for link in found if link] == [True, False]


def test_an_admin_changes_the_rules_and_nobody_s_roles(client, otto):
    client.force_login(person("ada", "admin"))

    assert client.post("/people/of/otto/roles/", {"roles": ["admin"]}).status_code == 403
    assert roles_of("otto") == {"on-call"}


def superuser(name: str) -> User:
    root = person(name, "admin", "security", password=PASSWORD)
    root.is_staff = root.is_superuser = True
    root.save()
    return root


def test_whoever_loses_one_of_the_first_two_roles_loses_the_break_glass_pages(client, settings):
    settings.LANEWAY_REQUIRE_MFA = False
    root, sue = superuser("root"), client
    client.force_login(superuser("another root"))

    sue.post("/people/of/root/roles/", {"roles": ["admin"]})

    root.refresh_from_db()
    assert (root.is_staff, root.is_superuser) == (False, False)


@pytest.mark.parametrize("path", ["roles/", "link/", "off/", "reset/", "end/", "tenants/"])
def test_nobody_changes_whoever_stands_above_them(sue, path, acme):
    root = with_app(superuser("root"))
    said = {"roles": ["viewer"], "reason": "lost phone", "tenant": "acme", "role": "tenant-admin"}

    answer = sue.post(f"/people/of/root/{path}", said)

    root.refresh_from_db()
    assert answer.status_code == 403
    assert (root.is_active, root.is_superuser, root.check_password(PASSWORD)) == (True, True, True)
    assert Authenticator.objects.filter(user=root).exists()
    assert acts() == []
    page = sue.get("/people/of/root/").content.decode()
    assert "createadmin root --reset" in page
    assert f"of/root/{path}" not in page


def test_two_who_change_somebody_s_roles_lose_nothing(sue, otto):
    def seen(page) -> str:
        return re.search(r'name="seen" value="([^"]+)"', page.content.decode())[1]

    mine = {"roles": ["viewer"], "seen": seen(sue.get("/people/of/otto/"))}
    otto.groups.add(Group.objects.get_or_create(name="admin")[0])  # by another, meanwhile

    late = sue.post("/people/of/otto/roles/", mine)

    assert late.status_code == 409
    assert "on-call, admin at present" in late.content.decode()
    assert roles_of("otto") >= {"on-call"}
    assert acts() == []

    sue.post("/people/of/otto/roles/", mine | {"seen": seen(late)})
    assert roles_of("otto") == {"viewer"}


def test_switched_off_means_out_at_once_and_back_with_everything(sue, otto):
    browser = Client()
    browser.post("/accounts/login/", {"login": "otto", "password": PASSWORD})
    assert browser.get("/live/").status_code == 200

    assert sue.post("/people/of/otto/off/", {"reason": ""}).status_code == 422
    sue.post("/people/of/otto/off/", {"reason": "left"})
    assert browser.get("/live/").status_code == 302

    sue.post("/people/of/otto/on/", {"reason": "came back"})
    browser.post("/accounts/login/", {"login": "otto", "password": PASSWORD})
    assert browser.get("/live/").status_code == 200
    assert [verb for _, verb, _ in acts()] == ["person.switched_off", "person.switched_on"]


def test_a_lost_phone_is_reset_and_ends_the_sessions(sue):
    ada = with_app(person("ada", "admin", password=PASSWORD))

    page = sue.get("/people/of/ada/").content.decode()
    assert "<b>app</b>" in page
    sue.post("/people/of/ada/reset/", {"reason": "phone fell into the lake"})

    assert not Authenticator.objects.filter(user=ada).exists()
    assert "admin and security rest" in sue.get("/people/of/ada/").content.decode()
    assert acts() == [("sue", "person.factors_reset", "person:ada")]


def test_all_sessions_of_somebody_end(sue, otto):
    browser = Client()
    browser.post("/accounts/login/", {"login": "otto", "password": PASSWORD})

    sue.post("/people/of/otto/end/", {"reason": "laptop stolen"})

    assert browser.get("/live/").status_code == 302


def test_a_link_for_a_forgotten_password_leaves_the_factor_in_force(sue):
    with_app(person("ada", "admin", password=PASSWORD))
    link = shown_link(sue.post("/people/of/ada/link/"))
    browser = Client()

    new = "staple correct horse"
    answer = browser.post(link, {"new_password1": new, "new_password2": new})

    assert answer["Location"] == "/accounts/login/factor/"
    assert browser.get("/tenants/")["Location"].startswith("/accounts/login/")


def test_tenants_are_added_and_taken(sue, otto, acme):
    sue.post("/people/of/otto/tenants/", {"tenant": "acme", "role": "tenant-admin"})
    assert Membership.objects.get(user=otto).role == "tenant-admin"
    assert sue.post("/people/of/otto/tenants/", {"tenant": "x", "role": "y"}).status_code == 422

    sue.post("/people/of/otto/tenants/acme/remove/")
    assert not Membership.objects.filter(user=otto).exists()


def test_the_list_tells_who_is_what_with_a_fixed_number_of_queries(
    sue, otto, acme, django_assert_max_num_queries
):
    member("tess", acme)
    for n in range(20):
        person(f"viewer-{n}", "viewer")
    with django_assert_max_num_queries(14):
        html = sue.get("/people/").content.decode()

    assert "no way in" in html
    assert ">otto</a>" in html
    assert "(tenant admin)" in html
    assert ">otto</a>" not in sue.get("/people/?q=viewer-1").content.decode()
    assert "Nobody fits" in sue.get("/people/?q=%00nobody").content.decode()


@pytest.mark.parametrize("path", ["", "roles/", "link/", "off/", "tenants/"])
def test_nobody_of_that_name_is_not_found(sue, path):
    method = sue.get if path in ("", "off/") else sue.post

    assert method(f"/people/of/nobody/{path}").status_code == 404
