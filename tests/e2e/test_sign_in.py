"""Signing in, in a real browser: the first link, a passkey, its recovery codes, a session ended elsewhere."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.support.chromium import IN_BROWSER
from tests.support.started_site import site

pytestmark = IN_BROWSER
PASSWORD = "correct horse battery"
TELL = """
document.addEventListener("securitypolicyviolation", (event) => {
  if (!window.axe) window.broken(`${event.violatedDirective}: ${event.blockedURI} ${event.sample}`);
});
"""  # axe adds styles of its own
DEVICE = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


@pytest.fixture(scope="module")
def started(new_home):
    served = site(new_home(), LANEWAY_REQUIRE_MFA="yes")
    served.prepare()
    served.play("idle")
    served.start()
    yield served
    served.stop()


@pytest.fixture
def page(browser, started):
    """By name, not by number: passkeys belong to a name.  No content policy may be broken."""
    context = browser.new_context(base_url=f"http://localhost:{started.port}")
    broken: list[str] = []
    context.expose_function("broken", lambda said: broken.append(said))
    context.add_init_script(TELL)
    page = context.new_page()
    page.on("pageerror", lambda error: broken.append(str(error)))
    yield page
    context.close()
    assert broken == []


def looks_right(page) -> None:
    """Readable for everybody, in both themes."""
    for theme in ("light", "dark"):
        page.evaluate("on => document.documentElement.setAttribute('data-bs-theme', on)", theme)
        found = Axe().run(page).response["violations"]
        assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []


def sign_out(page) -> None:
    page.locator(".person summary").click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/accounts/login/")


def test_from_the_first_link_to_a_passkey_and_back_in(page, started):
    link = started.manage("createadmin", "ada").split()[-1]
    device = page.context.new_cdp_session(page)
    device.send("WebAuthn.enable")
    device.send("WebAuthn.addVirtualAuthenticator", {"options": DEVICE})

    page.goto("/accounts/" + link.partition("/accounts/")[2])
    looks_right(page)
    page.get_by_label("New password").fill(PASSWORD)
    page.get_by_label("The same again").fill(PASSWORD)
    page.get_by_role("button", name="Go in").click()

    page.wait_for_url("**/accounts/factors/**")
    assert page.get_by_text("Your role needs a second factor").is_visible()
    looks_right(page)
    page.get_by_role("link", name="Add a passkey").click()
    looks_right(page)
    page.get_by_label("Name", exact=True).fill("laptop")
    page.get_by_role("button", name="Make it").click()
    page.wait_for_url("**/accounts/factors/codes/")
    assert len(page.get_by_label("The recovery codes").inner_text().split()) == 10
    assert page.get_by_role("button", name="Copy").is_visible()
    looks_right(page)
    page.get_by_role("link", name="I stored them").click()
    assert page.get_by_role("rowheader", name="laptop").is_visible()
    page.get_by_role("link", name="To the pages").click()
    page.wait_for_url("**/live/")

    sign_out(page)
    looks_right(page)
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url("**/live/")

    sign_out(page)
    page.get_by_label("Name or e-mail").fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url("**/accounts/login/factor/")
    looks_right(page)
    page.get_by_role("button", name="Use your passkey").click()
    page.wait_for_url("**/live/")

    page.goto("/accounts/again/?next=/people/")
    looks_right(page)
    page.get_by_role("link", name="Use a passkey").click()
    page.get_by_role("button", name="Use your passkey").click()
    page.wait_for_url("**/people/")
    looks_right(page)


def test_a_session_that_is_ended_elsewhere_is_out_in_the_open_page_too(browser, page, started):
    link = started.manage("createadmin", "ben").split()[-1]
    page.goto("/accounts/" + link.partition("/accounts/")[2])
    page.get_by_label("New password").fill(PASSWORD)
    page.get_by_label("The same again").fill(PASSWORD)
    page.get_by_role("button", name="Go in").click()
    page.wait_for_url("**/accounts/factors/**")
    other = browser.new_page(base_url=f"http://localhost:{started.port}")
    other.goto("/accounts/login/")
    other.get_by_label("Name or e-mail").fill("ben")
    other.get_by_label("Password").fill(PASSWORD)
    other.get_by_role("button", name="Sign in", exact=True).click()
    other.wait_for_url("**/accounts/factors/**")

    page.goto("/accounts/sessions/")
    looks_right(page)
    assert page.get_by_role("row").filter(has_text="Chrome on Linux").count() == 2
    page.get_by_role("button", name=re.compile("^End it")).click()

    assert page.get_by_text("That session is ended").is_visible()
    other.reload()
    other.wait_for_url("**/accounts/login/**")
    other.context.close()


def test_by_a_number_instead_of_a_name_a_passkey_says_why_it_cannot_work(browser, started):
    page = browser.new_page()
    page.goto(f"{started.url}/accounts/login/")

    page.get_by_role("button", name="Use a passkey").click()

    page.get_by_text("Passkeys need a name instead of an IP address").wait_for()
    page.context.close()
