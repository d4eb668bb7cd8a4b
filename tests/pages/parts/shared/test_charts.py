import doctest
from dataclasses import replace
from itertools import pairwise

import pytest

from adarank_core import numerals
from adarank_core.ranks.allocation import allocate
from pages.parts.shared import charts


def test_examples():
    assert doctest.testmod(charts).failed == 0


@pytest.fixture
def scores(made_up):
    return made_up()


def test_heatmap_has_the_input_at_the_bottom_and_families_in_flow_order(scores):
    figure = charts.heatmap(scores)
    z = figure.data[0].z
    assert z[0][0] == scores.modules[0].score
    assert z[5][2] == next(m.score for m in scores.modules if (m.layer, m.family) == (5, "value"))
    assert list(figure.layout.yaxis.ticktext) == list("123456")
    assert figure.layout.yaxis.range[0] < figure.layout.yaxis.range[1]
    assert figure.layout.xaxis.ticktext[3] == "attention<br>output"


def test_heatmap_hover_is_a_sentence_with_value_error_and_path(scores):
    words = charts.heatmap(scores).data[0].customdata[4][2]
    module = next(m for m in scores.modules if (m.layer, m.family) == (4, "value"))
    assert "Noise on layer 5 · value" in words
    assert numerals.with_error(module.score, module.standard_error) in words
    assert module.name in words


def test_heatmap_marks_exactly_the_large_errors(scores):
    first, *rest = scores.modules
    unsure = replace(first, score=1.0, standard_error=charts.LARGE_ERROR + 0.01)
    at_limit = replace(rest[0], score=1.0, standard_error=charts.LARGE_ERROR)
    sure = [replace(module, standard_error=0.0) for module in rest[1:]]
    rings = charts.heatmap(replace(scores, modules=(unsure, at_limit, *sure))).data[1]
    assert [round(x) for x in rings.x] == [0]
    assert [round(y) for y in rings.y] == [0]


def test_heatmap_colours_by_logarithm_and_by_family(scores):
    log = charts.heatmap(scores, log=True).data[0]
    assert 10 ** log.z[0][0] == pytest.approx(scores.modules[0].score)
    assert 10**log.zmin == pytest.approx(min(m.score for m in scores.modules))
    assert [10**at for at in log.colorbar.tickvals] == pytest.approx(
        [float(text) for text in log.colorbar.ticktext]
    )
    own = charts.heatmap(scores, by_family=True).data[0]
    assert [max(column) for column in zip(*own.z, strict=True)] == [1.0] * 6
    both = charts.heatmap(scores, log=True, by_family=True).data[0]
    assert [max(column) for column in zip(*both.z, strict=True)] == [0.0] * 6


def test_a_score_of_zero_has_a_colour_by_logarithm_too(scores):
    none = replace(scores.modules[0], score=0.0)
    figure = charts.heatmap(replace(scores, modules=(none, *scores.modules[1:])), log=True)
    assert figure.data[0].z[0][0] == figure.data[0].zmin
    assert charts.heatmap(replace(scores, modules=(none,)), log=True).data[0].z[0][0] == 0


def test_heatmap_draws_every_error_by_its_width(scores):
    errors = [replace(m, standard_error=0.01 * at) for at, m in enumerate(scores.modules)]
    dots = charts.heatmap(replace(scores, modules=tuple(errors)), all_errors=True).data[1]
    shares = [m.standard_error / m.score for m in errors]
    order = sorted(range(36), key=lambda at: min(shares[at], charts.LARGE_ERROR))
    sizes = [dots.marker.size[at] for at in order]
    assert sizes == sorted(sizes) and len(dots.x) == 36


def test_a_click_is_on_the_module_that_is_seen(scores):
    figure = charts.heatmap(scores, picked=scores.modules[8])
    charts.make_clickable(figure, scores)
    points = figure.data[-1]
    for at, module in enumerate(scores.modules):
        assert figure.data[0].z[points.y[at]][points.x[at]] == module.score
    (frame,) = figure.layout.shapes
    assert (frame.x0 + 0.5, frame.y0 + 0.5) == (points.x[8], points.y[8])


def test_heatmap_keeps_its_shape_while_it_fills(scores):
    whole = charts.heatmap(scores)
    partly = charts.heatmap(replace(scores, modules=scores.modules[:2]), scores.modules)
    none_yet = charts.heatmap(replace(scores, modules=()), scores.modules)
    for figure in (partly, none_yet):
        assert figure.layout.xaxis.ticktext == whole.layout.xaxis.ticktext
        assert figure.layout.yaxis.range == whole.layout.yaxis.range
        assert figure.layout.height == whole.layout.height
    assert [value is None for value in partly.data[0].z[0]] == [False, False, *[True] * 4]


def test_profile_bands_are_one_error_wide_and_never_below_zero(scores):
    low = replace(scores.modules[0], score=0.5, standard_error=0.8)
    figure = charts.profile(replace(scores, modules=(low, *scores.modules[1:])))
    band, line = figure.data[:2]
    assert band.y[0] == 1.3
    assert band.y[-1] == 0.0
    assert line.y[0] == 0.5
    assert list(line.x) == [1, 2, 3, 4, 5, 6]
    assert [trace.name for trace in figure.data[1::2]][-1] == "feed-forward out"


def test_rank_bars_show_every_rank_and_the_uniform_line(scores):
    plan = allocate(scores, 8)
    figure = charts.rank_bars(scores, plan, 8)
    *bars, line = figure.data
    shown = {}
    for family, bar in zip(scores.families, bars, strict=True):
        of_family = [module for module in scores.modules if module.family == family]
        assert bar.marker.color == charts.FAMILY_COLOURS[family]
        shown.update({m.name: y for m, y in zip(of_family, bar.y, strict=True)})
    assert shown == plan.ranks
    assert set(line.y) == {8}
    assert "uniform LoRA would give it 8" in bars[0].customdata[0]


def test_rank_bars_by_rank_fall_and_diamonds_stand_on_their_bars(scores):
    plan = allocate(scores, 8)
    other = {name: 3 + at for at, name in enumerate(plan.ranks)}
    intervals = {name: (rank - 1, rank + 2) for name, rank in plan.ranks.items()}
    for by_rank in (False, True):
        figure = charts.rank_bars(scores, plan, 8, intervals, ("other", other), by_rank)
        *bars, _, diamonds = figure.data
        places = sorted((x, y) for bar in bars for x, y in zip(bar.x, bar.y, strict=True))
        gaps = [after[0] - before[0] for before, after in pairwise(places)]
        assert min(gaps) >= bars[0].width  # no bar hides another
        at = dict(zip(diamonds.y, diamonds.x, strict=True))
        for family, bar in zip(scores.families, bars, strict=True):
            of_family = [m.name for m in scores.modules if m.family == family]
            assert [at[other[name]] for name in of_family] == list(bar.x)
        assert set(bars[0].error_y.array) == {2}
        assert set(bars[0].error_y.arrayminus) == {1}
        assert "Laid beside: rank 3." in bars[0].customdata[0]
    ranks = [y for _, y in places]
    assert ranks == sorted(ranks, reverse=True)


def test_families_have_colours_of_their_own():
    assert len(set(charts.FAMILY_COLOURS.values())) == 6
    assert charts.ACCENT not in charts.FAMILY_COLOURS.values()
    many = [f"family {at}" for at in range(9)]
    assert len(set(charts.family_colours(many).values())) == 6


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (0.142, 0.011, "0.142 ± 0.011"),
        (0.00721, 0.00055, "0.00721 ± 0.00055"),
        (1234.5, 120.0, "1,230 ± 120"),
        (0.0, 0.0, "0"),
        (2.0, 0.99, "2.00 ± 0.99"),
    ],
)
def test_with_error(value, error, words):
    assert numerals.with_error(value, error) == words
