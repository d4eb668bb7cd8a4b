"""The table and the page: safe to open, and the plan's own numbers."""

import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adarank_core import AdaRankError, ModuleScore, RankPlan, Scores, allocate
from adarank_core.ranks.intervals import rank_intervals
from adarank_core.ranks.report import ranks_csv, report_html
from adarank_core.scoring.labels import family_colours
from tests.ranks import extremes

EVIL = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx", " =1+1", 'a"b', "a,b", "<script>"]


class Page(HTMLParser):
    """Collects what a browser would see."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def evil():
    """A plan whose model, modules and families all try to be something else."""
    modules = [ModuleScore(n, at, n, 8, 8, 1.0 + at, 0.1) for at, n in enumerate(EVIL)]
    texts = {"source": "<img src=x onerror=y>", "count": 1, "sha256": "00"}
    scores = Scores("<b>&model", "paper", "paired", 1.0, 0, texts, tuple(modules))
    return allocate(scores, 3, pinned={"<script>": 4}), scores


def rows(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_the_table_holds_the_plan(made_up):
    scores = made_up()
    plan = allocate(scores, 8, min_rank=0)
    found = rows(ranks_csv(plan, scores))
    assert {row["module"]: int(row["rank"]) for row in found} == plan.ranks
    assert sum(int(row["lora_parameters"]) for row in found) == plan.budget["lora_parameters"]
    assert [float(row["score"]) for row in found] == [module.score for module in scores.modules]
    assert {row["family"] for row in found} == set(scores.families)
    assert [int(row["layer"]) for row in found] == [module.layer + 1 for module in scores.modules]
    bare = rows(ranks_csv(plan))
    assert {row["module"]: int(row["rank"]) for row in bare} == plan.ranks
    assert list(bare[0]) == ["module", "rank", "alpha", "scaling"]


def test_no_cell_starts_a_formula(evil):
    for text in (ranks_csv(*evil), ranks_csv(evil[0])):
        found = rows(text)
        assert len(found) == len(EVIL)
        for row, name in zip(found, EVIL, strict=True):
            for cell in row.values():
                assert not cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
            assert row["module"].removeprefix("'") == name


@pytest.mark.parametrize("with_scores", [True, False])
def test_the_page_is_one_page_and_nothing_of_the_user_becomes_a_tag(evil, with_scores):
    plan, scores = evil
    text = report_html(plan, scores if with_scores else None)
    page = Page(text)
    assert not {"script", "img", "link", "iframe"} & set(page.tags)
    assert page.tags.count("b") == 1  # of the alpha policy
    assert "<path or id of the base model>" in page.text and "<script>" in page.text
    assert not [
        value for key, value in page.attributes if key in ("src", "href") or key[:2] == "on"
    ]
    assert "http" not in text and "@import" not in text and "url(" not in text
    assert "prefers-color-scheme: dark" in text and page.tags.count("svg") == 1 + 2 * with_scores


def test_the_page_tells_the_plan(made_up):
    scores = made_up()
    plan = allocate(scores, 8, budget_by="parameters", alpha_policy="rslora", temperature=0.5)
    text = report_html(plan, scores)
    page = Page(text)
    assert "331,776" in page.text and "rslora" in page.text and "temperature0.5" in page.text
    assert plan.scores_sha256 in page.text
    assert page.tags.count("rect") == 36 + 6 + len(scores.families)
    layers = [plan.ranks[m.name] for m in scores.modules if m.layer == 2]
    assert f"layer 3: {sum(layers) / len(layers):.3g}" in page.text  # as in the app, from 1
    assert "layer 6 · feed-forward out" in page.text and "layer 0" not in page.text
    fills = [value for key, value in page.attributes if key == "style"]
    assert fills[-36:] == [
        f"fill: {colour}" for colour in list(family_colours(scores.families).values()) * 6
    ]
    lengths = [float(value) for key, value in page.attributes if key == "width" and value != "0"]
    bars = [width for width in lengths if width <= 560][-36:]
    options = {"budget_by": "parameters", "temperature": 0.5}
    spans = rank_intervals(scores, 8, **options)
    most = max(high for _, high in spans.values())
    assert bars == pytest.approx([560 * r / most for r in plan.ranks.values()], abs=0.1)
    across = [float(value) for key, value in page.attributes if key == "x1"]
    assert across[-1] == pytest.approx(260 + 560 * 8 / most, abs=0.1)  # uniform, as in the app
    whiskers = [value for key, value in page.attributes if key == "d"]
    unsettled = [span for span in spans.values() if span[0] < span[1]]
    assert len(whiskers) == len(unsettled) > 0
    for path, (low, high) in zip(whiskers, unsettled, strict=True):
        start, length = re.match(r"M([\d.]+) \d+h([\d.]+)", path).groups()
        assert float(start) == pytest.approx(260 + 560 * low / most, abs=0.1)
        assert float(length) == pytest.approx(560 * (high - low) / most, abs=0.1)


def test_there_are_no_whiskers_where_the_options_are_not_known(made_up):
    scores = made_up()
    plan = allocate(scores, 8)
    edited = replace(plan, ranks={**plan.ranks, next(iter(plan.ranks)): 1})
    assert "<path" in report_html(plan, scores)
    for other in (edited, replace(plan, budget={}), replace(plan, scores_sha256="")):
        assert "<path" not in report_html(other, scores)


def test_scores_of_other_modules_are_refused(made_up):
    plan = RankPlan("tiny", {"a": 4}, {"a": 8})
    for make in (ranks_csv, report_html):
        with pytest.raises(AdaRankError, match="no module 'a'"):
            make(plan, made_up())


@given(
    extremes.scores,
    st.lists(st.integers(0, 10**6), min_size=7, max_size=7),
    st.lists(st.floats(0, allow_infinity=False) | st.integers(0, 10**300), min_size=7, max_size=7),
    st.dictionaries(st.sampled_from(["by", "requested", "units", "share"]), extremes.values),
)
def test_any_plan_can_be_shown(scores, ranks, alpha, budget):
    names = [module.name for module in scores.modules]
    plan = extremes.result_or_refusal(
        RankPlan,
        "tiny",
        dict(zip(names, ranks, strict=False)),
        dict(zip(names, alpha, strict=False)),
        budget,
    )
    if plan is not None:
        for known in (None, scores):
            assert len(rows(ranks_csv(plan, known))) == len(names)
            page = Page(report_html(plan, known))
            assert "nan" not in [value for _, value in page.attributes]
