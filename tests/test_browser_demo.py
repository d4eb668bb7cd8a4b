"""A demo as two browsers meet it: cookies, headers, and walls that a copied link does not pass."""

import re
import urllib.request

import pytest

from adarank_core.runs import jobs, visitors
from pages.parts.shared.walls import COOKIE, WORD
from tests.pages.test_runs import CONFIG
from tests.test_browser_walk import SOON, address, strangers  # noqa: F401

pytestmark = pytest.mark.browser


@pytest.fixture(autouse=True)
def demo(monkeypatch):
    monkeypatch.setenv("ADARANK_DEMO", "1")  # before the server is started


@pytest.fixture
def browsers(demo):
    """Open pages of browsers that share nothing."""
    with strangers() as fresh:

        def opened(address):
            page = fresh(address)
            page.locator(".js-plotly-plot").first.wait_for()
            return page

        yield opened


def test_a_run_is_its_browsers_alone(browsers, address):  # noqa: F811
    one, other = browsers(address), browsers(address)
    cookies = [
        next(cookie for cookie in page.context.cookies() if cookie["name"] == COOKIE)
        for page in (one, other)
    ]
    assert cookies[0]["value"] != cookies[1]["value"]
    assert all(WORD.fullmatch(cookie["value"]) and cookie["httpOnly"] for cookie in cookies)
    assert not one.evaluate("document.cookie.includes('adarank')")

    folder = jobs.new_run_folder("compare", visitors.home_of(cookies[0]["value"]))
    with jobs.open_run(folder, CONFIG):
        link = f"{address}/compare?run={folder.name}"
        one.goto(link)
        one.get_by_role("button", name="Cancel").wait_for()
        assert cookies[0]["value"] not in one.url
        other.goto(link)
        other.get_by_text(re.compile("That run is not yours")).wait_for()
        assert not other.get_by_role("button", name="Cancel").count()
    for page, title in ((one, re.compile("^1 run")), (other, "No runs yet")):
        page.goto(f"{address}/runs")
        page.get_by_role("heading", name=title).wait_for()
    # The cookie brings a visitor back in a new tab; without it he is somebody else.
    again = one.context.new_page()
    again.goto(f"{address}/runs")
    again.get_by_role("heading", name=re.compile("^1 run")).wait_for(timeout=SOON)
    one.context.clear_cookies()
    one.goto(f"{address}/runs")
    one.get_by_role("heading", name="No runs yet").wait_for()


def test_what_the_server_says_to_browsers(address):  # noqa: F811
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(address, timeout=20) as answer:
        heads = answer.headers
    assert "frame-ancestors 'self'" in heads["content-security-policy"]
    assert heads["x-frame-options"] == "SAMEORIGIN" and heads["referrer-policy"] == "no-referrer"
    assert heads["x-content-type-options"] == "nosniff"
    assert f"{COOKIE}=" in heads["set-cookie"] and "HttpOnly" in heads["set-cookie"]


def test_the_policy_stops_nothing_that_a_page_needs(browsers, address):  # noqa: F811
    page = browsers(address)
    stopped = []
    page.on("console", lambda said: stopped.append(said.text) if "Policy" in said.text else None)
    for name in ("ranks", "compare", "learn", "runs", "about"):
        page.goto(f"{address}/{name}")
        page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
        page.get_by_role("heading").first.wait_for()
        assert not page.get_by_test_id("stException").count()
    assert not stopped
    page.get_by_role("heading", name="The limits of this demo").wait_for()
