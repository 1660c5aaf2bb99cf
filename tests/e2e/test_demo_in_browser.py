"""``make demo`` as a newcomer meets it: sign in with what was printed, and watch the line move."""

import pytest

from tests.support.chromium import IN_BROWSER
from tests.support.started import Started, outside, started

pytestmark = IN_BROWSER
POINTS = "(document.querySelector('.js-plotly-plot')?.data?.[0]?.x?.length ?? 0)"


@pytest.fixture
def page(browser):
    page = browser.new_page()
    yield page
    page.close()


def sign_in(page, laneway: Started) -> None:
    page.goto(laneway.address)
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(laneway.password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url("**/live/")


def eventually(page, expression: str, seconds: float = 20) -> object:
    """The value of ``expression`` once it is true; asked from outside, since the page's policy
    lets nobody inside evaluate a string."""
    for _ in range(int(seconds * 10)):
        value = page.evaluate(expression)
        if value:
            return value
        page.wait_for_timeout(100)
    raise AssertionError(f"not within {seconds} s: {expression}")


def test_numbers_and_charts_move_go_stale_with_the_server_and_recover(page, tmp_path):
    env = outside(tmp_path / "home")
    with started(env, "--demo") as laneway:
        sign_in(page, laneway)
        eventually(page, f"{POINTS} > 2")
        before = page.evaluate(POINTS)
        eventually(page, f"{POINTS} > {before + 3}")
        rows = "[...document.querySelectorAll('tr[data-tier]')]"
        eventually(page, f"{rows}.some(row => /[1-9]/.test(row.cells[2].innerText))", 40)
        port = laneway.env["PORT"]

    eventually(page, "document.body.innerText.includes('No data for')")

    with started(env, "--demo", PORT=port):
        eventually(page, "document.body.innerText.includes('live, ')", 30)
        again = page.evaluate(POINTS)
        eventually(page, f"{POINTS} > {again}")
