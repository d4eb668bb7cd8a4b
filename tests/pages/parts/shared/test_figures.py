import doctest
import re
from pathlib import Path

from pages.parts.shared import charts, figures

PAGES = Path(__file__).resolve().parents[4] / "pages"


def test_examples():
    assert doctest.testmod(figures).failed == 0


def test_every_figure_of_every_page_can_be_saved_in_the_one_way():
    drawing = {
        path.name
        for path in PAGES.rglob("*.py")
        if re.search(r"\.plotly_chart\(", path.read_text(encoding="utf-8"))
    }
    assert drawing == {"figures.py"}


def test_what_is_saved_says_what_it_is_of(made_up):
    figure, words = charts.heatmap(made_up()), "model <b> " + "and so on " * 20
    height = figure.layout.height
    figures.signed(figure, words)
    title = figure.layout.xaxis.title.text
    assert title.startswith("module family") and "model &lt;b&gt; and so on" in title
    assert max(map(len, re.split("<br>", title))) < 130
    assert figure.layout.height == height + 15 * title.count("<br>")


def test_kind_size_and_name():
    png, svg = (figures.saved("a_b", kind, 300)["toImageButtonOptions"] for kind in (None, "SVG"))
    assert (png["format"], svg["format"]) == ("png", "svg")
    assert (png["scale"], svg["scale"]) == (2, 1)
    assert (svg["width"], svg["height"], svg["filename"]) == (1000, 300, "adarank-a-b")
