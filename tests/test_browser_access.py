"""Every page by axe-core, light and dark, wide and narrow; figures, focus, and the tool bar."""

import re
from collections import Counter

import pytest

from tests.test_browser_links import choices
from tests.test_browser_walk import address, page  # noqa: F401

pytestmark = pytest.mark.browser

PAGES = ("", "ranks", "compare", "lab", "learn", "runs", "teach", "about")
SIZES = ((1400, 1000), (390, 844))
CONTRAST = 4.5  # WCAG AA
ROW = 35  # pixels, of a table

#: Of a figure's letters, those that are less than so much apart from the page behind them. Letters
#: in cells and on boxes have grounds of their own, and a figure that is being replaced shows none.
PALE_LETTERS = """
least => {
  const light = colour => {
    const parts = colour.match(/[\\d.]+/g).slice(0, 3).map(part => part / 255);
    const [r, g, b] = parts.map(x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = light(getComputedStyle(document.querySelector('.stApp')).backgroundColor);
  const found = new Set();
  for (const letters of document.querySelectorAll('.js-plotly-plot svg text')) {
    if (letters.closest('.heatmaplayer, .hm, .bars, .cells')) continue;
    const at = letters.getBoundingClientRect();
    if (!at.width) continue;
    const cells = letters.closest('.js-plotly-plot').querySelectorAll('.heatmaplayer image');
    if ([...cells].map(cell => cell.getBoundingClientRect()).some(cell =>
      cell.left < at.left && at.right < cell.right && cell.top < at.top && at.bottom < cell.bottom
    )) continue;
    const box = letters.closest('.annotation')?.querySelector('rect.bg');
    if (box && box.style.fillOpacity !== '0') continue;
    const own = light(getComputedStyle(letters).fill);
    const apart = (Math.max(own, ground) + 0.05) / (Math.min(own, ground) + 0.05);
    if (apart < least) found.add(`${letters.textContent} (${apart.toFixed(2)})`);
  }
  return [...found];
}
"""
OPEN_ALL = "document.querySelectorAll('[data-testid=stExpander] summary').forEach(s => s.click())"
#: Legends that lie under their figure's tool bar.
COVERED = """
() => [...document.querySelectorAll('.js-plotly-plot')].filter(figure => {
  const [bar, legend] = ['.modebar', '.legend'].map(
    name => figure.querySelector(name)?.getBoundingClientRect());
  return bar && legend && bar.bottom > legend.top && bar.left < legend.right;
}).length
"""


@pytest.fixture
def demo(monkeypatch):
    monkeypatch.setenv("ADARANK_DEMO", "1")  # else there is no page about it


def settle(tab):
    """Wait until a page is drawn whole: it comes piece by piece, and fades in."""
    tab.get_by_role("heading", level=1).wait_for()
    tab.wait_for_function(
        "() => document.querySelector('[data-testid=stApp]').dataset.testScriptState"
        " === 'notRunning' && !document.querySelector('[data-testid=stSkeleton]')"
        " && document.getAnimations().every(one => one.playState === 'finished')"
    )
    assert not tab.get_by_test_id("stException").count()


def shows(tab, scheme, size):
    tab.emulate_media(color_scheme=scheme)
    tab.set_viewport_size({"width": size[0], "height": size[1]})
    tab.wait_for_function(
        "scheme => getComputedStyle(document.querySelector('.stApp')).colorScheme === scheme",
        arg=scheme,
    )


def test_axe_finds_nothing_serious_on_any_page(demo, page, address):  # noqa: F811
    """Nor are headings out of order, letters of figures pale, or legends under the tool bar."""
    from axe_playwright_python.sync_playwright import Axe

    axe, found, seen = Axe(), Counter(), []
    for name in PAGES:
        page.goto(f"{address}/{name}")
        settle(page)
        page.evaluate(OPEN_ALL)
        page.wait_for_timeout(500)  # what draws its content when opened has begun to
        settle(page)
        for scheme in ("light", "dark"):
            for size in SIZES:
                shows(page, scheme, size)
                where = f"{name or 'explore'}, {scheme}, {size[0]} px"
                for one in axe.run(page).response["violations"]:
                    found[one["impact"]] += len(one["nodes"])
                    if one["impact"] in ("serious", "critical") or one["id"] == "heading-order":
                        nodes = [(node["html"][:200], node["any"][:1]) for node in one["nodes"]]
                        seen.append((where, one["id"], nodes))
                if pale := page.evaluate(PALE_LETTERS, CONTRAST):
                    seen.append((where, "pale letters", pale))
                if page.evaluate(COVERED):
                    seen.append((where, "a legend is under the tool bar"))
                menu = page.get_by_test_id("stMainMenuButton").bounding_box()
                if menu["x"] + menu["width"] > size[0]:
                    seen.append((where, "the menu is beyond the edge"))
        shows(page, "light", SIZES[0])
    print("axe:", dict(found))
    assert not seen, "\n".join(map(str, seen))


def at_rest(seen):
    """Return where something is, once it stays there: what is above it may still be drawn."""
    before, box = None, seen.bounding_box()
    while box != before:
        seen.page.wait_for_timeout(500)
        before, box = box, seen.bounding_box()
    return box


def test_the_focus_stays_where_it_was(page, address):  # noqa: F811
    from playwright.sync_api import expect

    page.goto(f"{address}/ranks")
    settle(page)
    page.get_by_test_id("stSidebar").get_by_alt_text("Logo").wait_for()
    seed = page.get_by_label("Seed", exact=True)
    seed.fill("3")
    seed.press("Enter")
    page.wait_for_url(re.compile("seed=3"))
    settle(page)
    expect(seed).to_be_focused()
    page.keyboard.press("Shift+Tab")
    ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert ring == "solid"

    # In the table of ranks, too: the next rank can be typed at once.
    title = page.get_by_text(re.compile("^Every module's rank"))
    title.click()
    title.evaluate("title => title.scrollIntoView({block: 'center'})")
    table = page.get_by_test_id("stDataFrame").last
    table.locator("canvas").first.wait_for()
    box = at_rest(table)
    page.mouse.click(box["x"] + 50, box["y"] + 1.5 * ROW)
    for _ in range(20):  # a table that is being drawn hears no key
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(500)
        if page.evaluate("document.activeElement.getAttribute('aria-colindex')") == "2":
            break
    for typed, pins in (("11", "0:11"), ("12", "0:11,1:12")):
        cell = page.get_by_test_id("portal").locator("input")
        for _ in range(20):
            page.keyboard.press("Enter")  # opens the cell; when open, a second one goes to the next
            page.wait_for_timeout(1000)
            if cell.count():
                break
        cell.fill(typed)
        cell.press("Enter")
        page.wait_for_url(lambda url, pins=pins: choices(url).get("pins") == pins)
        settle(page)
    assert page.evaluate("document.activeElement.closest('[data-testid=stDataFrame]') !== null")
