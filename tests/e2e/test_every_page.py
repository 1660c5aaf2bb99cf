"""Every page of the site, from its URLconf, as an admin sees it with data: both themes, wide and narrow.

axe finds nothing serious, the content policy is kept, no foreign host is asked, nothing scrolls
sideways at 360 px.  A new address belongs into ``PAGES`` or ``NO_PAGES``: a test says so.
"""

import json

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from django.urls import reverse

from tests.dashboard.test_permissions import KNOWN
from tests.support.chromium import COLLECT, IN_BROWSER
from tests.support.started import outside, started

pytestmark = IN_BROWSER
SEED = """
import json
from datetime import timedelta
from django.contrib.auth.models import User
from django.utils import timezone
from msgspec.structs import replace
from dashboard.alerts.models import AlertEvent, Annotation, Incident, Rule, Silence
from dashboard.delivery.message import Message
from dashboard.delivery.models import Channel, Delivery
from dashboard.policies.models import Draft, in_force
from gateway.core.policy import default_policy
from gateway.models import APIKey, Override, PolicyVersion, Tenant, UsageRecord
now, admin = timezone.now(), User.objects.get()
acme = Tenant.objects.create(slug="acme", name="Acme: an assistant and its editor")
gone = Tenant.objects.create(slug="gone", name="Gone", status="suspended")
key, _ = APIKey.objects.issue(acme, "prod-1", service="chat")
APIKey.objects.issue(acme, "ci", expires_at=now + timedelta(days=3))
PolicyVersion.objects.publish(replace(default_policy(), rescue_share=0.2), "more rescue", admin)
number, document = in_force()
Draft(person=admin, base=number).write(document | {"max_waiting": 3000, "rescue_share": 0.3}, 0)
rule = Rule.objects.first() or Rule.objects.create(name="waiting", metric="waiting", warn=10)
incident = Incident.objects.create(rule=rule, rule_name=rule.name, severity="warn", opened_at=now)
AlertEvent.objects.create(incident=incident, at=now, kind="opened", severity="warn", text="It fires.")
silence = Silence.objects.create(
    rule=rule, starts_at=now, ends_at=now + timedelta(hours=1), reason="an upgrade", owner=admin)
note = Annotation.objects.create(at=now, text="deployed", by=admin)
channel = Channel(name="on-call", kind="slack", where="hooks.slack.com", created_by="admin")
channel.address = "https://hooks.slack.com/services/T0/B0/x"
channel.save()
message = Message(kind="firing", severity="warn", title="It fires", lines=("now 2m27",),
                  link="http://localhost/live/", ack_link=None, at=now)
sent = Delivery.objects.create(channel=channel, dedupe="x", message=message.as_json(),
                               next_try_at=now, ended_at=now, tries=5, state="failed", last_error="No answer.")
order = Override.objects.create(verb="pause", pool="default", tier="batch", scope="tier:default/batch",
                                owner="otto", reason="an engine upgrade", begun_at=now, changed_at=now,
                                ends_at=now + timedelta(hours=1), changed_by="otto", key="seeded")
print(json.dumps({"id8": key.id8, "incident": incident.pk, "rule": rule.pk, "note": note.pk, "channel": channel.pk,
                  "message": sent.pk, "order": order.pk, "slug": "acme", "number": number, "section": "pool"}))
"""
PAGES = {
    "live:page": (),
    "live:actions": (),
    "live:lost": ("?tier=batch",),
    "live:act": ("verb=drain", "?tier=batch"),
    "live:order": ("pk=order",),
    "doctor": (),
    "accounts:password": (),
    "accounts:sessions": (),
    "account_reauthenticate": (),
    "mfa_index": (),
    "mfa_activate_totp": (),
    "mfa_add_webauthn": (),
    "mfa_list_webauthn": (),
    "mfa_generate_recovery_codes": (),
    "account_inactive": (),
    "socialaccount_login_cancelled": (),
    "people:page": (),
    "people:invite": (),
    "people:one": ("name=admin",),
    "live:boards": (),
    "tenants:page": (),
    "tenants:new": (),
    "tenants:usage": (),
    "tenant:page": ("slug",),
    "tenant:waiting": ("slug",),
    "tenant:evict": ("slug",),
    "tenant:suspend": ("slug",),
    "tenant:usage": ("slug",),
    "tenants:report": (),
    "tenant:report": ("slug",),
    "tenant:key-uses": ("slug", "id8"),
    "revoke": (),
    "tenant:key-new": ("slug",),
    "tenant:key-edit": ("slug", "id8"),
    "tenant:key-rotate": ("slug", "id8"),
    "tenant:key-change": ("slug", "id8", "action=revoke"),
    "policies:overview": (),
    "policies:compare": ("?a=1&b=2",),
    "policies:version": ("number",),
    "policies:tenant": ("slug",),
    "policies:sheet": ("section",),
    "policies:review": (),
    "policies:preview": (),
    "delivery:page": (),
    "delivery:new": (),
    "delivery:edit": ("pk=channel",),
    "delivery:delete": ("pk=channel",),
    "delivery:log": (),
    "delivery:one": ("pk=message",),
    "alerts:page": (),
    "alerts:history": (),
    "alerts:incident": ("pk=incident",),
    "alerts:notes": (),
    "alerts:note": ("pk=note",),
    "alerts:rules": (),
    "alerts:runbook": (),
    "alerts:rule-new": (),
    "alerts:rule": ("pk=rule",),
    "alerts:silences": (),
    "alerts:silence-new": (),
    "audit:page": (),
    "api:openapi-view": (),
}
VARIANTS = {
    "policies:take-over": (),  # a page only while a file manages the policy
    "live:why": ("id=none",),  # asks the gateway first and comes again a second later
}
SEED_DRAFT = """
from django.contrib.auth.models import User
from dashboard.policies.models import Draft, in_force
number, document = in_force()
Draft(person=User.objects.get(), base=number).write(document | {"rescue_share": 0.4}, 0)
"""


@pytest.fixture(scope="module")
def laneway(new_home):
    with started(outside(new_home())) as running:
        yield running


@pytest.fixture(scope="module")
def given(laneway):
    """Data on every page, and what addresses are made of."""
    return json.loads(laneway.manage("shell", "-c", SEED).splitlines()[-1])


@pytest.fixture(scope="module")
def page(browser, laneway, given):
    page = browser.new_page(reduced_motion="reduce")
    page.add_init_script(COLLECT)
    page.goto(laneway.address)
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(laneway.password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url("**/live/")
    yield page
    page.close()


def address(name, given):
    parts, query = {}, ""
    for part in (PAGES | VARIANTS)[name]:
        key, _, value = part.partition("=")
        if part.startswith("?"):
            query = part
        else:
            parts[key] = given.get(value or key, value)
    return reverse(name, kwargs=parts) + query


def axe(page, *rules):
    """Serious findings, by axe injected past the content policy, which stays in force."""
    tags = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
    only = {"type": "rule", "values": list(rules)} if rules else tags
    options = {"runOnly": only, "resultTypes": ["violations"]}
    found = page.evaluate("options => axe.run(document, options)", options)
    return [
        f"{v['id']}: {node['target']} {node['html'][:160]} {node['failureSummary'][-200:]}"
        for v in found["violations"]
        if v["impact"] in ("serious", "critical")
        for node in v["nodes"]
    ]


def sound(page, url, status=200):
    """Visit it; everything that is wrong there, in lines."""
    asked, found = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: found.append(str(error)))
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1280, "height": 800})
    assert page.goto(url).status == status
    session = page.context.new_cdp_session(page)
    session.send(
        "Runtime.evaluate", {"expression": AXE_SCRIPT, "allowUnsafeEvalBlockedByCSP": True}
    )

    found += axe(page)
    page.emulate_media(color_scheme="dark")
    found += axe(page, "color-contrast")
    page.set_viewport_size({"width": 360, "height": 740})
    if not any(fits(page) for _ in range(20)):
        found.append("scrolls sideways at 360 px")
    found += axe(page)
    page.emulate_media(color_scheme="light")
    found += axe(page, "color-contrast")
    home = url[: url.index("/", 8)]
    found += [f"asks {other}" for other in asked if not other.startswith((home, "data:", "blob:"))]
    return "\n".join(found + page.evaluate("violations"))


def fits(page):
    """At once, or a moment later: charts follow the window."""
    page.wait_for_timeout(50)
    return page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_sound_in_both_themes_wide_and_narrow(name, page, laneway, given):
    assert sound(page, laneway.address + address(name, given)) == ""


def test_a_request_explained_is_a_sound_page_once_the_gateway_has_answered(page, laneway, given):
    url = laneway.address + address("live:why", given)
    page.goto(url)
    page.get_by_text("There is no request").wait_for()

    assert sound(page, url) == ""


def test_every_other_address_is_no_page(page, laneway, given):
    """Forms that are only sent, parts of pages, files, what programs read."""
    parts = given | {"action": "disable", "verb": "pause", "name": "admin", "act": "off"}
    pages = []
    for name, other in KNOWN.items():
        if name not in PAGES and name not in VARIANTS:
            path = reverse(name, kwargs={part: parts.get(part, "1") for part in other.parts})
            answer = page.request.get(laneway.address + path, max_redirects=0)
            if answer.status == 200 and "<html" in answer.text():
                pages.append(name)

    assert pages == [], "Add them to PAGES, so that they are looked at."


def test_strangers_see_sound_pages_too(page, laneway):
    context = page.context.browser.new_context()
    context.add_init_script(COLLECT)
    stranger = context.new_page()

    assert sound(stranger, f"{laneway.address}/accounts/login/") == ""
    assert sound(stranger, f"{laneway.address}/nowhere/", 404) == ""
    context.close()


def tab_to(page, target):
    """By the Tab key alone."""
    for _ in range(120):
        page.keyboard.press("Tab")
        if target.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"Tab does not reach {target}")


def test_from_a_new_tenant_to_its_key_by_keyboard_alone(page, laneway):
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto(f"{laneway.address}/tenants/")
    tab_to(page, page.get_by_role("link", name="New tenant"))
    page.keyboard.press("Enter")
    page.wait_for_url("**/tenants/new/")
    tab_to(page, page.get_by_label("Name", exact=True))
    page.keyboard.type("Elm")
    tab_to(page, page.get_by_label("Short name"))
    page.keyboard.type("elm")
    page.keyboard.press("Enter")
    page.wait_for_url("**/tenant/elm/")
    tab_to(page, page.get_by_role("link", name="New key"))
    page.keyboard.press("Enter")
    page.wait_for_url("**/keys/new/")
    tab_to(page, page.get_by_label("Name", exact=True))
    page.keyboard.type("prod-1")
    page.keyboard.press("Enter")
    whole = page.locator("#whole-key")
    whole.wait_for()
    key = whole.text_content().strip()
    tab_to(page, page.get_by_label("I stored it"))
    page.keyboard.press("Space")
    tab_to(page, page.get_by_role("button", name="Done"))
    page.keyboard.press("Enter")

    page.locator("tr", has_text="prod-1").wait_for()
    assert key not in page.content()


def test_a_tier_is_edited_moved_and_published_by_keyboard_alone(page, laneway, given):
    page.goto(f"{laneway.address}/policy/")
    tab_to(page, page.get_by_role("link", name="Go on with my draft"))
    page.keyboard.press("Enter")
    page.wait_for_url("**/draft/tiers/")
    tab_to(page, page.get_by_label("batch: max waiting", exact=True))
    page.keyboard.press("Control+A")
    page.keyboard.type("1.2k")
    page.locator("#saved", has_text="3 changes · saved").wait_for()
    tab_to(page, page.get_by_role("button", name="Run background earlier"))
    page.keyboard.press("Enter")
    page.locator("#saved", has_text="4 changes").wait_for()
    tab_to(page, page.get_by_role("button", name="Review and publish"))
    page.keyboard.press("Enter")
    page.wait_for_url("**/draft/review/")
    tab_to(page, page.get_by_label("Why?", exact=True))
    page.keyboard.type("background before batch")
    tab_to(page, page.locator("#id_accepted"))
    page.keyboard.type("known")
    page.keyboard.press("Enter")

    page.wait_for_url("**/policy/")
    page.locator("#status", has_text=f"v{given['number'] + 1}").wait_for()


def test_the_pages_of_a_policy_in_a_file_are_sound(page, laneway, given, tmp_path):
    file = str(tmp_path / "policy.yaml")
    laneway.manage("policy", "export", "-o", file)
    laneway.manage("policy", "apply", "-f", file, "-m", "from git")
    laneway.manage("shell", "-c", SEED_DRAFT)

    for name in ("policies:take-over", "policies:overview", "policies:sheet", "policies:review"):
        assert sound(page, laneway.address + address(name, given)) == ""
    assert page.get_by_label("The change as a patch").is_visible()
