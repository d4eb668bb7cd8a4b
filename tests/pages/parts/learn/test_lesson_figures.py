import numpy as np
import pytest

from pages.parts.learn.lesson_figures import (
    NoisyModule,
    contrast,
    energy_curve,
    logits_plane,
    published_scores,
    running_means,
    scans,
    thin_matrices,
    two_scores,
)

NARROW = NoisyModule("layer 1 · value", "#009E73", np.array([[0.0, 0.1], [0.1, 0.0]]))
WIDE = NoisyModule("layer 6 · value", "#0072B2", np.array([[-3.0, 1.0], [2.0, -1.0]]))


def size(trace):
    return max(trace.x) - min(trace.x), max(trace.y) - min(trace.y)


def test_matrices_are_drawn_to_scale():
    figure = thin_matrices(384, 1536, 8)
    assert figure.layout.xaxis.constrain == figure.layout.yaxis.constrain == "domain"
    change, tall, flat = figure.data
    assert (size(change), size(tall), size(flat)) == ((384, 1536), (8, 1536), (384, 8))
    assert change.text == "change of W: 1,536 × 384 = 589,824 numbers"
    assert max(change.x) < min(tall.x) and max(tall.x) < min(flat.x)


@pytest.mark.parametrize("rank", [1, 4])
def test_energy_curve_marks_the_rank(rank):
    line, mark = energy_curve([0.25, 0.5, 0.75, 1.0], rank).data
    assert list(line.x) == [1, 2, 3, 4]
    assert (mark.x[0], mark.y[0]) == (rank, rank / 4)
    assert f"rank {rank}: {rank / 4:.0%}" in mark.text[0]


@pytest.mark.parametrize("modules", [[NARROW, WIDE], [WIDE, NARROW]])
def test_narrow_dots_lie_on_wide_ones_and_the_star_on_top(modules):
    figure = logits_plane([0.5, 0.25], modules)
    names = [trace.name for trace in figure.data]
    assert names == ["noise on layer 6 · value", "noise on layer 1 · value", "no noise"]
    assert list(figure.data[0].x) == [-3.0, 2.0] and list(figure.data[0].y) == [1.0, -1.0]
    assert (figure.data[2].x[0], figure.data[2].y[0]) == (0.5, 0.25)
    assert figure.layout.yaxis.scaleanchor == "x"
    first = next(trace for trace in figure.data if modules[0].label in trace.name)
    assert first.marker.symbol == "circle-open"


def test_running_means_show_only_what_has_come_in():
    values = np.array([[1.0, np.nan], [2.0, 0.5], [1.5, 0.25], [9.0, 1.0]])
    figure = running_means([NoisyModule("layer 1 · value", "#009E73", values)], 3)
    band, line = figure.data
    assert list(line.x) == [1, 2, 3] and list(line.y) == [1.0, 2.0, 1.5]
    assert list(band.x) == [2, 3, 3, 2] and list(band.y) == [2.5, 1.75, 1.25, 1.5]
    assert line.customdata[0] == "The first pair of layer 1 · value<br>is 1.00 apart."
    assert line.customdata[2].endswith("disagreement 1.50 ± 0.25.")
    # Room for the fourth, so that the axes stay when it comes.
    assert figure.layout.xaxis.range[1] > 4 and figure.layout.yaxis.range[1] > 10


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 8.2], ("b", "a", "8 times")),
        ([3.0, 2.0], ("a", "b", "1.5 times")),
        ([0.0, 2.0], ("b", "a", "inf times")),
    ],
)
def test_contrast_names_the_larger_first(values, expected):
    assert contrast(["a", "b"], values) == expected


def test_two_scores_draw_every_module_once_at_its_place(made_up):
    one, other = made_up(0), made_up(1)
    figure = two_scores(one, other, "this", "that")
    places = {place for trace in figure.data for place in zip(trace.x, trace.y, strict=True)}
    assert places == {(a.score, b.score) for a, b in zip(one.modules, other.modules, strict=True)}
    assert len(figure.data) == len(one.families)
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "log"
    assert "0.05" in figure.layout.xaxis.ticktext  # with its power, not a bare 5


def test_scans_are_told_apart_without_colour():
    pairs = [[0.1, 0.01], [0.2, 0.02]]
    figure = scans(dict.fromkeys(("forward", "reversed", "reset"), pairs))
    assert len({trace.marker.symbol for trace in figure.data}) == 3
    for trace in figure.data:
        assert list(trace.y) == [0.1, 0.2] and list(trace.error_y.array) == [0.01, 0.02]
        assert list(trace.x) == [1, 2]  # layers count from 1


def test_published_scores_have_their_rank_under_their_layer():
    figure = published_scores([0.1, 0.7], [0.06, 0.02], [1, 10])
    assert list(figure.layout.xaxis.ticktext) == ["1<br><b>1</b>", "2<br><b>10</b>"]
    assert list(figure.data[0].error_y.array) == [0.06, 0.02]
