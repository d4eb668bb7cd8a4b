import doctest
import shlex
from dataclasses import replace

import pytest

from adarank_core.__main__ import app as command_line
from adarank_core.ranks import allocation
from pages.parts.shared import phrases
from pages.parts.shared.state import Asked, Shown

NASTY = 'It\'s "quoted"; $(rm -rf x) `ls` \\ & a\nnew line'


def test_examples():
    assert doctest.testmod(phrases).failed == 0


@pytest.fixture
def scores(made_up):
    return replace(made_up(), trials=7)


def with_values(scores, values, error):
    """Give the value modules these scores, and every other module the same."""
    modules = tuple(
        replace(
            module,
            score=values[module.layer] if module.family == "value" else 1.0,
            standard_error=error,
        )
        for module in scores.modules
    )
    return replace(scores, modules=modules)


def test_finding_names_the_strongest_with_its_error(scores):
    said = phrases.score_finding(with_values(scores, [0.5, 1, 1, 1, 1, 4], 0.01))
    assert said == "Layer 6's value projection matters most: 4.000 ± 0.010, about 4× the next"
    said = phrases.score_finding(with_values(scores, [0.5, 1, 1, 1, 3.9, 4], 0.05))
    assert said == "The value projections of layers 5 and 6 matter most, up to 4.000 ± 0.050"


def test_rank_finding_follows_pins(scores):
    first = scores.modules[0].name
    plan = allocation.allocate(scores, 8, pinned={first: 100})
    said = phrases.rank_finding(scores, plan, [first])
    assert "rank 100" not in said and said.endswith("; 1 rank is pinned by hand")


def test_finding_says_so_when_the_error_bars_overlap(scores):
    said = phrases.score_finding(with_values(scores, [0.9, 1, 1, 1, 1, 1.2], 0.1))
    assert "error bars overlap" in said


def test_rank_finding_names_the_richest_and_the_poorest(scores):
    plan = allocation.allocate(scores, 8)
    said = phrases.rank_finding(scores, plan)
    assert f"rank {max(plan.ranks.values())}" in said
    assert said.endswith(f"rank {min(plan.ranks.values())}")
    assert "Every module" in phrases.rank_finding(scores, allocation.uniform_plan(scores, 8))


def test_another_text_of_the_same_name_is_asked_for_as_the_other_one(scores):
    asked = Asked("embedded", "task", "/first/mine.csv", None, 0)
    said = phrases.old_words(
        Shown(scores, "computed now", "task", asked.text, asked),
        replace(asked, text="/second/mine.csv"),
    )
    assert said.endswith("press Score for the other task text of mine.csv.")


def test_the_command_holds_the_sentence_as_one_argument(scores):
    line = phrases.command(Shown(scores, "computed now", "sentence", NASTY))
    arguments = shlex.split(line)
    assert arguments[arguments.index("--sentence") + 1] == NASTY
    assert arguments[arguments.index("--trials") + 1] == "7"


@pytest.mark.parametrize(
    ("source", "text"), [("generic", ""), ("task", "trec"), ("sentence", "-a dash")]
)
def test_the_command_line_takes_the_command(scores, source, text):
    import typer.main

    line = phrases.command(Shown(scores, "computed now", source, text))
    score = typer.main.get_command(command_line).commands["score"]
    taken = score.make_context("score", shlex.split(line)[4:]).params
    assert (taken["model"], taken["trials"], taken["seed"]) == ("embedded", 7, 0)
    assert taken["estimator"] == "paired"
    assert taken["generic"] if source == "generic" else taken[source] == text


@pytest.mark.parametrize("source", ["generic", "task", "sentence"])
def test_the_snippet_computes_the_shown_scores(scores, source, tiny_task, monkeypatch):
    import adarank_core as ar

    called = {}
    monkeypatch.setattr(ar, "load_task", lambda name: tiny_task, raising=False)
    monkeypatch.setattr(
        ar, "load_model", lambda name, labels=2: called.update(labels=labels), raising=False
    )
    monkeypatch.setattr(
        ar, "score", lambda bundle, texts, **options: (texts, options), raising=False
    )
    text = {"task": "uploads/tiny.csv", "sentence": NASTY}.get(source, "")
    shown = Shown(scores, "computed now", source, text)
    names = {}
    exec(phrases.snippet(shown), names)
    texts, options = names["scores"]
    assert options == {"estimator": "paired", "trials": 7, "seed": 0}
    assert called == {"labels": 2}
    assert len(texts) == (1 if source == "sentence" else 16)
    if source == "sentence":
        assert texts.items == (NASTY,)
    assert "uploads" not in phrases.snippet(shown)


def test_detail_tells_model_text_trials_and_seed(scores):
    shown = Shown(scores, "computed now", "generic")
    assert phrases.detail(shown) == "model embedded · 1 list texts · 7 trials · seed 0"
    assert "trials" not in phrases.detail(Shown(replace(scores, trials=None), "x", "generic"))
