import doctest
import re

import plotly.graph_objects as go
import pytest
from plotly.colors import sample_colorscale

from pages.parts.shared import charts, grids


def test_examples():
    assert doctest.testmod(grids).failed == 0


def contrast(one, other):
    """The contrast ratio of WCAG 2, of colours as CSS writes them."""

    def luminance(colour):
        if colour.startswith("#"):
            parts = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
        else:
            parts = [float(part) for part in re.findall(r"[\d.]+", colour)]
        parts = [part / 255 for part in parts]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(f * part for f, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("old", ["", "This is older"])
@pytest.mark.parametrize("log", [False, True])
def test_every_digit_can_be_read_on_its_own_cell(made_up, old, log):
    figure = charts.say_old(charts.heatmap(made_up(), log=log), old)
    trace, written = figure.data[0], [a for a in figure.layout.annotations if a.name == "digit"]
    assert len(written) == 36
    for one in written:
        at = (trace.z[one.y][one.x] - trace.zmin) / (trace.zmax - trace.zmin)
        (cell,) = sample_colorscale(
            [list(pair) for pair in trace.colorscale], [at], colortype="rgb"
        )
        assert contrast(one.font.color, cell) >= 4.5
    assert trace.opacity is None  # on a see-through cell the theme would decide


def test_many_families_or_layers_have_no_digits(made_up):
    modules = made_up().modules
    for count in (grids.MOST_COLUMNS, grids.MOST_COLUMNS + 1):
        cells = [
            grids.Cell(type(modules[0])(f"f{at}", 0, f"f{at}", 1, 1, 1.0, 0.0), 1.0, "1")
            for at in range(count)
        ]
        figure = grids.grid(cells, 0, 1, grids.SEQUENTIAL, "")
        digits = [a for a in figure.layout.annotations if a.name == "digit"]
        assert len(digits) == (count if count == grids.MOST_COLUMNS else 0)


def test_a_legend_gets_room_over_the_scale():
    figure = go.Figure(go.Heatmap(z=[[1]])).update_layout(height=500)
    grids.add_legend(figure)
    assert figure.data[0].colorbar.y == 1 - (grids.TITLE + grids.LEGEND) / 500
