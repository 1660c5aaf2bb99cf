"""On call with a keyboard: pause a tier, see it on every page, resume; boost one and take it back.

A whole Laneway under demo traffic runs behind it, so what the page shows is the gateway's answer.
"""

import re

import pytest
from playwright.sync_api import expect

from tests.support.chromium import IN_BROWSER
from tests.support.started import Started, outside, started

pytestmark = IN_BROWSER
WITHIN_MS = 30_000


@pytest.fixture(scope="module")
def laneway(new_home):
    with started(outside(new_home()), "--demo") as running:
        yield running


@pytest.fixture(scope="module")
def page(browser, laneway: Started):
    page = browser.new_page()
    page.set_default_timeout(WITHIN_MS)
    expect.set_options(timeout=WITHIN_MS)
    page.complaints = []
    page.on("console", lambda m: m.type == "error" and page.complaints.append(m.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto(laneway.address)
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(laneway.password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url("**/live/")
    yield page
    page.close()


def test_a_tier_is_paused_with_two_keys_and_a_confirm_and_resumed_from_any_page(page):
    state = page.locator('tr[data-tier="batch"] [data-cell="state"]')
    dialog, strip = page.locator("[data-act-dialog]"), page.locator("[data-held]")
    expect(state).to_contain_text(re.compile("open|no traffic"))

    page.keyboard.press("4")
    page.keyboard.press("p")
    dialog.get_by_text("Pause batch").wait_for()
    assert re.search(r"wait, .* arrive", dialog.inner_text())
    page.keyboard.press("Enter")  # is Cancel
    dialog.wait_for(state="hidden")
    assert strip.count() == 0

    page.keyboard.press("p")
    dialog.get_by_label("Why?").fill("engine upgrade")
    dialog.get_by_role("button", name="Pause", exact=True).click()

    strip.wait_for()
    assert "batch paused by admin, “engine upgrade”, ends in 1" in strip.inner_text()
    expect(state).to_contain_text("paused")
    page.locator("[data-toasts]").get_by_text("In force.").wait_for()

    page.goto(page.url.split("/live/")[0] + "/policy/")
    before = strip.locator("time").inner_text()
    expect(strip.locator("time")).not_to_have_text(before)  # it counts down
    strip.get_by_role("button", name="Resume now").click()
    strip.wait_for(state="detached")
    page.goto(page.url.split("/policy/")[0] + "/live/")
    expect(state).to_contain_text(re.compile("open|no traffic|shedding"))
    assert strip.count() == 0
    assert page.complaints == []


def test_a_request_is_boosted_at_once_and_taken_back(page):
    page.goto(page.url.split("/live/")[0] + "/live/actions/pause/?tier=batch")
    page.get_by_role("button", name="Pause", exact=True).click()
    page.get_by_text("In force.").wait_for()  # so that requests wait long enough to be met
    page.goto(page.url.split("/live/")[0] + "/live/?tier=batch")
    row = page.locator("[data-line] tr").last
    told = page.locator("[data-toasts]")

    row.locator("[data-by='2']").click()
    told.get_by_text("Applied to 1.").wait_for()
    page.locator("[data-line]").get_by_text("+ 2 boost").wait_for()
    told.get_by_role("button", name="Undo (10 s)").click()
    told.get_by_text("Took back").wait_for()
    page.locator("[data-line]").get_by_text("+ 2 boost").wait_for(state="detached")

    assert page.complaints == []
