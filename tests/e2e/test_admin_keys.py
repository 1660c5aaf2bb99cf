"""An admin's journey in a real browser: new tenant → key → first 200 → rotate → revoke."""

import re
import time

import httpx
import pytest

from tests.support.chromium import COLLECT, IN_BROWSER
from tests.support.started import Started, outside, started

pytestmark = IN_BROWSER
IN_FORCE_S = 2.0  # a second by design, and one for a machine that is busy
ANSWERED_S = 10.0  # a first answer comes from a model server that may be busy as well


@pytest.fixture(scope="module")
def laneway(new_home) -> Started:
    with started(outside(new_home())) as up:
        yield up


@pytest.fixture
def page(browser, laneway):
    """The admin's; afterwards no content policy was broken and no script failed."""
    context = browser.new_context()
    context.add_init_script(COLLECT)
    page = context.new_page()
    broken: list[str] = []
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.goto(laneway.address)
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(laneway.password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url("**/live/")
    yield page
    broken += page.evaluate("window.violations")
    context.close()
    assert broken == []


def answered(laneway: Started, key: str) -> tuple[int, dict[str, str]]:
    body = {"model": laneway.model, "messages": [{"role": "user", "content": "Hi"}]}
    answer = httpx.post(
        f"{laneway.address}/v1/chat/completions",
        headers={"authorization": f"Bearer {key}"},
        json=body | {"max_tokens": 3},
    )
    return answer.status_code, dict(answer.headers)


def becomes(laneway: Started, key: str, status: int) -> float:
    """Seconds until a key is answered so."""
    begun = time.perf_counter()
    while time.perf_counter() - begun < ANSWERED_S:
        if answered(laneway, key)[0] == status:
            return time.perf_counter() - begun
    raise AssertionError(f"no {status} within {ANSWERED_S} s, but {answered(laneway, key)[0]}")


def shown_key(page) -> str:
    text = page.locator("#whole-key").text_content().strip()
    assert re.fullmatch(r"lw_live_[0-9A-Za-z]{8}_[0-9A-Za-z]{49}", text)
    return text


def store(page) -> None:
    """Done opens only after the tick."""
    done = page.get_by_role("button", name="Done")
    assert done.is_disabled()
    page.get_by_label("I stored it").check()
    done.click()
    page.wait_for_url("**/tenant/dune/**")


def test_from_a_new_tenant_to_its_key_s_end(page, laneway):
    page.goto(f"{laneway.address}/tenants/")
    page.get_by_role("link", name="New tenant").click()
    page.get_by_label("Name", exact=True).fill("Dune")
    page.get_by_label("Short name").fill("dune")
    page.get_by_role("button", name="Make it").click()

    page.get_by_role("link", name="New key").click()
    page.get_by_label("Name", exact=True).fill("prod-1")
    page.get_by_label("Service").fill("chat")
    page.get_by_role("button", name="Make the key").click()
    first = shown_key(page)
    page.get_by_text("waiting for the first request").wait_for()
    becomes(laneway, first, 200)
    page.get_by_text("It works.").wait_for()
    store(page)
    assert first not in page.content()

    row = page.locator("tr", has_text="prod-1")
    row.get_by_text("Actions").click()
    row.get_by_role("link", name="Rotate…").click()
    page.get_by_role("button", name="Rotate").click()
    second = shown_key(page)
    becomes(laneway, second, 200)
    status, headers = answered(laneway, first)  # both hold during the overlap
    assert status == 200
    assert headers["deprecation"].startswith("@")
    assert headers["sunset"].endswith("GMT")
    store(page)
    page.locator("tr", has_text="prod-1").get_by_text("retiring until").wait_for()

    page.goto(f"{laneway.address}/tenant/dune/keys/{first.split('_')[2]}/revoke/")
    page.get_by_label("Why?").fill("everybody moved on")
    page.get_by_role("button", name="Revoke").click()
    page.get_by_text("is revoked, on every worker").wait_for()
    assert becomes(laneway, first, 401) < IN_FORCE_S
    assert answered(laneway, second)[0] == 200

    page.goto(f"{laneway.address}/audit/?object=dune")
    trail = page.locator("#events").text_content()
    for verb in ("tenant.created", "key.issued", "key.rotated", "key.revoked"):
        assert verb in trail
    assert "all sound" in laneway.manage("auditcheck")


def test_a_reload_does_not_bring_the_key_back(page, laneway):
    page.goto(f"{laneway.address}/tenant/default/keys/new/")
    page.get_by_label("Name", exact=True).fill("once")
    page.get_by_role("button", name="Make the key").click()
    key = shown_key(page)
    page.get_by_label("I stored it").check()

    page.reload()

    assert page.url.endswith("/tenant/default/")
    assert key not in page.content()


def test_a_wrong_form_is_told_on_top_and_beside_its_field_and_by_keyboard(page, laneway):
    page.goto(f"{laneway.address}/tenant/default/keys/new/")
    page.get_by_label("Networks").fill("home")
    page.get_by_label("Name", exact=True).press("Enter")

    summary = page.locator("[data-summary]")
    summary.get_by_role("link", name="Networks").wait_for()
    assert page.evaluate("document.activeElement.matches('[data-summary]')")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    assert page.evaluate("location.hash") == "#id_name"
    described = page.get_by_label("Networks").get_attribute("aria-describedby")
    assert "id_networks_error" in described


def test_searching_changes_the_list_and_the_address(page, laneway):
    page.goto(f"{laneway.address}/tenants/")
    page.get_by_label("Search").type("zzz")

    page.get_by_text("No tenant fits.").wait_for()
    assert "q=zzz" in page.url


def test_no_secret_is_left_on_disk(page, laneway):
    page.goto(f"{laneway.address}/tenant/default/keys/new/")
    page.get_by_label("Name", exact=True).fill("searched for")
    page.get_by_role("button", name="Make the key").click()
    key = shown_key(page)
    becomes(laneway, key, 200)
    secret = key.split("_")[3].encode()

    found = [p for p in laneway.home.rglob("*") if p.is_file() and secret in p.read_bytes()]

    page.get_by_label("I stored it").check()
    assert found == []
