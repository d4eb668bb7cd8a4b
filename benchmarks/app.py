"""How long a person waits for the app, in a real browser, and what a room of people costs.

Run it from the repository's root on a quiet machine with Chromium::

    python benchmarks/app.py
    python benchmarks/app.py --only first-picture --repeats 9 --json app.json

The first picture is held against a bare Streamlit page with one Plotly heatmap, in turns. A time
ends when what was waited for is first seen in the browser. A room of
people has no browsers: they would take the cores. Each person is a connection that asks for the
lesson as a browser does, so the seconds are those of the app.
"""

import argparse
import asyncio
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the library is used where it lies, not installed

from adarank_core.runs.jobs import versions  # noqa: E402
from adarank_core.scoring.scores import ModuleScore, Scores  # noqa: E402
from benchmarks.first_path import machine, python  # noqa: E402

CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

BARE = """
import plotly.graph_objects as go
import streamlit as st

st.title("A heatmap")
cells = [[row * column for column in range(6)] for row in range(6)]
st.plotly_chart(go.Figure(go.Heatmap(z=cells)))
"""
HEATMAP = ".heatmaplayer image"
BARS = ".barlayer .point path"
FAMILIES = {  # of a Llama: in, out
    **dict.fromkeys(("query", "key", "value", "output"), (4096, 4096)),
    **dict.fromkeys(("gate", "up"), (4096, 11008)),
    "down": (11008, 4096),
}
PAGES = ("ranks", "compare", "lab", "learn", "runs", "")  # the last is Explore
WAIT = 60_000  # milliseconds
PEOPLE = 30

Rows = dict[str, list[float]]


# The app and a browser ----------------------------------------------------------------------------


@contextmanager
def server(script: str | Path = "app.py") -> Iterator[tuple[str, int]]:
    """Start a Streamlit script with a home of its own; yield its address and process id."""
    with tempfile.TemporaryDirectory() as home:
        port = free_port()
        process = python(
            *("-m", "streamlit", "run", str(script), "--server.headless=true"),
            f"--server.port={port}",
            home=home,
        )
        try:
            wait_for(port, process)
            yield f"http://127.0.0.1:{port}", process.pid
        finally:
            process.terminate()
            process.wait()


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for(port: int, server: subprocess.Popen) -> None:
    """Wait until the server takes connections."""
    while server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise SystemExit("the app did not start")


@contextmanager
def chromium():
    """Start a browser; yield a function that gives a page of a fresh visitor."""
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium")
    if found is None:
        raise SystemExit("there is no chromium here; --only room needs none")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=CHROMIUM_FLAGS)

        def visitor():
            context = browser.new_context(viewport={"width": 1440, "height": 900})
            context.set_default_timeout(WAIT)
            return context.new_page()

        yield visitor
        browser.close()


def seconds_of(action: Callable[[], object], until: Callable[[], object]) -> float:
    """Return how long it takes from an action until something is there."""
    started = time.perf_counter()
    action()
    until()
    return time.perf_counter() - started


def settle(page) -> None:
    """Wait until the page's script has ended, and a moment for what it drew."""
    page.wait_for_function(
        "() => document.querySelector('[data-testid=\"stApp\"]')?.dataset.testScriptState"
        " === 'notRunning'"
    )
    page.wait_for_timeout(700)


def link_to(page, name: str):
    """Return the link in the side bar to a page."""
    return page.locator(f"[data-testid='stSidebarNavLink'][href$='/{name}']")


def drawn(page, what: str) -> None:
    """Wait for a part of a picture; not all that is drawn has an area that counts as visible."""
    page.locator(what).first.wait_for(state="attached")


def heading(page) -> str:
    """Return the page's title."""
    return page.locator("h1").first.inner_text()


def until_title_changes(page, old: str) -> None:
    """Wait for another title."""
    page.wait_for_function(
        "old => { const title = document.querySelector('h1');"
        " return title && title.innerText !== old }",
        arg=old,
    )


# The rows -----------------------------------------------------------------------------------------


def first_picture(repeats: int) -> Rows:
    """Measure the first picture of the app and of a bare page, for a first and a second visitor."""
    rows: Rows = {
        f"{visitor} visitor, {page}": []
        for visitor in ("first", "second")
        for page in ("bare page", "the app")
    }
    with chromium() as visitor, tempfile.TemporaryDirectory() as folder:
        bare = Path(folder, "bare.py")
        bare.write_text(BARE, encoding="utf-8")
        for _ in range(repeats):
            for name, script in (("bare page", bare), ("the app", "app.py")):
                started = time.perf_counter()
                with server(script) as (address, _):
                    for which in ("first", "second"):
                        page = visitor()
                        begun = started if which == "first" else time.perf_counter()
                        page.goto(address)
                        drawn(page, HEATMAP)
                        rows[f"{which} visitor, {name}"].append(time.perf_counter() - begun)
                        settle(page)
                        page.context.close()
    return rows


def page_switch(repeats: int) -> Rows:
    """Measure from a click on a page's name to its title, all pages having been seen once."""
    rows: Rows = {}
    with chromium() as visitor, server() as (address, _):
        page = visitor()
        page.goto(address)
        drawn(page, HEATMAP)
        settle(page)
        for turn in range(repeats + 1):
            for name in PAGES:
                old = heading(page)
                taken = seconds_of(
                    link_to(page, name).click, lambda old=old: until_title_changes(page, old)
                )
                if turn:  # the first time a page's own code is imported
                    rows.setdefault(f"page switch to {name}", []).append(taken)
                settle(page)
    return {"page switch, all": [taken for row in rows.values() for taken in row], **rows}


def slider(repeats: int) -> Rows:
    """Measure from a key on the budget's slider to redrawn bars, with 36 and 224 modules."""
    rows: Rows = {}
    with chromium() as visitor, server() as (address, _):
        for layers, modules in ((None, 36), (32, 224)):
            page = visitor()
            page.goto(f"{address}/ranks")
            drawn(page, BARS)
            if layers is not None:
                give_scores(page, layers)
            settle(page)
            handle = page.get_by_role("slider").first
            handle.focus()
            for _ in range(repeats):
                row = rows.setdefault(f"slider to bars, {modules} modules", [])
                row.append(one_rank_more(page))
                settle(page)
            page.context.close()
    return rows


def deep_heatmap(repeats: int) -> Rows:
    """Measure the heatmap of 80 layers × 7 families, from a click on Explore."""
    taken = []
    with chromium() as visitor, server() as (address, _):
        page = visitor()
        page.goto(f"{address}/ranks")
        drawn(page, BARS)
        give_scores(page, 80)
        for _ in range(repeats):
            settle(page)
            taken.append(
                seconds_of(
                    link_to(page, "").click,
                    lambda: drawn(page, HEATMAP),
                )
            )
            settle(page)
            link_to(page, "ranks").click()
            drawn(page, BARS)
    return {"80 layers × 7 families drawn": taken}


def own_sentence(repeats: int) -> Rows:
    """Measure from Enter on a new sentence to its finished heatmap, the model being loaded."""
    taken = []
    with chromium() as visitor, server() as (address, _):
        page = visitor()
        page.goto(f"{address}/?text=sentence")
        page.locator("h1").first.wait_for()
        box = page.get_by_label("Your sentence", exact=True)
        for number in range(repeats + 1):
            settle(page)
            words = f"On day {number} the fox jumped over {number + 3} lazy dogs near the river."
            box.fill(words)
            seconds = seconds_of(
                lambda: box.press("Enter"),
                lambda words=words: (
                    page.get_by_text(words).first.wait_for(),
                    page.get_by_text("computed now", exact=True).wait_for(),
                    drawn(page, HEATMAP),
                ),
            )
            if number:  # the first one loads the model
                taken.append(seconds)
    return {"own sentence, Enter to heatmap": taken}


def room(repeats: int) -> Rows:
    """Measure a lesson that a room of people opens at once, as connections without browsers."""
    import psutil

    rows: Rows = {}
    with server() as (address, process):
        asyncio.run(people(address, 1))
        for _ in range(repeats):
            app = psutil.Process(process)
            before, memory = sum(app.cpu_times()[:2]), app.memory_info().rss
            waited = asyncio.run(people(address, PEOPLE))
            after = sum(app.cpu_times()[:2])
            for name, value in {
                f"lesson opened by {PEOPLE} at once, median": statistics.median(waited),
                f"lesson opened by {PEOPLE} at once, the last": max(waited),
                f"seconds of a core for all {PEOPLE}": after - before,
                f"MiB more for all {PEOPLE}": (app.memory_info().rss - memory) / 2**20,
            }.items():
                rows.setdefault(name, []).append(value)
    return rows


async def people(address: str, number: int) -> list[float]:
    """Open the lesson for a number of people at once; return how long each waited."""
    return await asyncio.gather(*(visit(address, "learn") for _ in range(number)))


async def visit(address: str, page: str) -> float:
    """Ask for a page as a browser does; return the seconds until its script has ended."""
    from streamlit.proto.BackMsg_pb2 import BackMsg
    from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
    from websockets.asyncio.client import connect

    started = time.perf_counter()
    stream = address.replace("http", "ws", 1) + "/_stcore/stream"
    async with connect(
        stream, origin=address, subprotocols=["streamlit"], max_size=None, open_timeout=None
    ) as connection:
        asked = BackMsg()
        asked.rerun_script.page_name = page
        await connection.send(asked.SerializeToString())
        while True:
            answer = ForwardMsg.FromString(await connection.recv())
            if answer.WhichOneof("type") != "script_finished":
                continue
            if answer.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY:
                return time.perf_counter() - started
            if answer.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:  # to another page
                raise SystemExit(f"the page {page} was not drawn")


# A larger model's scores --------------------------------------------------------------------------


def wide_scores(layers: int) -> Scores:
    """Return made up scores of a model with seven families a layer."""
    modules = tuple(
        ModuleScore(
            f"model.layers.{layer}.{family}",
            layer,
            family,
            *FAMILIES[family],
            score=(1 + layer) * (1 + place) / 100,
            standard_error=(1 + layer) / 1000,
        )
        for layer in range(layers)
        for place, family in enumerate(FAMILIES)
    )
    texts = {"source": "generic", "count": 16, "sha256": "0" * 64}
    return Scores("wide", "paper", "fast", 1.0, 0, texts, modules, 4)


def give_scores(page, layers: int) -> None:
    """Open a scores.json of a larger model on the page Ranks."""
    old = heading(page)
    page.get_by_text("Start from a stored scores.json").click()
    content = json.dumps(wide_scores(layers).to_dict()).encode()
    page.locator("input[type=file]").first.set_input_files(
        {"name": "scores.json", "mimeType": "application/json", "buffer": content}
    )
    until_title_changes(page, old)
    drawn(page, BARS)


def one_rank_more(page) -> float:
    """Press a key on the slider in focus; return the seconds until the bars are others."""
    outlines = f"[...document.querySelectorAll('{BARS}')].map(bar => bar.getAttribute('d')).join()"
    old = page.evaluate(outlines)
    return seconds_of(
        lambda: page.keyboard.press("ArrowRight"),
        lambda: page.wait_for_function(f"old => {outlines} !== old", arg=old),
    )


ROWS: dict[str, Callable[[int], Rows]] = {
    "first-picture": first_picture,
    "page-switch": page_switch,
    "slider": slider,
    "deep-heatmap": deep_heatmap,
    "own-sentence": own_sentence,
    "room": room,
}


def main() -> None:
    """Measure what is asked for, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", action="append", choices=ROWS, help="may be given several times")
    parser.add_argument("--repeats", type=int, default=5, help="measurements a row (default 5)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all measurements here")
    given = parser.parse_args()
    rows: Rows = {}
    for name in given.only or ROWS:
        print(f"measuring {name} …", file=sys.stderr)
        rows |= ROWS[name](given.repeats)
    print("| what | median | lowest to highest |\n|---|---|---|")
    for name, found in rows.items():
        print(f"| {name} | {statistics.median(found):.2f} | {min(found):.2f} to {max(found):.2f} |")
    for visitor in ("first", "second"):
        pair = [rows.get(f"{visitor} visitor, {page}") for page in ("the app", "bare page")]
        if all(pair):
            ratios = [app / bare for app, bare in zip(*pair, strict=True)]
            print(f"\n{visitor} visitor: {statistics.median(ratios):.2f} times the bare page")
    about = {"machine": machine(), "versions": versions(), "repeats": given.repeats}
    print(
        "\nSeconds, unless another unit is named. {cores} cores, {processor}, {system}.".format(
            **about["machine"]
        )
    )
    if given.json:
        given.json.write_text(
            json.dumps({**about, "rows": rows}, indent=1) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
