"""A key's life in the pages: made, shown once, edited, rotated, switched off and on, revoked."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from dashboard.audit.models import AuditEvent
from gateway import newest
from gateway.auth import Directory
from gateway.core.policy import KeyRules, Limits
from gateway.core.snapshot import encode
from gateway.errors import GatewayError
from gateway.models import APIKey
from tests.support.frames import Traffic
from tests.support.people import member, person
from tests.support.usage import used

pytestmark = pytest.mark.django_db
NEW = "/tenant/acme/keys/new/"
CHAT = "/v1/chat/completions"
WHOLE = re.compile(r"\blw_(?:live|test|admin)_[0-9A-Za-z]{8}_[0-9A-Za-z]{49}\b")


@pytest.fixture
def ada(client):
    client.force_login(person("ada", "admin"))
    return client


@pytest.fixture
def tess(client, acme):
    client.force_login(member("tess", acme))
    return client


@pytest.fixture
def prod(acme):
    rules = KeyRules(ceiling=8, models=("qwen",), limits=Limits(requests_per_min=9))
    later = timezone.now() + timedelta(days=100)
    return APIKey.objects.issue(acme, "prod-1", service="chat", rules=rules, expires_at=later)


def key_form(**said):
    return {"name": "prod", "service": "chat", "term": "180", "ceiling": "10", **said}


def shown_in(answer) -> str:
    found = set(WHOLE.findall(answer.content.decode()))
    assert len(found) == 1
    return found.pop()


def refusal(key: str, address: str = "10.2.7.9") -> str:
    """The code the gateway refuses it with, or "" when it lets the key in."""
    directory = Directory()
    directory.load()
    try:
        directory.authenticate({"authorization": f"Bearer {key}"}, CHAT, address)
    except GatewayError as error:
        return error.code
    finally:
        directory.close()
    return ""


def acts() -> list[tuple[str, str]]:
    rows = AuditEvent.objects.exclude(verb__startswith="person.").order_by("number")
    return list(rows.values_list("verb", "object"))


def test_a_new_key_is_shown_once_and_opens_the_gateway(tess, acme):
    answer = tess.post(NEW, key_form(ceiling="-5", models="qwen\nllama", networks="10.2.7.9/16"))
    whole = shown_in(answer)
    key = APIKey.objects.get()

    assert whole.split("_")[2] == key.id8
    assert refusal(whole) == ""
    assert refusal(whole, "192.0.2.1") == "ip_not_allowed"
    assert key.as_rules() == KeyRules(
        ceiling=-5, models=("qwen", "llama"), networks=("10.2.0.0/16",)
    )
    assert (key.service, key.kind) == ("chat", "live")
    assert timedelta(179) < key.expires_at - timezone.now() < timedelta(181)
    assert "no-store" in answer["Cache-Control"]
    for page in ("/tenant/acme/", f"/tenant/acme/keys/{key.id8}/edit/", "/audit/", NEW):
        assert whole not in tess.get(page).content.decode()


def test_the_page_that_shows_it_has_snippets_for_four_tools(tess):
    html = tess.post(NEW, key_form(models="qwen")).content.decode()

    for said in ("OPENAI_BASE_URL=", "curl http", "from openai import", "import OpenAI from"):
        assert said in html.replace("&quot;", '"')
    assert "I stored it" in html


def test_snippets_name_a_model_that_is_served(tess):
    frame = Traffic().frame(1.0)
    newest.leave(encode(frame).decode(), {})

    assert f'model="{frame.pools[0].models[0]}"' in told(tess.post(NEW, key_form()))
    named = tess.post(NEW, key_form(name="own", models="qwen"))
    assert 'model="qwen"' in told(named)


def told(answer):
    return answer.content.decode().replace("&quot;", '"')


def test_the_same_form_sent_twice_makes_one_key(tess):
    tess.post(NEW, key_form())
    again = tess.post(NEW, key_form())

    assert again.status_code == 422
    assert not WHOLE.search(again.content.decode())
    assert APIKey.objects.count() == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "x" * 101),
        ("term", "9999"),
        ("ceiling", "11"),
        ("ceiling", "urgent"),
        ("endpoints", "/metrics"),
        ("networks", "home"),
        ("networks", "10.0.0.0/33"),
        ("models", "m" * 201),
        ("models", ",".join(f"m{n}" for n in range(51))),
    ],
)
def test_what_is_wrong_is_said_beside_its_field(tess, field, value):
    answer = tess.post(NEW, key_form(**{field: value}))

    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == [field]
    assert f'id="id_{field}_error"' in answer.content.decode()
    assert not APIKey.objects.exists()


def test_only_an_admin_makes_admin_keys(tess, acme):
    assert tess.post(NEW, key_form(kind="admin")).status_code == 200

    assert APIKey.objects.get().kind == "live"


def test_an_admin_makes_an_admin_key(ada, acme):
    ada.post(NEW, key_form(kind="admin"))

    assert APIKey.objects.get().kind == "admin"


@pytest.mark.parametrize(
    ("said", "scope"),
    [({}, "read"), ({"scope": "read"}, "read"), ({"scope": "write"}, "write")],
)
def test_an_admin_key_reads_unless_somebody_says_that_it_changes(ada, acme, said, scope):
    ada.post(NEW, key_form(kind="admin", **said))

    key = APIKey.objects.get()
    assert key.as_rules().scope == scope
    shown = {"read": "admin, reads", "write": "admin, changes"}[scope]
    assert shown in ada.get("/tenant/acme/").content.decode()
    of_models = key_form(name="other", kind="live", scope="write")
    ada.post(NEW, of_models)
    assert APIKey.objects.get(name="other").as_rules().scope == "read"


def test_fields_of_no_form_are_not_taken(tess, acme, birch):
    tess.post(NEW, key_form(tenant=birch.pk, status="revoked", id8="AAAAAAAA", digest="x"))

    key = APIKey.objects.get()
    assert (key.tenant, key.status) == (acme, "active")
    assert key.id8 != "AAAAAAAA"


def test_the_whole_key_is_nowhere_but_in_the_answer(tess, caplog):
    caplog.set_level("DEBUG")
    whole = shown_in(tess.post(NEW, key_form()))
    secret = whole.split("_")[3]

    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            assert secret not in str(cursor.fetchall()), table
    assert secret not in caplog.text
    assert secret not in str(tess.session.items())
    assert not [
        path
        for path in settings.LANEWAY_HOME.rglob("*")
        if path.is_file() and secret.encode() in path.read_bytes()
    ]


def test_waiting_for_the_first_request_ends_with_a_200(tess, acme, prod):
    key, _ = prod
    address = f"/tenant/acme/keys/{key.id8}/first/"

    assert "waiting for the first request" in tess.get(address).content.decode()
    used(acme, key.id8, ago=timedelta(seconds=2), status=429, code="queue_full", tier="")
    refused = tess.get(address).content.decode()
    assert "429 queue_full" in refused
    assert "hx-get" in refused
    used(acme, key.id8)
    done = tess.get(address).content.decode()

    assert "standard, qwen" in done
    assert "hx-get" not in done


def test_editing_changes_what_the_form_shows_and_leaves_the_rest(tess, prod):
    key, whole = prod
    address = f"/tenant/acme/keys/{key.id8}/edit/"
    form = {
        "name": "prod-one",
        "service": "chat",
        "expires_on": "2999-12-31",
        "ceiling": "0",
        "endpoints": CHAT,
        "networks": "2001:db8::/32",
    }

    for _ in range(2):
        assert tess.post(address, form)["Location"] == "/tenant/acme/"

    key.refresh_from_db()
    assert key.name == "prod-one"
    assert key.expires_at == datetime(3000, 1, 1, tzinfo=UTC)
    assert key.as_rules() == KeyRules(
        ceiling=0,
        endpoints=(CHAT,),
        networks=("2001:db8::/32",),
        limits=Limits(requests_per_min=9),
    )
    assert acts() == [("key.edited", f"key:{key.id8}")]
    told = AuditEvent.objects.get(verb="key.edited")
    assert (told.before["name"], told.after["name"]) == ("prod-1", "prod-one")
    assert "service" not in told.after
    assert refusal(whole, "2001:db8::7") == ""


def test_an_edit_that_changes_nothing_moves_no_moment(tess, prod):
    key, _ = prod
    shown = tess.get(f"/tenant/acme/keys/{key.id8}/edit/").context["form"].initial
    assert shown["expires_on"] == (key.expires_at - timedelta(microseconds=1)).date()

    form = {**shown, "expires_on": shown["expires_on"].isoformat()}
    tess.post(f"/tenant/acme/keys/{key.id8}/edit/", form)

    again = APIKey.objects.get()
    assert again.expires_at == key.expires_at
    assert acts() == []


def test_two_who_edit_a_key_lose_nothing(tess, prod):
    key, _ = prod
    address = f"/tenant/acme/keys/{key.id8}/edit/"

    def seen(page) -> str:
        return re.search(r'name="seen" value="(\w+)"', page.content.decode())[1]

    mine = {"name": "prod-1", "service": "search", "ceiling": "8", "models": "qwen"}
    mine |= {"expires_on": "2999-12-31", "seen": seen(tess.get(address))}
    rules = {**key.rules, "models": ["qwen", "llama"], "networks": ["10.2.0.0/16"]}
    APIKey.objects.filter(pk=key.pk).update(rules=rules)  # by another, meanwhile

    late = tess.post(address, mine)

    html = late.content.decode()
    assert late.status_code == 409
    assert "Somebody changed this key meanwhile" in html
    assert "At present: qwen, llama." in html
    assert "At present: 10.2.0.0/16." in html
    assert 'value="search"' in html
    assert acts() == []

    assert tess.post(address, mine | {"seen": seen(late)}).status_code == 302
    key.refresh_from_db()
    assert (key.service, key.as_rules().models) == ("search", ("qwen",))


def test_a_name_in_use_and_a_wrong_day_are_refused(tess, acme, prod):
    APIKey.objects.issue(acme, "taken")
    address = f"/tenant/acme/keys/{prod[0].id8}/edit/"

    wrong = tess.post(address, {"name": "taken", "ceiling": "0", "expires_on": "soon"})

    assert set(wrong.context["form"].errors) == {"name", "expires_on"}
    assert APIKey.objects.get(pk=prod[0].pk).name == "prod-1"


@pytest.mark.parametrize(("overlap", "hours"), [("1", 1), ("24", 24), ("168", 168)])
def test_rotating_with_overlap_keeps_both_keys_valid(tess, prod, overlap, hours):
    key, old = prod
    address = f"/tenant/acme/keys/{key.id8}/rotate/"
    assert tess.get(address).context["form"].initial["name"] == "prod-2"

    new = shown_in(tess.post(address, {"overlap": overlap, "name": "prod-2"}))

    successor = APIKey.objects.get(name="prod-2")
    key.refresh_from_db()
    assert (refusal(old), refusal(new)) == ("", "")
    assert (successor.replaces, successor.service, successor.rules) == (key, "chat", key.rules)
    assert key.retires_at - key.rotated_at == timedelta(hours=hours)
    assert timedelta(99) < successor.expires_at - timezone.now() < timedelta(101)
    assert acts() == [("key.rotated", f"key:{key.id8}"), ("key.issued", f"key:{successor.id8}")]


def test_after_the_overlap_the_old_key_is_told_that_it_was_rotated(tess, prod):
    key, old = prod
    tess.post(f"/tenant/acme/keys/{key.id8}/rotate/", {"overlap": "1", "name": "prod-2"})
    APIKey.objects.filter(pk=key.pk).update(retires_at=timezone.now())

    assert refusal(old) == "api_key_rotated"


def test_rotating_a_leaked_key_ends_it_at_once(tess, prod):
    key, old = prod

    new = shown_in(
        tess.post(f"/tenant/acme/keys/{key.id8}/rotate/", {"overlap": "0", "name": "prod-2"})
    )

    assert (refusal(old), refusal(new)) == ("api_key_revoked", "")


def test_a_rotation_sent_twice_makes_one_successor(tess, prod):
    address = f"/tenant/acme/keys/{prod[0].id8}/rotate/"
    tess.post(address, {"overlap": "24", "name": "prod-2"})

    again = tess.post(address, {"overlap": "24", "name": "prod-3"})

    assert again["Location"] == "/tenant/acme/"
    assert APIKey.objects.count() == 2


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"overlap": "2", "name": "prod-2"}, "overlap"),
        ({"overlap": "24", "name": ""}, "name"),
        ({"overlap": "24", "name": "prod-1"}, "name"),
    ],
)
def test_a_wrong_rotation_changes_nothing(tess, prod, form, field):
    answer = tess.post(f"/tenant/acme/keys/{prod[0].id8}/rotate/", form)

    assert (answer.status_code, list(answer.context["form"].errors)) == (422, [field])
    assert APIKey.objects.get().rotated_at is None


def test_disable_enable_revoke_and_nothing_after(tess, prod):
    key, whole = prod

    def do(action: str) -> str:
        tess.post(f"/tenant/acme/keys/{key.id8}/{action}/", {"reason": "a test"})
        return refusal(whole)

    seen = [do(action) for action in ("disable", "disable", "enable", "revoke", "enable", "revoke")]

    revoked = "api_key_revoked"
    assert seen == ["api_key_disabled", "api_key_disabled", "", revoked, revoked, revoked]
    assert [verb for verb, _ in acts()] == ["key.disabled", "key.enabled", "key.revoked"]


def test_revoking_takes_a_reason(tess, prod):
    key, whole = prod

    answer = tess.post(f"/tenant/acme/keys/{key.id8}/revoke/", {"reason": ""})

    assert answer.status_code == 422
    assert refusal(whole) == ""


def test_security_revokes_any_key_and_does_nothing_else_with_it(client, prod):
    key, whole = prod
    client.force_login(person("sid", "security"))

    assert client.post(f"/tenant/acme/keys/{key.id8}/disable/", {"reason": "x"}).status_code == 403
    assert refusal(whole) == ""
    client.post(f"/tenant/acme/keys/{key.id8}/revoke/", {"reason": "found in a repository"})

    assert refusal(whole) == "api_key_revoked"


def test_another_tenant_s_key_cannot_be_reached_through_one_s_own(tess, birch):
    key, whole = APIKey.objects.issue(birch, "prod")

    for action in ("edit", "rotate", "first", "revoke", "disable", "enable"):
        for method in (tess.get, tess.post):
            assert method(f"/tenant/acme/keys/{key.id8}/{action}/").status_code in (404, 405)

    assert refusal(whole) == ""


def test_an_admin_key_in_one_s_tenant_can_only_be_revoked(tess, acme):
    key, _ = APIKey.objects.issue(acme, "metrics", kind="admin")

    for action in ("edit", "rotate", "disable"):
        assert tess.get(f"/tenant/acme/keys/{key.id8}/{action}/").status_code == 403
    assert tess.get(f"/tenant/acme/keys/{key.id8}/revoke/").status_code == 200


def test_a_revoked_key_has_no_form(tess, prod):
    prod[0].revoke()

    for action in ("edit", "rotate"):
        answer = tess.get(f"/tenant/acme/keys/{prod[0].id8}/{action}/")
        assert answer["Location"] == "/tenant/acme/"
