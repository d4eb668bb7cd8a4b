"""A comparison outlives its tab, its server and its own process, and is found again each time."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from adarank_core.files import runs_folder
from adarank_core.runs import jobs
from benchmarks.app import CHROMIUM_FLAGS

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = shutil.which("chromium")
# A slow machine is not a fault.
SOON = 60_000  # milliseconds, for the page
LATER = 300  # seconds, for processes
STEPS = 100
TRAINING = re.compile(r"seed 0: step")

pytestmark = pytest.mark.browser


class Server:
    """The app, to be started and killed again and again at one address."""

    def __init__(self, log: Path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address, self.log = f"http://127.0.0.1:{self.port}", log
        self.process, self.started = None, set()

    def start(self) -> None:
        words = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless", "true"]
        words += ["--server.address", "127.0.0.1", "--server.port", str(self.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                words, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

        def answers():
            assert self.process.poll() is None, self.log.read_text()
            try:
                with direct.open(f"{self.address}/_stcore/health", timeout=5) as answer:
                    return answer.status == 200
            except OSError:
                return False

        wait_until(answers)

    def kill(self) -> None:
        """Kill it as ``kill -9`` does, with its process group; what it started lives on."""
        if self.process is None or self.process.poll() is not None:
            return
        self.started.update(psutil.Process(self.process.pid).children(recursive=True))
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def job(self, name: str) -> psutil.Process:
        """Return the process that the server started for a run."""
        found = []

        def is_there():
            for child in psutil.Process(self.process.pid).children():
                with suppress(psutil.Error):  # it ended a moment ago
                    if any(word.endswith(name) for word in child.cmdline()):
                        found.append(child)
            return found

        wait_until(is_there)
        return found[0]


@pytest.fixture
def server(home, tmp_path):
    """Start the app with a home of its own; end it, and what it started, afterwards."""
    server = Server(tmp_path / "server.txt")
    try:
        server.start()
        yield server
    finally:
        server.kill()
        for process in server.started:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(server.started, timeout=10)


@pytest.fixture
def browser(tmp_path):
    """A fresh Chromium, 1280 pixels wide."""
    if CHROMIUM is None:
        if os.environ.get("ADARANK_REQUIRE_BROWSER") == "1":
            pytest.fail("Chromium is missing, and ADARANK_REQUIRE_BROWSER is 1")
        pytest.skip("Chromium is missing")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path / "profile",
            executable_path=CHROMIUM,
            args=CHROMIUM_FLAGS,
            viewport={"width": 1280, "height": 900},
        )
        context.set_default_timeout(SOON)
        yield context
        context.close()


def test_a_comparison_outlives_its_tab_its_server_and_its_process(browser, server, tiny_bert):
    # Started from the page; stopped at its first step, so that nothing below is a race.
    page = browser.new_page()
    page.goto(f"{server.address}/compare?model={quote(tiny_bert, safe='')}")
    fill(page, "Seeds", "0")
    fill(page, "Steps", str(STEPS))
    fill(page, "Batch size", "4")
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_url(re.compile(r"[?&]run=[\w-]+-compare"))
    name = re.search(r"[?&]run=([\w-]+-compare)", page.url)[1]
    folder = runs_folder() / name
    job = server.job(name)
    wait_until(lambda: steps(folder))
    job.suspend()
    page.get_by_text(TRAINING).wait_for()

    # The tab is closed. Another one finds it: by its address, after a reload, and on Runs.
    page.close()
    page = browser.new_page()
    page.goto(f"{server.address}/compare?run={name}")
    page.get_by_text(TRAINING).wait_for()
    page.reload()
    page.get_by_text(TRAINING).wait_for()
    in_runs(page, server, "running")

    # The machine goes down with all that runs on it; the orphan is shown, and goes on.
    server.kill()
    job.kill()
    before = steps(folder)
    server.start()
    in_runs(page, server, "interrupted")
    page.goto(f"{server.address}/compare?run={name}")
    page.get_by_text(re.compile("ended without a word")).wait_for()
    page.get_by_role("button", name="Go on", exact=True).click()
    job = server.job(name)
    wait_until(lambda: len(steps(folder)) > len(before))
    job.suspend()

    # The server alone is killed; the run comes to its end without it.
    server.kill()
    assert jobs.run_folder(folder).state == "running"
    job.resume()
    wait_until(lambda: jobs.run_folder(folder).state != "running")
    run = jobs.run_folder(folder)
    assert run.state == "finished", run.message
    server.start()
    page.reload()
    page.get_by_role("heading", name="Verdict").wait_for()
    page.get_by_text(re.compile("one seed decides nothing")).first.wait_for()
    assert name in page.url

    # Deleted, and brought back.
    in_runs(page, server, "finished")
    page.get_by_test_id("stDataFrame").click(position={"x": 18, "y": 52})  # the first row's box
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Undo", exact=True).wait_for()
    assert not folder.exists() and jobs.runs() == []
    page.get_by_role("button", name="Undo", exact=True).click()
    in_table(page, "finished")
    assert (folder / "verdict.json").exists()
    assert not page.get_by_test_id("stException").count()


def steps(folder):
    """Return the steps that are recorded so far."""
    return [event for event in jobs.run_folder(folder).events if event["event"] == "step"]


def in_runs(page, server, state):
    """Open the page Runs, and wait until its table shows a run in a state."""
    page.goto(f"{server.address}/runs")
    in_table(page, state)


def in_table(page, state):
    # The table is a picture; what it says stands in it for screen readers.
    cells = page.locator("[data-testid=stDataFrame] [role=gridcell]")
    cells.filter(has_text=re.compile(f"^{state}$")).wait_for(state="attached")


def fill(page, label, value):
    """Type a value, and wait until the server has answered."""
    box = page.get_by_label(label, exact=True)
    box.fill(value)
    box.press("Enter")
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()


def wait_until(what):
    """Wait until something is so."""
    end = time.monotonic() + LATER
    while not what():
        assert time.monotonic() < end, what
        time.sleep(0.02)
