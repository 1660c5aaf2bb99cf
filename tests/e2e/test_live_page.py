"""The live page in a real browser: what moves, what it says when nothing does, and what it never asks for."""

import json
import re
import time
from datetime import datetime
from pathlib import Path

import axe_playwright_python
import pytest
from django.conf import settings

from tests.support.chromium import COLLECT, IN_BROWSER
from tests.support.started_site import NAME, PASSWORD, site

pytestmark = IN_BROWSER
MINUS = "\N{MINUS SIGN}"
CELLS = "rows => rows.map((row) => [...row.children].map((cell) => cell.textContent))"
AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
LAST = "element => element.data[0].x.at(-1)"
TRIES = 200  # a tenth of a second apart


@pytest.fixture(scope="module")
def started(new_home):
    served = site(new_home())
    served.prepare()
    served.play("busy")
    served.start()
    yield served
    served.stop()


@pytest.fixture(scope="module")
def signed_in(browser, started):
    """What a browser keeps of a person who signed in once."""
    page = browser.new_page()
    page.goto(f"{started.url}/")
    page.get_by_label("Name").fill(NAME)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url("**/live/")
    state = page.context.storage_state()
    page.context.close()
    return state


@pytest.fixture
def visit(browser, started, signed_in):
    """Open a page as Otto; afterwards no policy was broken, nothing foreign asked for, nothing failed."""
    contexts, foreign, errors = [], [], []

    def open_page(path="/live/", scene="busy", heard=None, **options):
        """``heard`` may change what the page hears from the server."""
        started.play(scene)
        context = browser.new_context(storage_state=signed_in, **options)
        contexts.append(context)
        context.add_init_script(COLLECT)
        page = context.new_page()
        page.on(
            "request",
            lambda request: (
                foreign.append(request.url) if not _ours(request.url, started) else None
            ),
        )
        page.on("pageerror", lambda error: errors.append(str(error)))
        if heard is not None:
            page.route_web_socket("**/ws/live/**", lambda socket: _changed(socket, heard))
        page.goto(started.url + path)
        return page

    yield open_page
    violations = [
        v
        for context in contexts
        for page in context.pages
        for v in page.evaluate("window.violations")
    ]
    for context in contexts:
        context.close()
    assert (violations, foreign, errors) == ([], [], [])


def _changed(socket, heard):
    server = socket.connect_to_server()
    server.on_message(lambda text: socket.send(json.dumps(heard(json.loads(text)))))


def _ours(url, started):
    return url.startswith((started.url, started.url.replace("http", "ws"), "data:", "blob:"))


def live(page):
    page.locator('[data-live][data-link="live"]').wait_for()
    return page


def drawn(page, chart="queue"):
    plot = page.locator(f"[data-chart={chart}] [data-plot]")
    until(plot, "element => element.data?.[0].x.length > 0")
    return plot


def until(locator, condition, argument=None):
    """Wait for a condition on an element; ``wait_for_function`` would need eval, which is refused."""
    for _ in range(TRIES):
        if locator.evaluate(condition, argument):
            return
        locator.page.wait_for_timeout(100)
    raise AssertionError(f"Never came true: {condition}")


def moved_on(plot, since_ms, by_ms=3000):
    until(plot, "(element, ms) => element.data[0].x.at(-1) > ms", since_ms + by_ms)


def test_numbers_and_points_move(visit):
    page = live(visit())
    plot = drawn(page)
    before = plot.evaluate(LAST)
    clock = page.locator("[data-pool=waiting]").text_content()

    moved_on(plot, before)

    assert re.fullmatch(r"[\d\u2009]+", clock)
    assert plot.evaluate("element => element.data.length") == 5
    lines = "element => element.querySelectorAll('.scatterlayer .trace:has(path.js-line)').length"
    assert plot.evaluate(lines) == 5  # a line may have two paths: a slow machine leaves a gap
    assert plot.evaluate("element => element.data[0].x.length") > 100  # the past came with the page


def test_threshold_lines_are_the_alert_rules(visit):
    page = live(visit())

    lines = drawn(page, "wait").evaluate(
        """element => element.layout.shapes.filter((s) => s.name && s.line.dash === "dot")
        .map((s) => [s.name, s.y0])"""
    )

    assert dict(lines) == {
        "realtime": 2,
        "critical": 5,
        "standard": 60,
        "batch": 180,
        "background": 300,
    }


def test_a_row_tells_state_length_and_oldest(visit):
    page = live(visit())

    row = page.locator('tr[data-tier="batch"]')

    assert re.search(
        rf"batch {MINUS}5\W+● open", row.inner_text().replace("\n", " ").replace("\t", " ")
    )
    assert "≥" in row.locator("[data-cell=p95]").text_content()
    assert row.locator(".oldest").get_attribute("data-tint") in ("warn", "crit")


def test_the_line_is_shown_with_reasons(visit):
    page = live(visit())

    rows = page.locator("[data-line] tr")
    until(page.locator("[data-line]"), "element => element.children.length === 50")

    assert re.search(
        rf"(standard 0|batch {MINUS}5) \+ \d aged = [{MINUS}\d]", rows.nth(0).inner_text()
    )


def test_silence_is_shown_within_three_seconds_and_ends_by_itself(visit, started):
    page = live(visit())
    drawn(page)

    started.play("silent")
    page.locator('[data-live][data-link="stale"]').wait_for(timeout=6000)

    banner = page.locator("[data-banner]")
    assert re.search(r"No data for \d s, last \d\d:\d\d:\d\d", banner.text_content())
    assert "is-stale" in page.locator("body").get_attribute("class")
    assert serious(page) == []
    started.play("busy")
    live(page)
    assert banner.is_hidden()


def test_a_killed_server_leaves_a_gap_and_the_page_recovers(visit, started):
    page = live(visit())
    plot = drawn(page)

    started.stop()
    page.locator('[data-live][data-link="reconnecting"]').wait_for(timeout=5000)
    page.locator("body.is-stale").wait_for(timeout=4000)
    page.get_by_text(re.compile(r"No data for [5-9] s, last .* Trying again")).wait_for()
    stopped_at = plot.evaluate(LAST)
    started.play("keep")
    started.start()
    live(page)
    moved_on(plot, stopped_at, 4000)

    assert plot.evaluate("element => element.data[0].y.includes(null)")
    assert plot.evaluate("element => element.data[0].connectgaps") is False


def test_a_frozen_page_holds_still_while_data_goes_on(visit):
    page = live(visit())
    rows, badge = page.locator("[data-tiers]"), page.locator("[data-link-text]")

    page.keyboard.press(" ")
    still = rows.inner_text()
    badge.get_by_text(re.compile(r"frozen 00:0\d, [3-9] behind")).wait_for()

    assert rows.inner_text() == still
    page.keyboard.press(" ")
    until(rows, "(element, text) => element.innerText !== text", still)
    assert badge.inner_text().startswith("live")


def test_a_page_says_what_makes_it_untrue(visit):
    def heard(message):
        if message["k"] == "hello":
            return message | {"release": "another"}
        if message["k"] != "snap":
            return message
        for backend in message["pools"][0]["backends"]:
            backend |= {"state": "down", "error": "no answer in 2 s"}
        return message | {"at": message["at"] - 60}

    page = live(visit(heard=heard))

    page.get_by_text("The server was upgraded: this page is from before.").wait_for()
    page.get_by_text(re.compile("clock is 1m0[0-3]s ahead of the gateway")).wait_for()
    page.get_by_text("No backend is up: nothing is dispatched.").wait_for()
    page.get_by_text("gpu-1 is down: no answer in 2 s").wait_for()


def test_shift_and_a_click_on_a_chart_mark_that_moment(visit):
    page = live(visit("/live/?tz=utc"))
    plot = drawn(page)
    first, last = plot.evaluate("element => element.layout.xaxis.range")
    looked_at = time.perf_counter()
    area = page.locator("[data-chart=queue] .nsewdrag").bounding_box()

    middle = {"x": area["x"] + area["width"] / 2, "y": area["y"] + 40}
    page.keyboard.down("Shift")
    page.mouse.click(**middle)
    page.keyboard.up("Shift")
    moved_s = time.perf_counter() - looked_at  # the axis goes with the clock
    page.wait_for_url("**/alerts/notes/?at=*")

    asked = page.get_by_label("When").input_value()
    assert first[:19] < asked < last[:19]
    off_s = _seconds(asked) - (_seconds(first[:19]) + _seconds(last[:19])) / 2
    assert -5 < off_s < 5 + moved_s


def _seconds(iso):
    return datetime.fromisoformat(iso).timestamp()


def test_a_zoomed_chart_stays_where_it_is(visit):
    page = live(visit())
    plot = drawn(page)
    view = "element => element.layout.xaxis.range.map(String)"
    box = plot.bounding_box()

    page.mouse.move(box["x"] + 150, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 350, box["y"] + 105, steps=5)
    page.mouse.up()
    follow = page.locator("[data-chart=queue] [data-follow]")
    follow.wait_for()
    chosen = plot.evaluate(view)
    moved_on(plot, plot.evaluate(LAST))

    assert plot.evaluate(view) == chosen
    follow.click()
    assert plot.evaluate(view) != chosen


def test_a_chart_becomes_a_table_by_keyboard(visit):
    page = live(visit())
    drawn(page)
    button = page.locator("[data-chart=queue] [data-as-table]")

    button.focus()
    page.keyboard.press("Enter")

    rows = page.locator("[data-chart=queue] [data-table] tbody tr")
    rows.first.wait_for()
    assert rows.count() >= 25
    assert button.get_attribute("aria-pressed") == "true"
    assert button.evaluate("element => element === document.activeElement")


def test_a_tier_can_be_left_out_of_the_charts_by_keyboard(visit):
    page = live(visit())
    plot = drawn(page)

    page.locator('tr[data-tier="batch"] [data-toggle]').focus()
    page.keyboard.press("Space")

    until(plot, "element => !element.data[3].visible")
    colours = plot.evaluate("element => element.data.map((trace) => trace.line.color)")
    assert colours[4] == "#23282f"


def test_the_theme_follows_the_system_and_the_switch_and_the_charts_follow_both(visit):
    page = live(visit(color_scheme="dark"))
    plot = drawn(page)
    first = "element => element.data[0].line.color"
    assert plot.evaluate(first) == "#0e78cb"

    page.locator("[data-theme-switch]").click()  # light
    until(plot, "element => element.data[0].line.color === '#0072b2'")

    page.reload()
    assert page.evaluate("document.documentElement.dataset.bsTheme") == "light"


def test_the_first_run_says_what_to_do(visit):
    page = live(visit(scene="idle"))

    page.locator("[data-first-run]").wait_for()

    assert '"model": "qwen2.5-7b"' in page.locator("[data-curl]").text_content()
    assert page.locator("[data-nobody]").is_visible()


def test_a_backend_that_ignores_priority_is_named(visit):
    page = live(visit(scene="fcfs"))

    warning = page.locator("[data-warnings] li").first
    warning.wait_for()

    assert (
        warning.text_content()
        == "gpu-2 ignores priority: start it with --scheduling-policy priority."
    )


@pytest.mark.parametrize("width", [360, 768, 1024, 1280, 1920])
def test_nothing_is_wider_than_the_screen(visit, width):
    page = live(visit(viewport={"width": width, "height": 740}))

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator('tr[data-tier="standard"] .oldest').is_visible()
    if width == 360:  # a request that waits is a card
        page.locator("[data-line] tr").first.wait_for()
        assert page.locator(".queue").evaluate("e => e.scrollWidth <= e.clientWidth")


def test_a_count_opens_what_it_counts(visit):
    page = live(visit())

    page.locator('tr[data-tier="standard"] [data-cell="aged"]').press("Enter")
    assert "tier=standard" in page.url
    page.locator('tr[data-tier="standard"] [data-cell="lost"]').press("Enter")

    page.wait_for_url(re.compile(r"/live/lost/\?.*tier=standard"))
    assert page.get_by_label("Tier").input_value() == "standard"


def test_signing_out_elsewhere_is_told_and_signing_in_again_goes_on(visit, started):
    page = live(visit())
    cookies = page.context.cookies()
    page.context.clear_cookies()

    page.evaluate("dispatchEvent(new Event('offline'))")
    started.stop()
    started.start()
    page.locator('[data-live][data-link="signed-out"]').wait_for(timeout=20_000)
    assert page.locator("[data-sign-in]").is_visible()
    page.context.add_cookies(cookies)

    live(page)


def test_utc_is_in_the_address(visit):
    page = live(visit(timezone_id="America/New_York"))
    clock = page.locator("[data-clock]")
    assert int(clock.text_content()[:2]) != time.gmtime().tm_hour

    page.locator("[data-zone-switch]").click()

    assert int(clock.text_content()[:2]) == time.gmtime().tm_hour
    assert page.url.endswith("?tz=utc")


def test_a_filter_is_in_the_address_and_back_takes_it_away(visit):
    page = live(visit())
    rows = page.locator("[data-line] tr")

    page.locator("[name=tenant]").fill("acme")
    page.locator("[name=tenant]").press("Enter")
    page.get_by_text(re.compile(r"^\d+ of \d+ match tenant = acme")).wait_for()

    assert page.url.endswith("/live/?tenant=acme")
    assert {row[2] for row in rows.evaluate_all(CELLS)} == {"acme"}
    page.keyboard.press("Escape")
    page.locator("[name=tenant]").blur()
    page.keyboard.press("4")  # the fourth tier alone, by its key
    until(
        page.locator("[data-tiers]"),
        "body => body.querySelectorAll('tr:not([hidden])').length === 1",
    )
    assert page.url.endswith("/live/?tenant=acme&tier=batch")
    page.go_back()
    page.go_back()
    page.get_by_text(re.compile(r"^the first 50 of")).wait_for()
    assert page.url.endswith("/live/")


def test_a_row_opens_its_explanation_and_renews_it(visit):
    page = live(visit("/live/?tier=batch", scene="paused"))

    page.locator("[data-line] a[data-why]").last.click()  # the first are about to expire

    dialog = page.locator("[data-why-dialog]")
    dialog.get_by_text("Its tier is paused.").wait_for()
    dialog.get_by_role("button", name="Close").click()
    page.keyboard.press("Space")
    page.get_by_text(re.compile(r"^frozen 00:\d\d, [1-9]\d* behind$")).wait_for(timeout=5000)


def test_a_page_whose_sockets_are_blocked_asks_instead(browser, started, signed_in):
    started.play("busy")
    context = browser.new_context(storage_state=signed_in)
    context.route_web_socket("**/ws/live/", lambda socket: socket.close())
    page = context.new_page()
    page.goto(f"{started.url}/live/")

    page.locator('[data-live][data-link="polling"]').wait_for()

    assert "asks every 5 s" in page.locator("[data-banner]").text_content()
    assert page.locator("[data-line] tr").count() == 50
    assert "is-stale" not in (page.locator("body").get_attribute("class") or "")
    context.close()


def test_a_wall_board_shows_all_and_can_do_nothing(browser, started):
    """Opened by its link, on a screen where nobody signed in."""
    started.play("busy")
    context = browser.new_context(viewport={"width": 1600, "height": 900})
    context.add_init_script(COLLECT)
    page = context.new_page()
    link = f"{started.url}/live/board/open/{(started.home / 'board').read_text()}/"

    page.goto(link)
    page.get_by_role("button", name="Show it on this screen").click()
    page.wait_for_url("**/live/board/?kiosk=1")
    until(page.locator("[data-tile=batch] [data-cell=waiting]"), "e => Number(e.textContent) > 0")

    assert page.locator("form, [data-act]").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 1600
    for path in ("/live/", "/live/actions/pause/?tier=batch", "/api/v1/live", "/policy/"):
        answer = page.request.get(started.url + path, max_redirects=0)
        assert answer.status in (302, 401, 403), path
    answer = page.request.post(f"{started.url}/live/actions/pause/?tier=batch", max_redirects=0)
    assert answer.status in (302, 401, 403)
    started.play("silent")
    page.get_by_text(re.compile(r"NO DATA 00:0\d")).wait_for(timeout=6000)
    started.play("busy")
    page.locator("[data-no-data]").wait_for(state="hidden")
    assert serious(page) == []
    assert page.evaluate("window.violations") == []
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_on_the_page_is_a_serious_barrier(visit, scheme):
    page = live(visit(color_scheme=scheme))
    drawn(page)

    assert serious(page) == []


def serious(page):
    """What axe finds; ``evaluate`` itself is not bound by the page's own policy."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        (one["id"], [node["html"] for node in one["nodes"]])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]


def test_the_vendored_rules_are_those_plotly_injects(browser):
    page = browser.new_page()
    page.set_content("<!doctype html><title>empty</title>")
    page.add_script_tag(path=settings.BASE_DIR / "static/vendor/plotly-basic.min.js")

    injected = page.evaluate(
        "[...document.getElementById('plotly.js-style-global').sheet.cssRules].map((r) => r.cssText)"
    )

    vendored = Path(settings.BASE_DIR / "static/vendor/plotly-global.css").read_text()
    assert injected == vendored.splitlines()
