"""The whole path as a person walks it: own sentence → heatmap → ranks → comparison → verdict."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from adarank_core.files import runs_folder
from adarank_core.runs import jobs
from benchmarks.app import CHROMIUM_FLAGS

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = shutil.which("chromium")
SENTENCE = "Which rank does a small model deserve?"
SOON, LATER = 60_000, 300_000  # milliseconds; a slow machine is not a fault

pytestmark = pytest.mark.browser


@pytest.fixture
def address(home, tmp_path):
    """Start the app with a home of its own; end it, and what it started, afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless", "true"]
    words += ["--server.address", "127.0.0.1", "--server.port", str(port)]
    with (tmp_path / "server.txt").open("wb") as log:
        server = subprocess.Popen(
            words, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/_stcore/health", server)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        for run in jobs.runs():
            jobs.cancel(run.folder)
        end = time.monotonic() + 60
        while any(run.state in ("starting", "running") for run in jobs.runs()):
            if time.monotonic() > end:
                break
            time.sleep(0.2)


def chromium_or_skip():
    """Return where Chromium is; a test that is to have it fails without."""
    if CHROMIUM is None:
        if os.environ.get("ADARANK_REQUIRE_BROWSER") == "1":
            pytest.fail("Chromium is missing, and ADARANK_REQUIRE_BROWSER is 1")
        pytest.skip("Chromium is missing")
    return CHROMIUM


@contextmanager
def strangers(**looks):
    """Start a browser; give what opens an address in a context that shares nothing with others."""
    path = chromium_or_skip()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)

        def opened(address):
            tab = chromium.new_context(**looks).new_page()
            tab.set_default_timeout(SOON)
            tab.goto(address)
            return tab

        yield opened
        chromium.close()


@pytest.fixture
def page(tmp_path):
    """A page of a fresh Chromium, 1280 pixels wide."""
    path = chromium_or_skip()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path / "profile",
            executable_path=path,
            args=CHROMIUM_FLAGS,
            viewport={"width": 1280, "height": 900},
        )
        context.set_default_timeout(SOON)
        yield context.new_page()
        context.close()


def test_from_a_sentence_to_a_verdict(page, address, tmp_path):
    from playwright.sync_api import expect

    shots = Path(os.environ.get("ADARANK_SCREENSHOTS") or tmp_path)
    shots.mkdir(parents=True, exist_ok=True)

    # Explore: the stored example at once, then a sentence of one's own.
    page.goto(address)
    _plot(page).wait_for()
    page.get_by_text("stored example", exact=True).wait_for()
    page.get_by_test_id("stSidebar").get_by_text(re.compile("sentence$", re.IGNORECASE)).click()
    box = page.get_by_label("Your sentence", exact=True)
    box.wait_for()
    trials = page.get_by_label("Trials", exact=True)
    expect(trials).to_have_count(1)  # the one beside other texts goes a moment later
    trials.fill("2")
    box.fill(SENTENCE)
    box.press("Enter")
    page.get_by_text("computed now", exact=True).wait_for(timeout=LATER)
    assert _plot(page).locator(".heatmaplayer image").count() == 1
    assert SENTENCE not in page.url
    _shoot(page, shots / "1-explore.png")

    # Ranks: from the scores of that sentence.
    page.get_by_role("link", name="Turn these scores into ranks").click()
    page.get_by_role("heading", name=re.compile("rank")).first.wait_for()
    page.get_by_text("computed now", exact=True).wait_for()
    _plot(page).locator(".barlayer .point").first.wait_for()
    _shoot(page, shots / "2-ranks.png")

    # Compare: ten steps of two arms with one seed, to the verdict.
    page.get_by_test_id("stSidebar").get_by_role("link", name="Compare").click()
    page.get_by_text("stored example", exact=True).wait_for()
    _fill(page, "Seeds", "0")
    _fill(page, "Steps", "10")
    page.get_by_text("More", exact=True).click()
    _fill(page, "Trials", "2")
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_role("button", name="Cancel").wait_for()
    name = re.search(r"[?&]run=([\w-]+-compare)", page.url)[1]
    page.get_by_text(re.compile(r"seed 0: (step|ranks|trained)")).wait_for(timeout=LATER)
    _shoot(page, shots / "3-running.png")
    stopped = page.get_by_role("button", name=re.compile("Go on|Try again"))
    page.get_by_role("heading", name="Verdict").or_(stopped).first.wait_for(timeout=LATER)
    run = jobs.run_folder(runs_folder() / name)
    assert run.state == "finished", f"{run.state}: {run.message}"
    page.get_by_text(re.compile("one seed decides nothing")).wait_for()
    page.get_by_role("button", name="Run four more").wait_for()
    page.locator("[data-testid=stDataFrame]:visible").first.wait_for()
    assert (run.folder / "verdict.json").exists()
    _shoot(page, shots / "4-verdict.png")

    # The address alone brings it back, also where it is dark and narrow.
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 420, "height": 900})
    page.reload()
    page.get_by_role("heading", name="Verdict").wait_for()
    _plot(page).wait_for()
    _shoot(page, shots / "5-verdict-narrow.png")


def test_an_address_that_cannot_be_read_is_passed_over(page, address):
    said = page.get_by_text(re.compile("in the address cannot be chosen"))
    # A lone surrogate: what reaches the server is the sign for what cannot be read.
    page.goto(f"{address}/?trials=inf&seed=%ED%A0%80")
    said.first.wait_for()
    assert said.count() == 1 and "and trials='inf' in the" in said.first.inner_text()
    assert not re.search("trials|seed", page.url) and not page.get_by_test_id("stException").count()
    # Back by the browser's own button, the address comes before what was chosen.
    page.get_by_label("Seed", exact=True).fill("3")
    page.get_by_label("Seed", exact=True).press("Enter")
    page.wait_for_url(re.compile("seed=3"))
    page.evaluate("history.pushState({}, '', '/?seed=inf')")
    page.evaluate("history.pushState({}, '', '/?seed=5')")
    page.go_back()
    page.get_by_text(re.compile("seed='inf' in the address cannot be chosen")).wait_for()
    page.wait_for_url(re.compile("seed=3"))
    assert not page.get_by_test_id("stException").count()


def test_a_phone_follows_a_rooms_link(page, address, tmp_path):
    """A teacher's link leads a phone through all steps, and the board sees it, without a name."""
    shots = Path(os.environ.get("ADARANK_SCREENSHOTS") or tmp_path)
    shots.mkdir(parents=True, exist_ok=True)
    page.goto(f"{address}/learn?teach=1")
    link = page.get_by_test_id("stCode").first
    link.wait_for()
    query = link.inner_text().split("?")[1]
    assert page.url.startswith(f"{address}/teach?") and "key=" not in query
    page.get_by_text("Nobody yet").wait_for()

    phone = page.context.new_page()
    phone.emulate_media(color_scheme="dark")
    phone.set_viewport_size({"width": 390, "height": 844})
    phone.goto(f"{address}/learn?{query}&hide=compare.settings&feedback=0&seed=7")
    for at in range(8):
        phone.get_by_text(re.compile(f"step {at + 1} of 8")).wait_for()
        phone.get_by_text("Quick check.").wait_for()
        _plot(phone).wait_for()
        main = phone.get_by_test_id("stMain")
        # "Next" is at the end of a step, and the following one begins at its top.
        phone.wait_for_function("document.querySelector('[data-testid=stMain]').scrollTop === 0")
        assert main.evaluate("main => main.scrollWidth <= main.clientWidth"), at
        task = phone.get_by_text("Try it.").bounding_box()
        toy = _plot(phone).bounding_box()
        check = phone.get_by_text("Quick check.").bounding_box()
        assert task["y"] < toy["y"] < check["y"]
        answers = phone.get_by_test_id("stRadio").last
        answers.locator("label").nth(1).click()  # after the caption of all
        phone.get_by_text("Noted.").wait_for()
        _shoot(phone, shots / f"learn-{at + 1}-narrow.png")
        if at < 7:
            phone.get_by_role("button", name=re.compile("^Next:")).click()
    assert re.search("[?&]done=aaaaaaaa(&|$)", phone.url) and "seed=7" in phone.url
    # The seed has an effect on this step, and stands in its side bar.
    phone.get_by_test_id("stButtonGroup").get_by_text("Noise", exact=True).first.click()
    phone.get_by_text("step 2 of 8").wait_for()
    phone.get_by_test_id("stExpandSidebarButton").click()
    seed = phone.get_by_label("Seed", exact=True)
    assert seed.input_value() == "7" and seed.is_disabled()
    sidebar = phone.get_by_test_id("stSidebar")
    assert sidebar.get_by_role("link", name="Ranks").count() == 1
    assert not sidebar.get_by_role("link", name=re.compile("Compare|Teach")).count()

    page.get_by_text("8 of 8", exact=True).wait_for()
    page.get_by_role("heading", name=re.compile("one link")).wait_for()
    assert page.get_by_test_id("stMetricValue").first.inner_text() == "1"
    assert re.search("me=([0-9a-f]{8})", phone.url)[1] not in page.content()
    _shoot(page, shots / "teach.png")

    # On a wide screen passages follow each other beside a taller toy.
    page.goto(f"{address}/learn?step=Noise")
    _plot(page).wait_for()
    first, toy, second = (
        page.locator(f".st-key-reading > :nth-child({at})").bounding_box() for at in (1, 2, 3)
    )
    assert toy["x"] > first["x"] + first["width"] and second["x"] == first["x"]
    assert 0 <= second["y"] - first["y"] - first["height"] < 40 < toy["height"] - first["height"]


def _plot(page):
    return page.locator(".js-plotly-plot").first


def _fill(page, label, value):
    """Type a value, and wait until the server has answered."""
    box = page.get_by_label(label, exact=True)
    box.fill(value)
    box.press("Enter")
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()


def _shoot(page, path):
    """Save the whole page as it stands, without what scrolls away."""
    width = page.viewport_size["width"]
    height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    page.set_viewport_size({"width": width, "height": min(height + 20, 4000)})
    page.screenshot(path=path)
    page.set_viewport_size({"width": width, "height": 900})
    assert path.stat().st_size > 0
    assert not page.get_by_test_id("stException").count()


def _wait_for(url, server):
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert server.poll() is None, "the server ended"
        try:
            with direct.open(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    pytest.fail("the server does not answer")
