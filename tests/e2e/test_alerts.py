"""From an alert to its cause, and from a line on a chart to its rule, in a real browser."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.support.chromium import COLLECT, IN_BROWSER
from tests.support.started_site import NAME, PASSWORD, site

pytestmark = IN_BROWSER
# Batch waits for minutes in this scene; a second version was published just before it began.
MORE = f"""
from dashboard.alerts.models import Rule
Rule.objects.exclude(metric="wait_p95").delete()
Rule.objects.update(tier="batch", of_target=False, warn=30, warn_for_s=0, crit=None, keep_s=0)
ada = person("ada", "admin", password={PASSWORD!r})
PolicyVersion.objects.publish(default_policy(), "summaries to batch", ada)
"""


@pytest.fixture(scope="module")
def started(new_home):
    served = site(new_home())
    served.prepare(MORE)
    served.play("busy")
    served.start()
    yield served
    served.stop()


@pytest.fixture
def sign_in(browser, started):
    contexts, broken = [], []

    def open_page(name):
        context = browser.new_context(base_url=started.url)
        contexts.append(context)
        context.add_init_script(COLLECT)
        page = context.new_page()
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.goto("/")
        page.get_by_label("Name").fill(name)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in", exact=True).click()
        page.wait_for_url("**/live/")
        return page

    yield open_page
    for context in contexts:
        for page in context.pages:
            broken += page.evaluate("window.violations")
        context.close()
    assert broken == []


def readable(page):
    for theme in ("light", "dark"):
        page.evaluate("on => document.documentElement.setAttribute('data-bs-theme', on)", theme)
        found = Axe().run(page).response["violations"]
        assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []


def test_an_alert_leads_to_its_cause_in_two_clicks_and_is_taken_on(sign_in):
    page = sign_in(NAME)

    page.locator(".alerts-badge").click(timeout=15_000)
    page.wait_for_url("**/alerts/")
    card = page.locator("[data-severity=warn].alert-card")
    assert re.search(r"≥ \d+m\d+s", card.locator(".now").inner_text())
    readable(page)
    card.get_by_role("link", name=re.compile("policy v2")).click()
    page.wait_for_url("**/policy/versions/2/")
    assert page.get_by_text("summaries to batch").first.is_visible()

    page.go_back()
    page.get_by_role("button", name="Ack", exact=True).click()
    page.get_by_text("ACKED warn").wait_for()
    assert page.get_by_text("otto has it until").is_visible()


def test_a_line_on_a_chart_is_dragged_to_another_level_of_its_rule(sign_in):
    page = sign_in("ada")

    handle = page.locator("[data-chart=wait] .handle")
    handle.wait_for(state="attached", timeout=15_000)
    box = handle.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"], box["y"] - 30, steps=4)
    page.mouse.up()

    page.wait_for_url("**/alerts/rules/*/?level=warn**")
    moved = page.locator("#id_warn")
    level = moved.input_value()
    assert level not in ("30s", "")
    assert page.get_by_text("not saved yet").is_visible()
    page.locator("#would").get_by_text("this would have fired").wait_for()
    readable(page)
    page.get_by_role("button", name="Save").click()
    page.wait_for_url("**/alerts/rules/")

    page.goto("/live/")
    lines = page.locator("[data-chart=wait] [data-plot]")
    page.locator("[data-chart=wait] .handle").wait_for(state="attached", timeout=15_000)
    drawn = lines.evaluate("element => element.layout.meta.levels.map(({ value }) => value)")
    assert len(drawn) == 1
    assert drawn[0] > 30
