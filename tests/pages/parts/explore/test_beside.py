import doctest
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from adarank_core.scoring.differences import share_differences
from pages.parts.explore import beside
from pages.parts.shared.state import Shown


def test_examples():
    assert doctest.testmod(beside).failed == 0


def shown(scores, source):
    return Shown(scores, "computed now", source)


def test_the_finding_has_the_correlation_and_what_gains_most(made_up):
    first = made_up(0)
    modules = [replace(m, score=m.score * 1.01) for m in first.modules]
    modules[8] = replace(modules[8], score=20.0)
    second = replace(first, modules=tuple(modules))
    said = beside.finding(shown(first, "generic"), shown(second, "task"))
    values = [[m.score for m in one.modules] for one in (first, second)]
    assert f"much alike (Spearman {spearmanr(*values).statistic:.2f})" in said
    assert "layer 2 · value gains most on task text" in said
    back = beside.finding(shown(second, "task"), shown(first, "sentence"))
    assert "layer 2 · value loses most on one sentence" in back


def test_noise_alone_is_no_finding(made_up):
    first, draw = made_up(0), np.random.default_rng(0)
    noisy = [replace(m, score=m.score + 0.01 * draw.standard_normal()) for m in first.modules]
    second = replace(first, modules=tuple(noisy))
    said = beside.finding(shown(first, "generic"), shown(second, "task"))
    assert said.endswith("no module's share clearly differs") and "almost alike" in said


def test_scores_that_tell_nothing_apart_have_no_order(made_up):
    first = made_up(0)
    same = replace(first, modules=tuple(replace(m, score=0.0) for m in first.modules))
    said = beside.finding(shown(first, "generic"), shown(same, "task"))
    assert said == "Generic text and task text: one tells no module from another"


def test_only_what_is_asked_for_of_the_same_modules_is_laid_beside(made_up):
    first = shown(made_up(0), "generic")
    assert beside.is_beside(first, replace(first, source="task"))
    assert not beside.is_beside(first, replace(first, stale=True))
    assert not beside.is_beside(replace(first, kind="your file"), first)
    fewer = replace(first.scores, modules=first.scores.modules[1:])
    assert not beside.is_beside(first, replace(first, scores=fewer))


@pytest.mark.parametrize(("alike", "words"), [(1.0, "1.00"), (0.9968, "0.997"), (0.5, "0.50")])
def test_almost_one_is_not_written_as_one(alike, words):
    assert beside._digits(alike) == words


def test_the_map_has_digits_where_the_difference_is_clear(made_up):
    first = made_up(0)
    modules = list(first.modules)
    modules[0] = replace(modules[0], score=modules[0].score + 5)
    found = share_differences(first, replace(first, modules=tuple(modules)))
    figure = beside.difference_map(found, "generic text", "task text")
    trace = figure.data[0]
    assert trace.zmin == -trace.zmax and trace.z[0][0] == trace.zmax
    digits = [a.text for a in figure.layout.annotations if a.name == "digit"]
    clear = [each for each in found if abs(each.errors_apart) > 2]
    assert 1 < len(digits) == len(clear) < 36 and digits[0] == f"{trace.zmax:+.1f}"
    assert "of all disagreement on generic text<br>and" in trace.customdata[0][0]
    assert "points more." in trace.customdata[0][0]
