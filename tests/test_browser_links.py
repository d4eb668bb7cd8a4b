"""A link is the state: on every page, after a reload, another page, and in a fresh browser."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest

from adarank_core.files import runs_folder, write_json
from tests.pages.parts.shared.test_link import OTHERS
from tests.test_browser_walk import SOON, address, page  # noqa: F401

pytestmark = pytest.mark.browser

PAGES = ("Explore", "Ranks", "Compare", "Learn", "Runs")
#: Without what needs the network, more cores or a run.
LINKED = {
    name: text
    for name, text in OTHERS.items()
    if name not in ("model", "text", "task", "run", "picked", "only", "secondary", "side_by_side")
}
SHOWN = {"Explore": ("Seed", "7"), "Ranks": ("Seed", "7"), "Compare": ("Steps", "20")}


def choices(tab):
    return {name: values[0] for name, values in parse_qs(urlsplit(tab.url).query).items()}


def settle(tab):
    tab.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    tab.get_by_role("heading").first.wait_for()
    assert not tab.get_by_test_id("stException").count()


def opens(tab, name):
    tab.get_by_test_id("stSidebar").get_by_role("link", name=name, exact=True).click()
    tab.wait_for_url(re.compile(rf"/({name.lower()})?\?"))
    settle(tab)


def test_a_link_is_the_state_on_every_page(page, address):  # noqa: F811
    from playwright.sync_api import expect

    query = "&".join(f"{name}={text}" for name, text in LINKED.items())
    page.goto(f"{address}/?{query}")
    page.get_by_text("computed now", exact=True).wait_for(timeout=300_000)  # it starts by itself
    settle(page)
    title = page.get_by_role("heading", level=1).inner_text()
    for name in (*PAGES, "Explore"):
        opens(page, name)
        assert choices(page) == LINKED, name
        if name in SHOWN:
            label, value = SHOWN[name]
            expect(page.get_by_label(label, exact=True)).to_have_value(value, timeout=SOON)
        page.reload()
        settle(page)
        assert choices(page) == LINKED, name
    fresh = page.context.browser or page.context
    other = fresh.new_page()
    other.goto(page.url)
    other.get_by_text("from the cache", exact=True).wait_for()
    settle(other)
    assert other.get_by_role("heading", level=1).inner_text() == title
    assert choices(other) == LINKED


def test_what_is_chosen_by_hand_goes_along(page, address):  # noqa: F811
    from playwright.sync_api import expect

    page.goto(address)
    settle(page)
    assert choices(page) == {}
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
    expect(page.get_by_label("Seed", exact=True)).to_have_value("8")  # which the page draws soon
    box.fill("0")
    box.press("Enter")
    page.wait_for_url(lambda url: "seed" not in url)


def test_a_run_is_selected_by_keyboard_and_told_by_the_browsers_clock(page, address):  # noqa: F811
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
