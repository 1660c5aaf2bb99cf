"""An admin's way in a real browser, with a gateway that runs: edit, look, publish, live, back."""

import re

import httpx
import pytest
from playwright.sync_api import expect

from tests.support.chromium import COLLECT, IN_BROWSER
from tests.support.started import outside, started

pytestmark = IN_BROWSER


PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def laneway(new_home):
    with started(outside(new_home())) as running:
        yield running


@pytest.fixture(scope="module")
def signed_in(browser, laneway):
    page = browser.new_page()
    page.goto(f"{laneway.address}/accounts/login/")
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password", exact=True).fill(laneway.password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url("**/live/")
    state = page.context.storage_state()
    page.context.close()
    return state


@pytest.fixture
def visit(browser, laneway, signed_in):
    """Open pages as the admin; afterwards no policy of content was broken and no script failed."""
    contexts, errors = [], []

    def open_page(path, **options):
        context = browser.new_context(storage_state=signed_in, **options)
        contexts.append(context)
        context.add_init_script(COLLECT)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(laneway.address + path)
        return page

    yield open_page
    violations = [
        violation
        for context in contexts
        for page in context.pages
        for violation in (page.evaluate("window.violations || []"))
    ]
    for context in contexts:
        context.close()
    assert (violations, errors) == ([], [])


@pytest.fixture
def draft(visit):
    """The tiers of a fresh draft."""

    def open_draft(**options):
        page = visit("/policy/draft/tiers/", **options)
        discard = page.get_by_role("button", name="Discard draft")
        if discard.is_enabled():
            discard.click()
            page.wait_for_url("**/policy/")
            page.goto(page.url + "draft/tiers/")
        return page

    return open_draft


def names(page):
    return page.locator(".cell-name input").evaluate_all("all => all.map((one) => one.value)")


def ask(laneway, task):
    answer = httpx.post(
        f"{laneway.address}/v1/chat/completions",
        headers={"Authorization": f"Bearer {laneway.key}", "X-Task-Type": task},
        json={
            "model": laneway.model,
            "max_tokens": 2,
            "messages": [{"role": "user", "content": "hi"}],
            "metadata": {"task_type": task},
        },
        timeout=30,
    )
    return answer.headers["x-laneway-tier"], answer.headers.get("x-laneway-policy-version")


def test_edit_look_publish_live_and_back(visit, draft, laneway):
    page = draft()
    page.get_by_label("batch: max waiting", exact=True).fill("1.5k")
    page.locator("#saved", has_text="1 change · saved").wait_for()
    expect(page.get_by_role("button", name="Discard draft")).to_be_enabled()
    page.get_by_role("link", name="Task types").click()
    page.locator("#task_types-3-tier").select_option("batch")
    page.locator("#saved", has_text="2 changes").wait_for()
    page.get_by_role("button", name="Review and publish").click()
    page.wait_for_url("**/draft/review/")

    changes = page.locator(".changes").first.inner_text()
    assert "batch: max waiting 2k → 1.5k" in changes
    assert "translate: standard (0) → batch (\N{MINUS SIGN}5)" in changes
    page.get_by_text("As YAML").click()
    assert page.locator('.lines [data-kind="+"]', has_text="translate: batch").is_visible()
    assert ask(laneway, "translate")[0] == "standard"

    page.get_by_role("button", name="Publish v2").click()
    assert page.get_by_label("Why?").evaluate("field => field.validity.valid") is False
    page.get_by_label("Why?").fill("summaries first")
    page.get_by_role("button", name="Publish v2").click()
    page.wait_for_url("**/policy/")
    page.locator("#status", has_text=re.compile(r"v2\s+live on 1/1 gateway")).wait_for()
    assert ask(laneway, "translate")[0] == "batch"

    page.get_by_role("link", name="v1", exact=True).click()
    page.get_by_label("Why?").fill("too slow for translators")
    page.get_by_role("button", name="Roll back to v1").click()
    page.wait_for_url("**/policy/")
    page.locator("#status", has_text=re.compile(r"v3\s+live on 1/1 gateway")).wait_for()
    assert ask(laneway, "translate")[0] == "standard"
    assert page.get_by_text("Back to v1: too slow for translators").first.is_visible()


def test_a_draft_is_replayed_by_a_worker_tried_with_one_tenant_and_promoted(draft, laneway):
    acme = "from gateway.models import Tenant; Tenant.objects.create(slug='acme', name='Acme')"
    laneway.manage("shell", "-c", acme)
    ask(laneway, "translate")
    page = draft()
    page.get_by_role("link", name="Task types").click()
    page.locator("#task_types-3-tier").select_option("batch")
    page.locator("#saved", has_text="1 change").wait_for()
    page.get_by_role("link", name="Preview effect").click()
    page.get_by_role("button", name="Run").click()
    page.get_by_role("heading", name=re.compile("Replaying|Too few")).wait_for()
    assert page.get_by_text("Not modelled").is_visible()

    page.get_by_role("link", name="Review and publish").click()
    page.get_by_label("Why?").fill("one tenant first")
    page.get_by_label("Canary for").check()
    page.get_by_role("button", name="Publish").click()
    page.wait_for_url("**/policy/")
    page.get_by_role("heading", name=re.compile("Canary: v\\d+ for 25 %")).wait_for()
    version = int(re.search(r"v(\d+)", page.locator("#canary-title").inner_text())[1])
    page.locator("#status", has_text="live on 1/1 gateway").wait_for()
    on_it = page.locator("#canary .head .quiet").inner_text()
    expected = (
        ("batch", str(version)) if on_it.startswith("default;") else ("standard", str(version - 1))
    )
    assert ask(laneway, "translate") == expected

    page.set_viewport_size({"width": 360, "height": 740})
    assert all_in_sight(page)
    page.get_by_role("button", name="Go to 100 %").click()
    page.wait_for_url("**/policy/")
    for _ in range(50):
        if ask(laneway, "translate") == ("batch", str(version)):
            break
        page.wait_for_timeout(100)
    assert ask(laneway, "translate") == ("batch", str(version))
    assert page.locator("#canary-title").count() == 0


def all_in_sight(page):
    """No table must be pushed sideways to be read."""
    fits = "all => all.every((one) => one.scrollWidth <= one.clientWidth)"
    return page.locator(".scroll").evaluate_all(fits)


def test_undo_gives_the_draft_back(visit, draft):
    page = draft()
    page.get_by_label("batch: max waiting", exact=True).fill("1.2k")
    page.locator("#saved", has_text="1 change").wait_for()
    page.get_by_role("button", name="Review and publish").click()
    page.get_by_label("Why?").fill("a slip")
    page.get_by_role("button", name="Publish").click()

    page.get_by_role("button", name="Undo").click()

    page.get_by_role("link", name="Go on with my draft (1 change)").wait_for()
    assert page.get_by_text(re.compile(r"Back to v\d+: undone")).first.is_visible()


def test_a_tier_is_moved_by_keyboard_and_keeps_the_focus(draft):
    page = draft()
    earlier = page.get_by_role("button", name="Run background earlier")
    earlier.focus()

    page.keyboard.press("Enter")
    page.locator("#saved", has_text="saved").wait_for()
    page.keyboard.press("Enter")
    expect(page.locator(".cell-name input").nth(2)).to_have_value("background")

    assert names(page) == ["realtime", "critical", "background", "standard", "batch"]
    assert page.get_by_label("background: priority").input_value() == "4"
    assert earlier.evaluate("button => button === document.activeElement")


def test_a_press_on_rows_that_have_just_come_opens_no_new_page(draft):
    """A timer of no delay comes before whatever is still to be done with the rows."""
    page = draft()
    page.get_by_role("button", name="Run background earlier").focus()
    page.evaluate(
        """document.addEventListener("htmx:afterSwap",
        () => setTimeout(() => document.activeElement.click()), { once: true }); window.same = 1"""
    )

    page.keyboard.press("Enter")
    expect(page.locator(".cell-name input").nth(2)).to_have_value("background")

    assert page.evaluate("window.same") == 1
    assert page.evaluate("document.activeElement.id") == "up-background"


@pytest.fixture
def held(draft):
    """A draft whose first save is on its way until ``go_on`` is called."""
    page, sent = draft(), []
    page.route("**/draft/tiers/", lambda route: sent.append(route), times=1)
    page.get_by_role("button", name="Run background earlier").focus()
    with page.expect_request("**/draft/tiers/"):
        page.keyboard.press("Enter")

    def go_on():
        page.wait_for_timeout(0)  # lets the route be told
        sent[0].continue_()

    return page, go_on


def test_a_press_while_an_answer_is_on_its_way_counts(held):
    page, go_on = held
    page.keyboard.press("Enter")
    go_on()

    expect(page.locator(".cell-name input").nth(2)).to_have_value("background")
    assert page.evaluate("document.activeElement.id") == "up-background"


def test_a_review_asked_for_while_an_answer_is_on_its_way_comes(held):
    page, go_on = held
    page.get_by_role("button", name="Review and publish").click()
    go_on()

    page.wait_for_url("**/draft/review/")
    assert "background: priority" in page.locator(".changes").first.inner_text()


def test_a_tier_is_dragged_to_another_place(draft):
    page = draft()
    grip = page.locator('[data-row="4"] [data-grip]').bounding_box()
    top = page.locator('[data-row="2"]').bounding_box()

    page.mouse.move(grip["x"] + 5, grip["y"] + 8)
    page.mouse.down()
    page.mouse.move(grip["x"] + 5, top["y"] + 4, steps=8)
    page.mouse.up()
    page.locator("#saved", has_text="saved").wait_for()

    assert names(page) == ["realtime", "critical", "background", "standard", "batch"]


def test_a_mistake_is_told_as_one_types_and_the_link_leads_to_the_field(draft):
    page = draft()
    field = page.get_by_label("batch: max wait", exact=True)
    field.fill("soon")

    page.locator("#problems", has_text="1 thing to put right").wait_for()
    page.locator("#tiers-3-max_wait_s[aria-invalid=true]").wait_for()
    assert page.locator("#note-tiers-3-max_wait_s").inner_text().startswith("Write a time")
    page.locator("#problems a").click()
    assert page.url.endswith("#tiers-3-max_wait_s")
    field.fill("600s")
    page.locator("#note-tiers-3-max_wait_s", has_text="= 10m").wait_for()
    page.locator("#tiers-3-max_wait_s:not([aria-invalid])").wait_for()


def test_a_second_window_does_not_overwrite_the_first(visit, draft):
    first = draft()
    second = visit("/policy/draft/tiers/")
    first.get_by_label("batch: max waiting", exact=True).fill("1.1k")
    first.locator("#saved", has_text="saved").wait_for()

    second.get_by_label("batch: max waiting", exact=True).fill("1.3k")
    second.get_by_role("button", name="Show both").click()

    second.get_by_text("This draft was changed in another window").first.wait_for()
    assert "batch: max waiting 1.3k, saved is 1.1k" in second.locator("#stale").inner_text()


@pytest.fixture
def as_ben(browser, laneway):
    """A second admin, in a browser of their own."""
    ben = f"from tests.support.people import person; person('ben', 'admin', password={PASSWORD!r})"
    laneway.manage("shell", "-v0", "-c", ben)
    page = browser.new_page()
    page.goto(f"{laneway.address}/accounts/login/")
    page.get_by_label("Name").fill("ben")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url("**/live/")
    yield page
    page.context.close()


def saved(page, label, text):
    page.get_by_label(label, exact=True).fill(text)
    with page.expect_response(lambda answer: answer.request.method == "POST"):
        page.get_by_label(label, exact=True).blur()
    page.locator("#saved", has_text="saved").wait_for()


def publish(page, why):
    page.get_by_label("Why?", exact=True).fill(why)
    if page.locator("#id_accepted").count():
        page.locator("#id_accepted").fill("known")
    page.get_by_role("button", name="Publish").click()
    page.wait_for_url("**/policy/")


def in_force(page, tier):
    """Its row on the policy's page: target wait, max wait, max waiting, ages."""
    row = page.get_by_role("row", name=re.compile(f"^{tier} "))
    return row.get_by_role("cell").all_inner_texts()


def test_two_admins_publish_side_by_side_and_neither_loses_anything(draft, as_ben, laneway):
    ada = draft()
    as_ben.goto(f"{laneway.address}/policy/draft/tiers/")
    saved(ada, "batch: max waiting", "1.6k")
    saved(ada, "standard: max wait", "7m")
    saved(as_ben, "batch: max waiting", "1.1k")
    saved(as_ben, "background: max wait", "25m")
    ada.get_by_role("link", name="Review", exact=True).click()
    publish(ada, "room for batch")

    as_ben.get_by_role("link", name="Review", exact=True).click()
    as_ben.get_by_text("was published since this draft began").wait_for()
    both = as_ben.get_by_role("group", name=re.compile("batch: max waiting"))
    assert "Theirs stands: 1.6k" in both.inner_text()
    both.get_by_role("checkbox", name="Use mine instead: 1.1k").check()
    as_ben.get_by_role("button", name="Put my draft onto").click()
    as_ben.wait_for_url("**/draft/review/")
    changes = as_ben.locator(".changes").first.inner_text().splitlines()
    assert changes == ["batch: max waiting 1.6k → 1.1k", "background: max wait 30 min → 25 min"]
    publish(as_ben, "less room after all")

    assert in_force(as_ben, "batch")[2] == "1.1k"
    assert in_force(as_ben, "background")[1] == "25 min"
    assert in_force(as_ben, "standard")[1] == "7 min"


def test_all_of_it_works_without_a_script(draft):
    page = draft(java_script_enabled=False)
    page.get_by_role("button", name="Run background earlier").click()
    page.get_by_label("batch: max waiting", exact=True).fill("1.4k")
    page.locator("[data-plain]").click()
    page.get_by_role("button", name="Review and publish").click()

    text = page.locator(".changes").first.inner_text()
    assert re.search(r"batch: max waiting \S+ → 1\.4k", text)
    assert "background: priority" in text


@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize(
    "path", ["", "draft/tiers/", "draft/tasks/", "draft/pool/", "draft/preview/", "versions/1/"]
)
def test_nothing_is_wider_than_the_screen(visit, width, path):
    page = visit(f"/policy/{path}", viewport={"width": width, "height": 740})

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if width == 360:
        assert all_in_sight(page)
