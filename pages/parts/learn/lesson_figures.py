"""Figures of the Learn page: pure functions from data to Plotly.

Two modules of one family share a colour, so the first is also drawn hollow or dotted.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

from adarank_core.numerals import number, with_error
from adarank_core.scoring.scores import Scores
from pages.parts.shared.charts import (
    ACCENT,
    GREY,
    drawn,
    family_colours,
    family_label,
    module_label,
    set_layout,
)

__all__ = [
    "NoisyModule",
    "contrast",
    "energy_curve",
    "logits_plane",
    "published_scores",
    "running_means",
    "scans",
    "thin_matrices",
    "two_scores",
]

SYMBOLS = ("circle-open", "diamond")
DASHES = ("dot", "solid")


class NoisyModule(NamedTuple):
    """One module under noise, ready to draw.

    Parameters
    ----------
    label, colour : str
    values : numpy.ndarray
        Instances × 2 logits, or one distance a pair, as the figure asks.
    """

    label: str
    colour: str
    values: np.ndarray


def contrast(labels: Sequence[str], values: Sequence[float]) -> tuple[str, str, str]:
    """Return the label of the larger of two values, that of the smaller, and their ratio in words.

    Examples
    --------
    >>> contrast(["shallow", "deep"], [0.25, 2.0])
    ('deep', 'shallow', '8 times')
    """
    (low, smaller), (high, larger) = sorted(zip(values, labels, strict=True))
    ratio = high / low if low else float("inf")
    return larger, smaller, f"{ratio:.0f} times" if ratio >= 2.95 else f"{ratio:.1f} times"


def thin_matrices(in_features: int, out_features: int, rank: int) -> go.Figure:
    """Draw a module's change as the product of two thin matrices, all to one scale.

    Parameters
    ----------
    in_features, out_features : int
        The weight is out × in: as high as ``out_features``, as wide as ``in_features``.
    rank : int

    Returns
    -------
    plotly.graph_objects.Figure
    """
    gap = 0.35 * max(in_features, out_features)
    tall = in_features + gap
    flat = tall + rank + gap
    boxes = [
        ("change of W", 0, in_features, out_features, GREY),
        ("B", tall, rank, out_features, ACCENT),
        ("A", flat, in_features, rank, ACCENT),
    ]
    figure = go.Figure()
    for name, left, width, height, colour in boxes:
        figure.add_trace(
            go.Scatter(
                x=[left, left + width, left + width, left, left],
                y=[0, 0, -height, -height, 0],
                fill="toself",
                fillcolor=colour,
                # The outline keeps a matrix of one column visible.
                line={"color": colour, "width": 2},
                mode="lines",
                hoveron="fills",
                hoverinfo="text",
                text=f"{name}: {height:,} × {width:,} = {height * width:,} numbers",
                showlegend=False,
            )
        )
        figure.add_annotation(
            x=left + width / 2,
            y=0,
            text=f"<b>{name}</b><br>{height:,} × {width:,}",
            showarrow=False,
            yanchor="bottom",
            yshift=6,
        )
    for sign, x in (("=", in_features + gap / 2), ("×", tall + rank + gap / 2)):
        figure.add_annotation(x=x, y=-gap / 2, text=sign, showarrow=False, font={"size": 24})
    edge = 0.05 * max(in_features, out_features)
    # By itself Plotly widens the ranges at every change of the window, and never takes it back.
    hidden = {"visible": False, "fixedrange": True, "constrain": "domain"}
    figure.update_xaxes(range=[-4 * edge, flat + in_features + 4 * edge], **hidden)
    figure.update_yaxes(
        range=[-max(out_features, in_features) - edge, 5 * edge],
        scaleanchor="x",
        scaleratio=1,
        **hidden,
    )
    return set_layout(figure, 290, margin_t=0)


def energy_curve(kept: Sequence[float], rank: int) -> go.Figure:
    """Draw the share of a weight's energy that the best copy of each rank keeps.

    Parameters
    ----------
    kept : sequence of float
        Shares from 0 to 1 for rank 1, 2, 3, …
    rank : int
        The one to mark.

    Returns
    -------
    plotly.graph_objects.Figure
    """
    ranks = np.arange(1, len(kept) + 1)
    figure = go.Figure(
        go.Scatter(
            x=ranks,
            y=kept,
            mode="lines",
            line={"color": GREY, "width": 2.5},
            hovertemplate="The best copy of rank %{x}<br>keeps %{y:.1%} of the energy."
            "<extra></extra>",
        )
    )
    share = kept[rank - 1]
    late = rank > len(kept) / 2
    figure.add_trace(
        go.Scatter(
            x=[rank],
            y=[share],
            mode="markers+text",
            marker={"color": ACCENT, "size": 13},
            text=[f"  rank {rank}: {share:.0%}  "],
            textposition="bottom left" if late else "bottom right",
            hoverinfo="skip",
            cliponaxis=False,
        )
    )
    figure.update_xaxes(title="rank of the copy", range=[0, len(kept)], fixedrange=True)
    figure.update_yaxes(
        title="energy kept", range=[0, 1.05], tickformat=".0%", nticks=6, fixedrange=True
    )
    return set_layout(figure, 270, showlegend=False)


def logits_plane(clean: Sequence[float], modules: Sequence[NoisyModule]) -> go.Figure:
    """Draw every noisy model's two logits as a dot, and the untouched model's as a star.

    Parameters
    ----------
    clean : sequence of float
        Two logits.
    modules : sequence of NoisyModule
        At most two; the one that scatters less is drawn on top.

    Returns
    -------
    plotly.graph_objects.Figure
    """
    figure = go.Figure()
    for at, module in sorted(enumerate(modules), key=lambda each: -each[1].values.std()):
        figure.add_trace(
            go.Scatter(
                x=module.values[:, 0],
                y=module.values[:, 1],
                mode="markers",
                name=f"noise on {module.label}",
                legendrank=at,
                marker={
                    "color": module.colour,
                    "symbol": SYMBOLS[at],
                    "size": 8,
                    "opacity": 1 if at == 0 else 0.6,
                    "line": {"width": 2 if at == 0 else 0, "color": module.colour},
                },
                hovertemplate=f"With one draw of noise on {module.label},<br>the logits are "
                "%{x:.3f} and %{y:.3f}.<extra></extra>",
            )
        )
    figure.add_trace(
        go.Scatter(
            x=[clean[0]],
            y=[clean[1]],
            mode="markers",
            name="no noise",
            legendrank=len(modules),
            marker={
                "symbol": "star",
                "size": 12,
                "color": "#F0E442",
                "line": {"width": 1.5, "color": "#211F2B"},
            },
            hovertemplate="Without noise,<br>the logits are %{x:.3f} and %{y:.3f}.<extra></extra>",
        )
    )
    figure.update_xaxes(title="logit of class 1", zeroline=False)
    # One scale for both, or distances would lie.
    figure.update_yaxes(title="logit of class 2", zeroline=False, scaleanchor="x", scaleratio=1)
    return set_layout(figure, 440)


def running_means(modules: Sequence[NoisyModule], shown: int) -> go.Figure:
    """Draw mean distance against the number of pairs, with a band of one standard error.

    Parameters
    ----------
    modules : sequence of NoisyModule
        At most two; ``values`` are pairs × (mean, standard error).
    shown : int
        Pairs that have come in; the axes have room for all, so that nothing jumps.

    Returns
    -------
    plotly.graph_objects.Figure
    """
    figure = go.Figure()
    for at, module in enumerate(modules):
        pairs = np.arange(1, shown + 1)
        means, errors = module.values[:shown].T
        banded = slice(1, None)  # one pair has no error
        lower, upper = (means - errors)[banded], (means + errors)[banded]
        red, green, blue = (int(module.colour[start : start + 2], 16) for start in (1, 3, 5))
        figure.add_trace(
            go.Scatter(
                x=np.concatenate([pairs[banded], pairs[banded][::-1]]),
                y=np.concatenate([upper, lower[::-1]]),
                fill="toself",
                fillcolor=f"rgba({red},{green},{blue},0.22)",
                line={"width": 0},
                mode="lines",
                hoverinfo="skip",
                showlegend=False,
            )
        )
        words = [f"The first pair of {module.label}<br>is {number(means[0])} apart."]
        words += [
            f"After {pair} pairs, {module.label} has<br>disagreement {with_error(mean, error)}."
            for pair, mean, error in zip(pairs[banded], means[banded], errors[banded], strict=True)
        ]
        figure.add_trace(
            go.Scatter(
                x=pairs,
                y=means,
                mode="lines+markers",
                name=module.label,
                line={"color": module.colour, "width": 2.5, "dash": DASHES[at]},
                marker={"symbol": SYMBOLS[at], "size": 7},
                customdata=words,
                hovertemplate="%{customdata}<extra></extra>",
            )
        )
    # Room for every mean and band to come.
    highest = max(np.nanmax(np.nansum(module.values, axis=1)) for module in modules)
    count = len(modules[0].values)
    figure.update_xaxes(title="pairs of noisy models", range=[0.5, count + 0.5], fixedrange=True)
    figure.update_yaxes(
        title="mean distance of a pair (L1, logits)", range=[0, 1.05 * highest], fixedrange=True
    )
    return set_layout(figure, 380)


def two_scores(across: Scores, upwards: Scores, one: str, other: str) -> go.Figure:
    """Draw every module's score on one kind of text against that on another, both as powers.

    Parameters
    ----------
    across, upwards : Scores
        Of the same modules.
    one, other : str
        What the kinds of text are called.

    Returns
    -------
    plotly.graph_objects.Figure
    """
    figure = go.Figure()
    for family, colour in family_colours(across.families).items():
        pairs = [
            pair
            for pair in zip(across.modules, upwards.modules, strict=True)
            if pair[0].family == family
        ]
        figure.add_trace(
            go.Scatter(
                x=[first.score for first, _ in pairs],
                y=[second.score for _, second in pairs],
                mode="markers",
                name=drawn(family_label(family)),
                marker={"color": colour, "size": 9},
                customdata=[
                    f"{drawn(module_label(first))} scores {number(first.score)} on {one}<br>and "
                    f"{number(second.score)} on {other}."
                    for first, second in pairs
                ],
                hovertemplate="%{customdata}<extra></extra>",
            )
        )
    # Plotly's own ticks between powers of ten leave the power out.
    ticks = [digit * 10.0**power for power in range(-6, 6) for digit in (1, 2, 5)]
    shared = {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}
    for axes, name in ((figure.update_xaxes, one), (figure.update_yaxes, other)):
        axes(title=f"score on {name} (L1, logits)", fixedrange=True, **shared)
    return set_layout(figure, 440)


#: By scan: what it is called, its colour, dash and symbol.
SCANS = {
    "forward": ("no reset, first to last layer", "#E69F00", "solid", "circle"),
    "reversed": ("no reset, last to first layer", "#56B4E9", "dash", "square"),
    "reset": ("with a real reset", ACCENT, "solid", "diamond"),
}


def scans(curves: Mapping[str, Sequence[Sequence[float]]]) -> go.Figure:
    """Draw scores over depth, one line a scan, with their standard errors.

    Parameters
    ----------
    curves : mapping of str to sequence
        By a key of `SCANS`: one (score, standard error) a layer.

    Returns
    -------
    plotly.graph_objects.Figure
    """
    figure = go.Figure()
    for key, pairs in curves.items():
        name, colour, dash, symbol = SCANS[key]
        figure.add_trace(
            go.Scatter(
                x=list(range(1, len(pairs) + 1)),
                y=[score for score, _ in pairs],
                error_y={"array": [error for _, error in pairs], "thickness": 1.5, "width": 3},
                mode="lines+markers",
                name=name,
                line={"color": colour, "width": 2.5, "dash": dash},
                marker={"symbol": symbol, "size": 8},
                customdata=[with_error(*pair) for pair in pairs],
                hovertemplate=f"Layer %{{x}}, {name}:<br>%{{customdata}}.<extra></extra>",
            )
        )
    figure.update_xaxes(title="layer (1 is nearest the input)", dtick=1, fixedrange=True)
    figure.update_yaxes(title="mean move of the pooled output", rangemode="tozero", fixedrange=True)
    return set_layout(figure, 380, showlegend=True)


def published_scores(
    scores: Sequence[float], spreads: Sequence[float], ranks: Sequence[int]
) -> go.Figure:
    """Draw the published score of every layer with its spread over trials, and its rank.

    Returns
    -------
    plotly.graph_objects.Figure
    """
    figure = go.Figure(
        go.Scatter(
            x=list(range(1, len(scores) + 1)),
            y=list(scores),
            error_y={"array": list(spreads), "thickness": 2, "width": 5, "color": GREY},
            mode="markers",
            marker={"color": ACCENT, "size": 10},
            customdata=list(zip(spreads, ranks, strict=True)),
            hovertemplate="Layer %{x} scored %{y:.2f} with a deviation of<br>%{customdata[0]:.3f} "
            "over trials, and got rank %{customdata[1]}.<extra></extra>",
        )
    )
    layers = list(range(1, len(ranks) + 1))
    words = [f"{layer}<br><b>{rank}</b>" for layer, rank in zip(layers, ranks, strict=True)]
    figure.update_xaxes(title="layer, and its rank", tickvals=layers, ticktext=words)
    figure.update_xaxes(fixedrange=True)
    figure.update_yaxes(title="published score", rangemode="tozero", fixedrange=True)
    return set_layout(figure, 380, showlegend=False)
