"""Who may open what: every address of the URLconf, tried by every role and signed out.

A view that this table does not know fails: say who may open it (``OPEN_TO``), and how to reach it
where its address has parts (``ARGUMENTS``).  A view must also carry its decision, by
``dashboard.accounts.gate``.
"""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import NamedTuple

import pytest
from django.contrib import admin
from django.core.cache import cache
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone

from dashboard.accounts.confirming import CONFIRMED
from dashboard.alerts.models import Annotation, Incident, Rule, Silence
from dashboard.delivery.models import Channel, Delivery
from dashboard.live.boards import COOKIE
from dashboard.live.models import WallBoard
from gateway.core.policy import default_policy
from gateway.core.snapshot import encode
from gateway.models import APIKey, Override, PolicyVersion
from gateway.newest import FRAME
from tests.support.frames import Traffic
from tests.support.people import member, person

pytestmark = pytest.mark.django_db

ROLES = ("viewer", "on-call", "admin", "security")
TENANT_ROLES = ("tenant-admin", "tenant-viewer")  # of the tenant that the address names
OTHERS = ("stranger", "no role", "tenant-admin elsewhere")
EVERYBODY = (*OTHERS, *ROLES, *TENANT_ROLES)

ALL = set(EVERYBODY)
WATCHERS = set(ROLES)
WHOLE = {"admin", "security"}
OWN = {"tenant-admin", "tenant-viewer"}
MEMBERS = OWN | {"tenant-admin elsewhere"}
KEYS = {"admin", "tenant-admin"}
DRAFTERS = {"on-call", "admin"}

# The management API opens for admin keys, never for a session, whoever's it is.
API_POSTED = {
    "api:suspend_tenant",
    "api:resume_tenant",
    "api:rotate_key",
    "api:disable_key",
    "api:enable_key",
    "api:revoke_key",
    "api:validate_policy",
    "api:plan_policy",
    "api:roll_back",
}
API = API_POSTED | {
    "api:api-root",
    "api:unknown",
    "api:list_tenants",
    "api:create_tenant",
    "api:get_tenant",
    "api:change_tenant",
    "api:list_keys",
    "api:issue_key",
    "api:get_key",
    "api:change_key",
    "api:get_policy",
    "api:publish_policy",
    "api:list_versions",
    "api:get_version",
    "api:list_rules",
    "api:create_rule",
    "api:get_rule",
    "api:change_rule",
    "api:delete_rule",
}

# By the name of the address: who gets past the door.
OPEN_TO: dict[str, set[str]] = {
    "home": WATCHERS | MEMBERS,
    "live:page": WATCHERS,
    "live:figures": WATCHERS,
    "live:history": WATCHERS,
    "live:board": set(),  # a cookie decides, which no person has
    "live:board-figures": set(),
    "live:board-open": set(),
    "live:boards": {"admin"},
    "live:board-make": {"admin"},
    "live:board-revoke": {"admin"},
    "live:line": WATCHERS,
    "live:lost": WATCHERS,
    "live:line-csv": WATCHERS,
    "live:why": WATCHERS,
    "live:actions": WATCHERS,
    "live:running": WATCHERS,
    "live:order": WATCHERS,
    "live:act": DRAFTERS,
    "live:act move": {"admin"},
    "live:act abort": {"admin"},
    "live:end": DRAFTERS,
    "live:extend": DRAFTERS,
    "live:undo": DRAFTERS,
    "live-api": WATCHERS,
    "doctor": WATCHERS,
    "revoke": ALL,
    "accounts:login": ALL,
    "accounts:logout": ALL,
    "accounts:password": ALL - {"stranger"},
    "accounts:welcome": set(),  # whoever holds a link that works
    "accounts:sessions": ALL - {"stranger"},
    "accounts:sessions-end": ALL - {"stranger"},
    "accounts:provider": set(),  # none is set up
    "openid_connect_callback": set(),
    "socialaccount_login_cancelled": ALL,
    "account_login": ALL,
    "account_inactive": ALL,
    "account_reauthenticate": set(),  # whoever has a password, a code or a passkey
    "mfa_reauthenticate": set(),
    "mfa_reauthenticate_webauthn": set(),
    "mfa_authenticate": ALL,  # it sends away whoever gave no password before
    "mfa_login_webauthn": ALL,
    "mfa_index": ALL - {"stranger"},
    "mfa_list_webauthn": ALL - {"stranger"},
    "mfa_activate_totp": ALL - {"stranger"},
    "mfa_deactivate_totp": set(),  # whoever has one
    "mfa_add_webauthn": ALL - {"stranger"},
    "mfa_remove_webauthn": set(),
    "mfa_view_recovery_codes": set(),
    "mfa_generate_recovery_codes": ALL - {"stranger"},
    "alerts:page": WATCHERS,
    "alerts:badge": WATCHERS,
    "alerts:history": WATCHERS,
    "alerts:incident": WATCHERS,
    "alerts:markdown": WATCHERS,
    "alerts:line": DRAFTERS,
    "alerts:ack": DRAFTERS,
    "alerts:unack": DRAFTERS,
    "alerts:ack-link": ALL,  # the link is the proof
    "alerts:notes": WATCHERS,
    "alerts:note": WATCHERS,
    "alerts:note-delete": DRAFTERS,
    "alerts:runbook": WATCHERS,
    "alerts:rules": WATCHERS,
    "alerts:rule": WATCHERS,
    "alerts:rule-new": {"admin"},
    "alerts:rule-delete": {"admin"},
    "alerts:would": WATCHERS,
    "alerts:silences": WATCHERS,
    "alerts:silence-new": DRAFTERS,
    "alerts:silence-end": DRAFTERS,
    "audit:page": WHOLE | {"tenant-admin", "tenant-admin elsewhere"},
    "audit:csv": WHOLE | {"tenant-admin", "tenant-admin elsewhere"},
    "audit:jsonl": WHOLE | {"tenant-admin", "tenant-admin elsewhere"},
    "delivery:page": DRAFTERS,
    "delivery:log": DRAFTERS,
    "delivery:one": DRAFTERS,
    "delivery:new": {"admin"},
    "delivery:edit": {"admin"},
    "delivery:test": {"admin"},
    "delivery:switch": {"admin"},
    "delivery:delete": {"admin"},
    "delivery:retry": {"admin"},
    "policies:overview": WATCHERS,
    "policies:status": WATCHERS,
    "policies:compare": WATCHERS,
    "policies:at": WATCHERS,
    "policies:version": WATCHERS,
    "policies:back": DRAFTERS,
    "policies:undo": {"admin"},
    "policies:take-over": {"admin"},
    "policies:cancel": {"admin"},
    "policies:canary": WATCHERS,
    "policies:shadow": WATCHERS,
    "policies:shadow-end": {"admin"},
    "policies:preview": DRAFTERS,
    "policies:preview-progress": DRAFTERS,
    "policies:preview-stop": DRAFTERS,
    "policies:promote": {"admin"},
    "policies:take-back": DRAFTERS,
    "policies:sheet": DRAFTERS,
    "policies:tenant": DRAFTERS,
    "policies:review": DRAFTERS,
    "policies:merge": DRAFTERS,
    "policies:discard": DRAFTERS,
    "people:page": {"security"},
    "people:invite": {"security"},
    "people:one": {"security"},
    "people:roles": {"security"},
    "people:member-add": {"security"},
    "people:member-remove": {"security"},
    "people:link": {"security"},
    "people:act": {"security"},
    "tenants:page": WHOLE | MEMBERS,
    "tenants:in-force": WHOLE | MEMBERS,
    "tenants:new": {"admin"},
    "tenants:usage": WHOLE,
    "tenants:usage-csv": WHOLE,
    "tenants:report": WHOLE,
    "tenants:report-csv": WHOLE,
    "tenant:page": WHOLE | OWN,
    "tenant:waiting": WHOLE | OWN,
    "tenant:evict": KEYS,
    "tenant:suspend": {"admin"},
    "tenant:resume": {"admin"},
    "tenant:member-add": {"security", "tenant-admin"},
    "tenant:member-remove": {"security", "tenant-admin"},
    "tenant:usage": WHOLE | OWN,
    "tenant:usage-csv": WHOLE | OWN,
    "tenant:report": WHOLE | OWN,
    "tenant:report-csv": WHOLE | OWN,
    "tenant:key-new": KEYS,
    "tenant:key-edit": KEYS,
    "tenant:key-rotate": KEYS,
    "tenant:key-first": KEYS,
    "tenant:key-uses": WHOLE | OWN,
    "tenant:key-change": KEYS,
    "tenant:key-change revoke": KEYS | {"security"},
    "api:openapi-json": ALL,
    "api:openapi-view": ALL,
    **{name: set() for name in API},
}
# Names with two kinds of addresses, written "name variant", and all parts of addresses.
ARGUMENTS: dict[str, dict[str, str]] = {
    **{name: {"pk": "1", "token": "x"} for name in OPEN_TO if name.startswith("alerts:")},
    "live:board-open": {"secret": "guessed"},
    "live:board-revoke": {"pk": "1"},
    "live:why": {"id": "req_x"},
    "delivery:one": {"pk": "1"},
    "delivery:edit": {"pk": "1"},
    "delivery:test": {"pk": "1"},
    "delivery:switch": {"pk": "1"},
    "delivery:delete": {"pk": "1"},
    "delivery:retry": {"pk": "1"},
    "live:act": {"verb": "pause"},
    "live:act move": {"verb": "move"},
    "live:act abort": {"verb": "abort"},
    "live:order": {"pk": "1"},
    "live:end": {"pk": "1"},
    "live:extend": {"pk": "1"},
    "live:undo": {"pk": "1"},
    "policies:version": {"number": "1"},
    "policies:back": {"number": "1"},
    "api:roll_back": {"number": "1"},
    "api:get_version": {"number": "1"},
    "api:get_rule": {"number": "1"},
    "api:change_rule": {"number": "1"},
    "api:delete_rule": {"number": "1"},
    "policies:cancel": {"pk": "1"},
    "policies:promote": {"version": "2"},
    "policies:preview-progress": {"pk": "1"},
    "policies:preview-stop": {"pk": "1"},
    "policies:take-back": {"version": "2"},
    "policies:sheet": {"section": "tiers"},
    "tenant:member-remove": {"name": "nobody"},
    **{f"people:{name}": {"name": "viewer"} for name in ("one", "roles", "link", "member-add")},
    "people:member-remove": {"name": "viewer"},
    "people:act": {"name": "viewer", "act": "off"},
    "accounts:welcome": {"token": "guessed"},
    "mfa_remove_webauthn": {"pk": "1"},
    "tenant:key-change": {"action": "disable"},
    "tenant:key-change revoke": {"action": "revoke"},
}
# What an address asks for behind its question mark.
QUERIES = {"live:act": "?tier=batch&tenant=acme&ids=req_1", "policies:compare": "?a=1&b=1"}
POSTED = {
    "alerts:line",
    "alerts:ack",
    "alerts:unack",
    "alerts:note-delete",
    "alerts:rule-delete",
    "alerts:silence-end",
    "accounts:logout",
    "live:board-make",
    "live:board-revoke",
    "delivery:test",
    "delivery:switch",
    "delivery:retry",
    "accounts:sessions-end",
    "accounts:provider",
    "live:end",
    "live:extend",
    "live:undo",
    "people:roles",
    "people:member-add",
    "people:member-remove",
    "people:link",
    "policies:back",
    "policies:discard",
    "policies:merge",
    "policies:undo",
    "policies:cancel",
    "policies:promote",
    "policies:shadow-end",
    "policies:preview-stop",
    "policies:take-back",
    "tenant:resume",
    "tenant:member-add",
    "tenant:member-remove",
    *API_POSTED,
}
# Whatever else takes a POST asks again who it is, 15 minutes after somebody last proved it.
NOT_ASKED_AGAIN = {
    "most orders on call end by themselves, and at night a minute counts": {
        "live:act",  # asks where a name is to be typed: live/test_actions.py
        "live:act move",
        "tenant:evict",
        "live:end",
        "live:extend",
        "live:undo",
        "alerts:line",
        "alerts:ack",
        "alerts:unack",
        "alerts:ack-link",
        "alerts:notes",
        "alerts:note",
        "alerts:note-delete",
        "alerts:rule",
        "alerts:rule-new",
        "alerts:rule-delete",
        "alerts:silence-new",
        "alerts:silence-end",
    },
    "a draft decides nothing": {
        "policies:sheet",
        "policies:tenant",
        "policies:review",  # asks where it publishes: policies/test_review_page.py
        "policies:merge",
        "policies:discard",
        "policies:preview",
        "policies:preview-stop",
    },
    "a step back leads to what was in force before": {"policies:back", "policies:take-back"},
    "it is how one proves it, or takes the old password, or only ends what is one's own": {
        *(name for name in OPEN_TO if name.startswith(("account", "openid_", "social"))),
        "mfa_authenticate",
        "mfa_login_webauthn",
    },
    "a key or a link is the proof": {"revoke", "live:board-open", *API},
}
OUTSIDE = ("admin",)  # Django's own: superusers only


class Address(NamedTuple):
    name: str
    view: object
    parts: frozenset[str]


def addresses() -> Iterator[Address]:
    yield from _walk(get_resolver(), ())


def _walk(resolver: URLResolver, spaces: tuple[str, ...]) -> Iterator[Address]:
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLPattern):
            name = ":".join((*spaces, pattern.name or f"unnamed {pattern.pattern}"))
            yield Address(name, pattern.callback, frozenset(_parts(resolver, pattern)))
        elif pattern.namespace not in OUTSIDE:
            inner = (pattern.namespace,) if pattern.namespace else ()
            yield from _walk(pattern, (*spaces, *inner))


def _parts(resolver: URLResolver, pattern: URLPattern) -> set[str]:
    own = set(pattern.pattern.converters) | set(pattern.pattern.regex.groupindex)
    return own | set(resolver.pattern.converters)


KNOWN = {address.name: address for address in addresses()}


def test_every_address_says_who_may_open_it():
    unsaid = sorted(KNOWN.keys() - OPEN_TO.keys())

    assert not unsaid, (
        f"No decision is written down for {unsaid}: add them to OPEN_TO in {__file__}, "
        "with the roles that may open them, and to ARGUMENTS what their addresses need."
    )


def test_no_decision_is_left_of_an_address_that_is_gone():
    assert not {name.split(" ")[0] for name in OPEN_TO} - KNOWN.keys()


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_every_view_carries_its_decision(name):
    decision = getattr(KNOWN[name].view, "decision", None)

    assert decision, (
        f"{name} decides nothing: put @open_to, @open_in_tenant or @open_to_all of "
        "dashboard.accounts.gate on its view."
    )
    assert decision != "<lambda>"


@pytest.fixture(autouse=True)
def frame():
    cache.set(FRAME, encode(Traffic().frame(1.0)).decode(), 60)
    yield
    cache.clear()


@pytest.fixture(autouse=True)
def order(db):
    now = timezone.now()
    Override.objects.create(
        pk=1,
        verb="pause",
        pool="default",
        tier="batch",
        scope="tier:default/batch",
        owner="otto",
        begun_at=now,
        ends_at=now + timedelta(minutes=15),
        changed_at=now,
        changed_by="otto",
        key="1",
    )


@pytest.fixture(autouse=True)
def version(db):
    PolicyVersion.objects.publish(default_policy(), "the first")


@pytest.fixture(autouse=True)
def delivery(db):
    board, _ = WallBoard.objects.make("kitchen", person("maker", "admin"), timezone.now())
    WallBoard.objects.filter(pk=board.pk).update(id=1)
    channel = Channel(pk=1, name="oncall", kind="slack", where="Slack")
    channel.address = "slack://TOKENA/TOKENB/TOKENC"
    channel.save()
    Delivery.objects.create(
        pk=1, channel=channel, dedupe="d", message={"title": "t"}, next_try_at=timezone.now()
    )


@pytest.fixture(autouse=True)
def alert_rows(db):
    now = timezone.now()
    rule = Rule.objects.filter(pk=1).first() or Rule.objects.create(pk=1, metric="oldest", warn=1)
    Incident.objects.create(pk=1, rule=rule, rule_name="it", severity="warn", opened_at=now)
    Annotation.objects.create(pk=1, at=now, text="deployed")
    Silence.objects.create(pk=1, reason="x", starts_at=now, ends_at=now + timedelta(hours=1))


@pytest.fixture
def clients(acme, birch) -> dict[str, Client]:
    """A browser for each role; ``tenant-…`` belong to acme, whose addresses are tried."""
    people = {
        **{role: person(role, role) for role in ROLES},
        **{role: member(role, acme, role) for role in TENANT_ROLES},
        "tenant-admin elsewhere": member("ben", birch),
        "no role": person("stray"),
    }
    found = {"stranger": Client()}
    for name, somebody in people.items():
        found[name] = Client()
        found[name].force_login(somebody)
    return found


@pytest.mark.parametrize("case", sorted(OPEN_TO))
def test_an_address_opens_for_its_roles_and_for_nobody_else(case, clients, acme):
    name = case.split(" ")[0]
    if name not in KNOWN:
        pytest.skip("another test says that it is gone")
    key, _ = APIKey.objects.issue(acme, "prod")
    given = {"slug": "acme", "id8": key.id8, **ARGUMENTS.get(case, {})}
    needed = {part: value for part, value in given.items() if part in KNOWN[name].parts}
    path = reverse(name, kwargs=needed) + QUERIES.get(name, "")

    came_in = set()
    for who in EVERYBODY:
        browser = clients[who]
        answer = browser.post(path) if name in POSTED else browser.get(path)
        to_sign_in = answer.headers.get("Location", "").startswith("/accounts/login/?")
        refused = answer.status_code in (401, 403, 404) or to_sign_in
        if not refused:
            came_in.add(who)
        assert answer.status_code < 500

    assert came_in == OPEN_TO[case]


def test_whatever_gives_rights_or_makes_rules_asks_again(acme, clients, settings):
    settings.LANEWAY_REQUIRE_MFA = False  # so that a password is what there is to ask for
    unasked = set().union(*NOT_ASKED_AGAIN.values())
    assert not {name.split(" ")[0] for name in unasked} - KNOWN.keys()
    key, _ = APIKey.objects.issue(acme, "prod")
    ada = person("ada", "admin", "security", "on-call", password="correct horse battery")
    browser = Client()

    asked: dict[str, set[str]] = {"get": set(), "post": set()}
    changing = set()
    for case in sorted(OPEN_TO.keys() - API):
        name = case.split(" ")[0]
        given = {"slug": "acme", "id8": key.id8, **ARGUMENTS.get(case, {})}
        path = reverse(name, kwargs={part: given[part] for part in KNOWN[name].parts})
        for method in ("get", "post"):
            if "_auth_user_id" not in browser.session:
                browser.force_login(ada)
            session = browser.session
            session[CONFIRMED] = 0
            session.save()
            answer = getattr(browser, method)(path + QUERIES.get(name, ""))
            if answer.headers.get("Location", "").startswith("/accounts/again/"):
                asked[method].add(case)
            if method == "post" and answer.status_code != 405:
                changing.add(case)

    assert changing - asked["post"] == unasked & changing
    assert not asked["post"] & unasked
    assert not asked["get"] & POSTED


def said(answer: HttpResponse) -> str:
    return re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", answer.content.decode())


@pytest.mark.parametrize("name", sorted(n for n in OPEN_TO if n.startswith("tenant:")))
def test_a_tenant_is_not_there_for_the_people_of_another(name, clients, acme):
    key, _ = APIKey.objects.issue(acme, "prod")
    given = {"slug": "acme", "id8": key.id8, **ARGUMENTS.get(name, {})}
    address = KNOWN[name.split(" ")[0]]
    path = reverse(address.name, kwargs={p: v for p, v in given.items() if p in address.parts})
    nowhere = path.replace("/acme/", "/nobody-has-this/")
    ben = clients["tenant-admin elsewhere"]

    for method in (ben.get, ben.post):
        assert method(path).status_code == 404
        assert said(method(path)) == said(method(nowhere))


def test_nothing_changes_without_a_token_against_forged_forms(acme):
    key, _ = APIKey.objects.issue(acme, "prod")
    ada = person("ada", "admin", "security")
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(ada)

    for case in OPEN_TO:
        name = case.split(" ")[0]
        given = {"slug": "acme", "id8": key.id8, **ARGUMENTS.get(case, {})}
        path = reverse(name, kwargs={part: given[part] for part in KNOWN[name].parts})
        refused = (401, 404, 405) if name.startswith("api:") else (403, 405)
        assert browser.post(path, {"reason": "forged"}).status_code in refused, case

    key.refresh_from_db()
    ada.refresh_from_db()
    assert (key.status, ada.is_active) == ("active", True)


BOARD_OPENS = {"live:board", "live:board-figures"}


@pytest.mark.parametrize("method", ["get", "post"])
def test_the_cookie_of_a_wall_board_opens_the_board_and_nothing_else(method, acme):
    now = timezone.now()
    board, _ = WallBoard.objects.make("second kitchen", person("other maker", "admin"), now)
    browser = Client()
    browser.cookies[COOKIE] = board.open(now)
    stranger = Client()
    key, _ = APIKey.objects.issue(acme, "prod")

    opened = set()
    for case in OPEN_TO:
        name = case.split(" ")[0]
        if name not in KNOWN or "stranger" in OPEN_TO[case]:
            continue
        given = {"slug": "acme", "id8": key.id8, **ARGUMENTS.get(case, {})}
        parts = {part: given[part] for part in KNOWN[name].parts if part in given}
        path = reverse(name, kwargs=parts) + QUERIES.get(name, "")
        answers = [getattr(one, method)(path) for one in (browser, stranger)]
        if answers[0].status_code != answers[1].status_code:
            opened.add(name)

    assert opened == (BOARD_OPENS if method == "get" else set())


def test_the_break_glass_pages_are_for_superusers(client, db):
    ada = person("ada", "admin", "security")
    client.force_login(ada)
    index = reverse("admin:index")

    assert client.get(index).status_code == 302

    ada.is_staff = ada.is_superuser = True
    ada.save()
    assert client.get(index).status_code == 200
    assert admin.site.is_registered(APIKey)
