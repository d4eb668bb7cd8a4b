"""Figures of one module looked at closely: pure functions from data to Plotly, and their titles."""

from collections.abc import Mapping, Sequence
from textwrap import shorten
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from adarank_core import numerals
from adarank_core.numerals import with_error
from adarank_core.scoring.lesson import energy_kept
from adarank_core.scoring.scores import ModuleScore, Scores
from pages.parts.shared import charts, grids
from pages.parts.shared.charts import ACCENT, GREY, drawn, set_layout

if TYPE_CHECKING:  # importing it takes seconds
    from adarank_core.scoring.module_detail import ByText, Spectrum

__all__ = [
    "by_text",
    "by_text_finding",
    "reach",
    "reach_finding",
    "spectrum",
    "spectrum_finding",
]

MOST_DOTS = 150  # of a text
CLEAR = 2  # standard errors
LABEL = 26  # characters of a text beside the axis
GOLDEN = 0.618033988749895  # spreads dots evenly, however many there are


def by_text_finding(found: "ByText", texts: Sequence[str]) -> str:
    """Say which text disagrees most, or of a single text how far noisy models are apart."""
    if len(texts) == 1:
        low, high = np.quantile(found.pairs[0], [0.25, 0.75])
        mean = with_error(found.means[0], found.errors[0])
        return (
            f"Two noisy models are {mean} apart on average; half of all pairs lie between "
            f"{numerals.number(low)} and {numerals.number(high)}"
        )
    second, top = np.argsort(found.means)[-2:]
    apart = found.means[top] - found.means[second]
    if apart <= CLEAR * np.hypot(found.errors[top], found.errors[second]):
        low, high = numerals.number(min(found.means)), numerals.number(max(found.means))
        return f"No text stands out: means go from {low} to {high}, and the highest overlap"
    value = with_error(found.means[top], found.errors[top])
    times = found.means[top] / np.mean(found.means)
    quoted = shorten(texts[top], 70, placeholder="…")
    return f"“{quoted}” disagrees most: {value}, {times:.1f}× the mean of all {len(texts)}"


def by_text(found: "ByText", texts: Sequence[str]) -> go.Figure:
    """Draw the distances of all pairs of noisy models, a row a text, the largest mean on top."""
    order = np.argsort(found.means)
    figure, rows, distances, words = go.Figure(), [], [], []
    for row, at in enumerate(order):
        pairs = found.pairs[at]
        kept = pairs[np.linspace(0, len(pairs) - 1, min(len(pairs), MOST_DOTS)).astype(int)]
        rows += (row + 0.7 * ((np.arange(len(kept)) * GOLDEN) % 1 - 0.5)).tolist()
        distances += kept.tolist()
        said = _told(texts[at])
        apart = map(numerals.number, kept)
        words += [f"Two noisy models are {one} apart<br>on {said}." for one in apart]
    figure.add_scatter(
        x=distances,
        y=rows,
        mode="markers",
        name="two noisy models",
        marker={"size": 5, "color": GREY, "opacity": 0.45},
        customdata=words,
        hovertemplate="%{customdata}<extra></extra>",
    )
    figure.add_scatter(
        x=[found.means[at] for at in order],
        y=list(range(len(order))),
        mode="markers",
        name="mean of a text, with its standard error",
        marker={"size": 10, "symbol": "diamond", "color": ACCENT},
        error_x={"array": [found.errors[at] for at in order], "color": ACCENT, "width": 3},
        customdata=[
            f"On {_told(texts[at])}<br>noisy models are "
            f"{with_error(found.means[at], found.errors[at])} apart on average."
            for at in order
        ],
        hovertemplate="%{customdata}<extra></extra>",
    )
    if len(texts) > 1:
        figure.add_vline(float(np.mean(found.means)), line={"color": GREY, "dash": "dot"})
    figure.update_xaxes(title="disagreement (L1 distance of logits)", rangemode="tozero")
    figure.update_yaxes(
        tickvals=list(range(len(order))),
        ticktext=[drawn(shorten(texts[at], LABEL, placeholder="…")) for at in order],
        range=[-0.6, len(order) - 0.4],
        showgrid=False,
        zeroline=False,
    )
    return set_layout(figure, height=max(240, 110 + 26 * len(order)))


def _told(text: str) -> str:
    return f"“{drawn(shorten(text, 60, placeholder='…'))}”"


def spectrum_finding(found: "Spectrum") -> str:
    """Say how much of a weight is more than noise of its own size."""
    half = int(np.searchsorted(energy_kept(found.values), 0.5)) + 1 if found.values[0] else 0
    return (
        f"{found.above_noise} of {len(found.values)} singular values stand above noise of the "
        f"weight's own size; {half} hold{'s' * (half == 1)} half of its energy"
    )


def spectrum(found: "Spectrum") -> go.Figure:
    """Draw a weight's singular values, the largest first, with the edge of noise."""
    values, places = found.values, list(range(1, len(found.values) + 1))
    kept = energy_kept(values) if values[0] else np.zeros(len(values))
    figure = go.Figure(
        go.Scatter(
            x=places,
            y=values,
            mode="lines",
            name="the weight",
            line={"color": ACCENT, "width": 2.5},
            customdata=[
                f"Singular value {at} is {numerals.number(value)};<br>the first {at} hold "
                f"{share:.0%} of the weight's energy."
                for at, value, share in zip(places, values, kept, strict=True)
            ],
            hovertemplate="%{customdata}<extra></extra>",
        )
    )
    figure.add_scatter(
        x=[1, len(values)],
        y=[found.noise_edge] * 2,
        mode="lines",
        name="largest of noise of the same size",
        line={"color": GREY, "width": 2, "dash": "dash"},
        hoverinfo="skip",
    )
    figure.update_xaxes(title="singular value, the largest first", range=[0, len(values) + 1])
    figure.update_yaxes(title="size (in the weight's unit)", rangemode="tozero")
    return set_layout(figure, height=340)


def reach_finding(scores: Scores, reached: Mapping[str, float]) -> str:
    """Say how many modules noise on one reaches, and which of them it changes most."""
    if not reached:
        return "Its noise changes what no other scored module reads by more than rounding"
    most = max(reached, key=reached.get)
    label = charts.module_label(next(m for m in scores.modules if m.name == most))
    if len(reached) == 1:
        value = _percent(reached[most])
        return f"Its noise reaches one more module: {label}, whose input changes by {value}"
    return (
        f"Its noise reaches {len(reached)} modules, and changes the input of {label} most: "
        f"by {_percent(reached[most])}"
    )


def reach(scores: Scores, module: ModuleScore, reached: Mapping[str, float]) -> go.Figure:
    """Draw how much noise on one module changes what the others read, as layers × families."""
    label = drawn(charts.module_label(module))
    cells = [
        grids.Cell(
            one,
            100 * reached[one.name] if one.name in reached else None,
            _percent(reached[one.name]) if one.name in reached else "",
            f"Noise on {label} changes the input of<br>{drawn(charts.module_label(one))} by "
            f"{_percent(reached[one.name])}."
            if one.name in reached
            else "",
        )
        for one in scores.modules
    ]
    high = 100 * max(reached.values(), default=0.01)
    figure = grids.grid(cells, 0, high, grids.SEQUENTIAL, "change of the input (% of its size)")
    return charts.frame(figure, scores.modules, module)


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%" if share >= 0.1 else f"{100 * share:.2g}%"
