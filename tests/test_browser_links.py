"""A link is the state: on every page, after a reload, another page, and in a fresh browser."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest

from adarank_core.files import runs_folder, write_json
from tests.pages.parts.shared.test_link import OTHERS
from tests.test_browser_walk import LATER, SOON, address, strangers  # noqa: F401

pytestmark = pytest.mark.browser

PAGES = ("Explore", "Ranks", "Compare", "Lab", "Learn", "Runs")
#: Without what needs the network, more cores or a run.
LINKED = {
    name: text
    for name, text in OTHERS.items()
    if name not in ("model", "text", "task", "run", "study_run", "picked", "only", "secondary")
    and name != "side_by_side"
}
SHOWN = {"Explore": ("Seed", "7"), "Ranks": ("Seed", "7"), "Compare": ("Steps", "20")}


@pytest.fixture
def fresh():
    """Open pages of browsers that know nothing of each other: no cookies, no storage."""
    with strangers(viewport={"width": 1280, "height": 900}) as opened:
        yield opened


def choices(url):
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def settle(tab):
    tab.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    tab.get_by_role("heading", level=1).wait_for()
    assert not tab.get_by_test_id("stException").count()


def holds(tab, wanted=LINKED):
    """Wait until the address says what is wanted, and the page shows it."""
    settle(tab)
    tab.wait_for_url(lambda url: wanted.items() <= choices(url).items())
    assert choices(tab.url) == wanted
    return tab.get_by_role("heading", level=1).inner_text()


def opens(tab, name):
    tab.get_by_test_id("stSidebar").get_by_role("link", name=name, exact=True).click()
    tab.wait_for_url(re.compile(rf"/({name.lower()})?\?"))
    tab.locator("a[aria-current=page]", has_text=name).wait_for()


def test_a_link_is_the_state_on_every_page(fresh, address):  # noqa: F811
    from playwright.sync_api import expect

    query = "&".join(f"{name}={text}" for name, text in LINKED.items())
    page = fresh(f"{address}/?{query}")
    page.get_by_text("computed now", exact=True).wait_for(timeout=LATER)  # it starts by itself
    for name in (*PAGES, "Explore"):
        opens(page, name)
        title = holds(page)
        other = fresh(page.url)
        for tab in (page, other):
            if name in SHOWN:
                label, value = SHOWN[name]
                expect(tab.get_by_label(label, exact=True)).to_have_value(value, timeout=SOON)
            if tab is page:
                page.reload()
            expect(tab.get_by_role("heading", level=1)).to_have_text(title, timeout=SOON)
            assert holds(tab) == title, name
        if name in ("Explore", "Ranks"):
            other.get_by_text("from the cache", exact=True).wait_for()
        other.context.close()
    # Teach adds a room of its own.
    settle(teach := fresh(f"{address}/teach?{query}"))
    teach.wait_for_url(lambda url: {**LINKED, **choices(url)} == choices(url))


def test_what_is_chosen_by_hand_goes_along(fresh, address):  # noqa: F811
    from playwright.sync_api import expect

    page = fresh(address)
    holds(page, {})
    box = page.get_by_label("Seed", exact=True)
    box.fill("8")
    box.press("Enter")
    page.wait_for_url(re.compile(r"seed=8"))
    settle(page)
    page.get_by_role("link", name="Turn these scores into ranks").click()
    page.wait_for_url(re.compile(r"/ranks\?seed=8"))
    settle(page)
    page.go_back()
    settle(page)
    page.wait_for_url(re.compile(r"seed=8"))
    expect(page.get_by_label("Seed", exact=True)).to_have_value("8", timeout=SOON)
    box.fill("0")
    box.press("Enter")
    page.wait_for_url(lambda url: "seed" not in url)


def test_a_run_is_selected_by_keyboard_and_told_by_the_browsers_clock(fresh, address):  # noqa: F811
    page = fresh(address)
    folder = runs_folder() / "20260701-223000-000000-finetune"
    folder.mkdir()
    write_json(folder / "config.json", {"command": "finetune", "task": "docstrings"})
    clock = {"timezoneId": "Asia/Kolkata"}
    page.context.new_cdp_session(page).send("Emulation.setTimezoneOverride", clock)
    page.goto(f"{address}/runs")
    settle(page)
    page.get_by_test_id("data-grid-canvas").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+Space")
    page.get_by_role("heading", name=re.compile("^2026-07-02 04:00 · finetune")).wait_for()
