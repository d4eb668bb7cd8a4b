"""Layers × families as coloured cells: what every such picture is made of."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import plotly.graph_objects as go
from plotly.colors import get_colorscale, hex_to_rgb, sample_colorscale, unlabel_rgb

from adarank_core.scoring.labels import family_label

__all__ = [
    "DIVERGING",
    "MOST_COLUMNS",
    "SCALE",
    "SEQUENTIAL",
    "Cell",
    "add_legend",
    "escaped",
    "fade",
    "grid",
    "legible",
    "log_ticks",
]

SCALE = "Cividis"
SEQUENTIAL = get_colorscale(SCALE)
#: Blue is less and orange more, which colour-blind people tell apart too.
DIVERGING = [
    [0.0, "#2166AC"],
    [0.25, "#92C5DE"],
    [0.5, "#F7F7F7"],
    [0.75, "#FDB863"],
    [1.0, "#B35806"],
]
DIGIT = "digit"  # the name of an annotation that stands in a cell
MOST_ROWS, MOST_COLUMNS = 16, 8  # beyond, a cell is smaller than its digits
ROW, BAR, TITLE, LEGEND = 46, 66, 26, 28  # pixels: of a row, of the scale over the cells
GREY, FADED = (138, 136, 148), 0.7
EQUAL = 0.179  # the luminance from which black and white stand out alike


def escaped(name: str) -> str:
    """Return a name as Plotly is to be given it, which reads tags, links and values in a text.

    Examples
    --------
    >>> escaped("<b>query</b>")
    '&lt;b&gt;query&lt;/b&gt;'
    """
    return escape(name).replace("%{", "%&#123;")


@dataclass(frozen=True)
class Cell:
    """One module's place, colour and words.

    Parameters
    ----------
    place : object
        With ``layer`` and ``family``.
    value : float or None
        Its place on the scale; None leaves the cell empty.
    digits : str
        Written into it.
    words : str
        What its hover says, as HTML.
    """

    place: Any
    value: float | None = None
    digits: str = ""
    words: str = ""


def grid(
    cells: Sequence[Cell],
    low: float,
    high: float,
    scale: Sequence,
    bar: str,
    ticks: tuple[Sequence[float], Sequence[str]] | None = None,
) -> go.Figure:
    """Draw cells as layers × families, the input at the bottom.

    Parameters
    ----------
    cells : sequence of Cell
    low, high : float
        Ends of the scale.
    scale : sequence
        Pairs of a position from 0 to 1 and a colour.
    bar : str
        What the colours mean.
    ticks : (sequence of float, sequence of str), optional
        Where numbers stand along the scale, and which.

    Returns
    -------
    plotly.graph_objects.Figure
    """
    families = list(dict.fromkeys(cell.place.family for cell in cells))
    layers = sorted({cell.place.layer for cell in cells})
    values = [[None] * len(families) for _ in layers]
    words = [[""] * len(families) for _ in layers]
    rows = min(len(layers), MOST_ROWS)
    for cell in cells:
        row, column = layers.index(cell.place.layer), families.index(cell.place.family)
        values[row][column], words[row][column] = cell.value, cell.words
    figure = go.Figure(
        go.Heatmap(
            z=values,
            x=list(range(len(families))),
            y=list(range(len(layers))),
            zmin=low,
            zmax=high,
            colorscale=scale,
            customdata=words,
            hovertemplate="%{customdata}<extra></extra>",
            hoverongaps=False,
            xgap=2,
            ygap=2,
            # Over the cells: beside them it would take a third of a narrow screen.
            colorbar={
                "orientation": "h",
                "yref": "container",
                "yanchor": "top",
                "thickness": 10,
                "outlinewidth": 0,
                **({} if ticks is None else {"tickvals": ticks[0], "ticktext": ticks[1]}),
            },
        )
    )
    if len(layers) <= MOST_ROWS and len(families) <= MOST_COLUMNS:
        written = [
            {
                "x": families.index(cell.place.family),
                "y": layers.index(cell.place.layer),
                "text": cell.digits,
                "showarrow": False,
                "name": DIGIT,
                "font": {"size": 12, "color": legible(cell.value, low, high, scale)},
            }
            for cell in cells
            if cell.value is not None and cell.digits
        ]
        figure.update_layout(annotations=written)
    _label_axes(figure, families, layers)
    figure.update_layout(
        height=max(380, 130 + BAR + ROW * rows),
        margin={"l": 10, "r": 10, "t": BAR, "b": 10},
        hoverlabel={"align": "left"},
    )
    # The scale's own title would push the cells away.
    words = {"xref": "paper", "yref": "paper", "x": 0.5, "y": 1, "showarrow": False}
    words |= {"yanchor": "bottom", "yshift": BAR - TITLE + 10, "text": bar, "name": "scale"}
    figure.add_annotation(words)
    return _place_scale(figure, TITLE)


def _place_scale(figure: go.Figure, below: int) -> go.Figure:
    return figure.update_traces(
        {"colorbar.y": 1 - below / figure.layout.height}, {"type": "heatmap"}
    )


def add_legend(figure: go.Figure) -> None:
    """Make room over the scale for a legend of what lies on the cells."""
    _place_scale(figure, TITLE + LEGEND)
    figure.update_layout(
        margin={"t": BAR + LEGEND},
        legend={"orientation": "h", "yref": "container", "y": 1, "yanchor": "top", "x": 0},
    )


def _label_axes(figure: go.Figure, families: Sequence[str], layers: Sequence[int]) -> None:
    bare = {"showgrid": False, "zeroline": False, "fixedrange": True}
    figure.update_xaxes(
        title="module family, in the order data flows",
        tickvals=list(range(len(families))),
        # A long word is broken, so that labels stay level where columns are narrow.
        ticktext=[
            escaped(family_label(family)).replace(" ", "<br>").replace("-", "-<br>")
            for family in families
        ],
        range=[-0.5, len(families) - 0.5],
        **bare,
    )
    figure.update_yaxes(
        title="layer (1 is nearest the input)",
        tickvals=list(range(len(layers))),
        ticktext=[str(layer + 1) for layer in layers],
        range=[-0.5, len(layers) - 0.5],
        **bare,
    )


def fade(figure: go.Figure) -> None:
    """Make the cells pale, in colours of their own: digits can be read on them in any theme."""
    trace = next(figure.select_traces({"type": "heatmap"}))
    scale = [[at, f"rgb{_mixed(_rgb(colour), GREY, FADED)}"] for at, colour in trace.colorscale]
    trace.colorscale = scale
    for one in figure.layout.annotations:
        if one.name == DIGIT:
            one.font.color = legible(trace.z[one.y][one.x], trace.zmin, trace.zmax, scale)


def legible(value: float, low: float, high: float, scale: Sequence) -> str:
    """Return black or white, whichever stands out more from a value's own colour.

    Parameters
    ----------
    value, low, high : float
        The value, and the ends of the scale.
    scale : sequence
        Pairs of a position from 0 to 1 and a colour.

    Returns
    -------
    str

    Examples
    --------
    >>> legible(0.3, 0, 1, SCALE), legible(0.5, 0, 1, SCALE)
    ('#FFFFFF', '#000000')
    """
    at = min(1, max(0, (value - low) / ((high - low) or 1)))
    luminance = _luminance(_rgb(sample_colorscale(scale, [at])[0]))
    return "#000000" if luminance > EQUAL else "#FFFFFF"


def _rgb(colour: str) -> tuple[int, ...]:
    found = hex_to_rgb(colour) if colour.startswith("#") else unlabel_rgb(colour)
    return tuple(round(part) for part in found)


def _mixed(colour: tuple[int, ...], other: tuple[int, ...], share: float) -> tuple[int, ...]:
    return tuple(
        round((1 - share) * one + share * two) for one, two in zip(colour, other, strict=True)
    )


def _luminance(colour: tuple[int, ...]) -> float:
    """Return the relative luminance of WCAG 2.

    Examples
    --------
    >>> _luminance((255, 255, 255)), _luminance((0, 0, 0))
    (1.0, 0.0)
    """
    parts = [part / 255 for part in colour]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def log_ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """Return where to write which numbers along a scale of logarithms to base 10.

    Examples
    --------
    >>> log_ticks(0.004, 0.06)[1]
    ['0.005', '0.01', '0.02', '0.05']
    """
    ends = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if high / low < 200 else (1,)
    ticks = [step * 10.0**power for power in range(ends[0], ends[1] + 1) for step in steps]
    ticks = [tick for tick in ticks if low <= tick * 1.001 and tick <= high * 1.001]
    return [math.log10(tick) for tick in ticks], [f"{tick:.6g}" for tick in ticks]
