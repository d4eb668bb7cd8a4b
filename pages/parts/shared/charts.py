"""Figures of scores and ranks: pure functions from data to Plotly.

Text and grid colours are left to Streamlit's theme, so that every figure fits light and dark.
Families take their colours from the core, which draws them in reports too.
"""

import math
from collections.abc import Mapping, Sequence
from textwrap import wrap

import plotly.graph_objects as go

from adarank_core.numerals import with_error
from adarank_core.ranks.allocation import RankPlan
from adarank_core.scoring.labels import (
    FAMILY_COLOURS,
    family_colours,
    family_label,
    layer_label,
    module_label,
)
from adarank_core.scoring.scores import ModuleScore, Scores
from pages.parts.shared import grids
from pages.parts.shared.grids import SCALE
from pages.parts.shared.grids import escaped as drawn

__all__ = [
    "ACCENT",
    "FAMILY_COLOURS",
    "GREY",
    "LARGE_ERROR",
    "SCALE",
    "TOOL_BAR",
    "drawn",
    "family_colours",
    "family_label",
    "frame",
    "heatmap",
    "hide_scale",
    "layer_label",
    "make_clickable",
    "module_label",
    "profile",
    "rank_bars",
    "say_old",
    "set_layout",
]

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross")
ACCENT, GREY = "#7F63E0", "#8A8894"
WHISKERS = {"symmetric": False, "color": GREY, "thickness": 1.5, "width": 3}
DIAMOND = {"symbol": "diamond", "size": 8, "color": GREY, "line": {"color": "#FFFFFF", "width": 1}}
PIN = {**DIAMOND, "symbol": "triangle-down", "size": 11, "color": ACCENT}
CROSS = {"symbol": "x", "size": 8, "color": ACCENT}
TOOL_BAR = 30  # pixels
LARGE_ERROR = 0.25  # of the score; at three modules in four it is lower with five trials


def set_layout(figure: go.Figure, height: int, **more) -> go.Figure:
    """Give a figure its height and margins, and the legend above, where a narrow screen has room.

    Over the legend there is room for the browser's tool bar, however many lines the legend has.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
    height : int
        In pixels.
    **more
        Further keyword arguments of ``update_layout``.
    """
    return figure.update_layout(
        height=height,
        margin={"l": 10, "r": 10, "t": 40, "b": 10},
        legend={
            "orientation": "h",
            "yref": "container",
            "yanchor": "top",
            "y": 1 - TOOL_BAR / height,
            "x": 0,
        },
        hoverlabel={"align": "left"},
    ).update_layout(more)


def say_old(figure: go.Figure, words: str) -> go.Figure:
    """Write over a picture that it is not of what is asked for by now, and make it pale.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
    words : str
        As `phrases.old_words` has them; nothing is done without any.
    """
    if not words:
        return figure
    if any(trace.type == "heatmap" for trace in figure.data):
        grids.fade(figure)
    else:
        figure.update_traces(opacity=0.35)
    return figure.add_annotation(
        text="<br>".join(map(drawn, wrap(words, 40))),
        x=0.5,
        y=0.5,
        xref="paper",
        yref="paper",
        showarrow=False,
        align="center",
        font={"size": 15, "color": "#FFFFFF"},
        bgcolor="#3A3748",
        borderpad=10,
    )


def hide_scale(figure: go.Figure) -> None:
    """Draw no numbers along an axis that has none yet: Plotly would invent some."""
    figure.update_yaxes(range=[0, 1], showticklabels=False, showgrid=False, zeroline=False)


def heatmap(
    scores: Scores,
    grid: Sequence | None = None,
    log: bool = False,
    by_family: bool = False,
    all_errors: bool = False,
    picked: ModuleScore | None = None,
) -> go.Figure:
    """Draw disagreement as layers × families, the input at the bottom.

    Parameters
    ----------
    scores : Scores
        All modules, or those that are scored so far.
    grid : sequence, optional
        All modules to come, with ``layer`` and ``family``, so that the picture keeps its shape
        while it fills.
    log : bool
        Colour by the score's logarithm.
    by_family : bool
        Colour by the score over the largest of its own family.
    all_errors : bool
        A dot for every module's error, rather than a ring where it is large.
    picked : ModuleScore, optional
        Framed.

    Returns
    -------
    plotly.graph_objects.Figure
    """
    largest = {
        family: max(m.score for m in scores.modules if m.family == family) or 1
        for family in scores.families
    }
    values = {m.name: m.score / (largest[m.family] if by_family else 1) for m in scores.modules}
    unit = "share of its family's largest" if by_family else "disagreement (L1 distance of logits)"
    low, high, ticks = 0.0, max(values.values(), default=1) or 1, None
    if log and any(values.values()):
        low = min(value for value in values.values() if value)
        ticks = grids.log_ticks(low, high)
        low, high = math.log10(low), math.log10(high)
        values = {name: math.log10(value) if value else low for name, value in values.items()}
    cells = [grids.Cell(place) for place in grid or ()]
    cells += [
        grids.Cell(m, values[m.name], f"{m.score:#.2g}".rstrip("."), _score_sentence(m))
        for m in scores.modules
    ]
    figure = grids.grid(cells, low, high, grids.SEQUENTIAL, unit, ticks)
    families = list(dict.fromkeys(cell.place.family for cell in cells))
    layers = sorted({cell.place.layer for cell in cells})
    errors = _all_errors if all_errors else _large_errors
    figure.add_trace(errors(scores, layers, families))
    if figure.data[-1].showlegend:
        grids.add_legend(figure)
    return figure if picked is None else frame(figure, scores.modules, picked)


def frame(figure: go.Figure, modules: Sequence[ModuleScore], picked: ModuleScore) -> go.Figure:
    """Draw a frame round one module's cell.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
        Of `grids.grid`.
    modules : sequence of ModuleScore
        All that are drawn.
    picked : ModuleScore
    """
    row = sorted({module.layer for module in modules}).index(picked.layer)
    column = list(dict.fromkeys(module.family for module in modules)).index(picked.family)
    sides = {"x0": column - 0.5, "x1": column + 0.5, "y0": row - 0.5, "y1": row + 0.5}
    return figure.add_shape(type="rect", line={"color": ACCENT, "width": 3}, **sides)


def make_clickable(figure: go.Figure, scores: Scores) -> None:
    """Lay a point that is not seen over every cell: clicks on cells themselves are not reported.

    The points stand in the order of ``scores.modules``.
    """
    layers = sorted({module.layer for module in scores.modules})
    families = scores.families
    unseen = {"marker": {"opacity": 0}}
    figure.add_scatter(
        x=[families.index(module.family) for module in scores.modules],
        y=[layers.index(module.layer) for module in scores.modules],
        mode="markers",
        marker={"symbol": "square", "size": 34, "opacity": 0},
        selected=unseen,
        unselected=unseen,
        showlegend=False,
        customdata=[_score_sentence(module) for module in scores.modules],
        hovertemplate="%{customdata}<extra></extra>",
    )
    figure.update_traces(selector={"hoverinfo": "skip"}, unselected={"marker": {"opacity": 1}})


def _large_errors(scores: Scores, layers: list[int], families: list[str]) -> go.Scatter:
    """Mark the cells whose error is large with a ring."""
    unsure = [m for m in scores.modules if m.standard_error > LARGE_ERROR * m.score]
    return _corners(
        unsure,
        layers,
        families,
        name=f"error above {LARGE_ERROR:.0%} of the score",
        marker={"size": 9, "color": "#FFFFFF", "line": {"color": "#D55E00", "width": 2.5}},
    )


def _all_errors(scores: Scores, layers: list[int], families: list[str]) -> go.Scatter:
    """Draw every cell's error as a dot, whose width is its share of the score."""
    shares = [m.standard_error / m.score if m.score else 0.0 for m in scores.modules]
    sizes = [2 + 12 * min(1, share / LARGE_ERROR) for share in shares]
    line = {"color": "#D55E00", "width": 1.5}
    return _corners(
        scores.modules,
        layers,
        families,
        name=f"width: error, up to {LARGE_ERROR:.0%} of the score",
        marker={"size": sizes, "color": "#FFFFFF", "line": line},
    )


def _corners(modules, layers, families, **more) -> go.Scatter:
    return go.Scatter(
        x=[families.index(module.family) + 0.38 for module in modules],
        y=[layers.index(module.layer) + 0.3 for module in modules],
        mode="markers",
        showlegend=bool(modules),
        hoverinfo="skip",
        **more,
    )


def profile(scores: Scores, log: bool = False) -> go.Figure:
    """Draw disagreement over depth, one line a family, with a band of one standard error.

    Parameters
    ----------
    scores : Scores
    log : bool
        On a logarithmic axis, where a band ends at a hundredth of its score.
    """
    colours = family_colours(scores.families)
    figure = go.Figure()
    for at, family in enumerate(scores.families):
        modules = sorted(
            (module for module in scores.modules if module.family == family),
            key=lambda module: module.layer,
        )
        layers = [module.layer + 1 for module in modules]
        upper = [module.score + module.standard_error for module in modules]
        least = 0.01 if log else 0.0
        lower = [max(least * m.score, m.score - m.standard_error) for m in modules]
        shared = {"legendgroup": family, "mode": "lines"}
        figure.add_trace(
            go.Scatter(
                x=[*layers, *reversed(layers)],
                y=[*upper, *reversed(lower)],
                fill="toself",
                fillcolor=_see_through(colours[family]),
                line={"width": 0},
                hoverinfo="skip",
                showlegend=False,
                **shared,
            )
        )
        figure.add_trace(
            go.Scatter(
                x=layers,
                y=[module.score for module in modules],
                name=drawn(family_label(family)),
                line={"color": colours[family], "width": 2.5},
                marker={"symbol": SYMBOLS[at % len(SYMBOLS)], "size": 8},
                customdata=[_score_sentence(module) for module in modules],
                hovertemplate="%{customdata}<extra></extra>",
                **{**shared, "mode": "lines+markers"},
            )
        )
    figure.update_xaxes(title="layer (1 is nearest the input)", dtick=_tick_step(scores.modules))
    figure.update_yaxes(title="disagreement (L1 distance of logits)", rangemode="tozero")
    if log:
        figure.update_yaxes(type="log", rangemode="normal")
    return set_layout(figure, height=420)


def rank_bars(
    scores: Scores,
    plan: RankPlan,
    uniform: float,
    intervals: Mapping[str, tuple[int, int]] | None = None,
    beside: tuple[str, Mapping[str, int]] | None = None,
    by_rank: bool = False,
) -> go.Figure:
    """Draw one bar a module, with the uniform rank as a line across.

    Parameters
    ----------
    scores : Scores
        Tell each module's layer and family.
    plan : RankPlan
        What its budget calls pinned or excluded is marked.
    uniform : float
        The rank that uniform LoRA of the same budget gives every module.
    intervals : mapping of str to (int, int), optional
        By module, the lowest and highest rank that the scores' errors allow: drawn as whiskers.
    beside : (str, mapping of str to int), optional
        Another plan's name and ranks of the same modules, drawn as grey diamonds.
    by_rank : bool
        The largest rank first, rather than grouped by layer.

    Returns
    -------
    plotly.graph_objects.Figure
    """
    places, width, (first, last) = _bar_places(scores, plan, by_rank)
    colours = family_colours(scores.families)
    figure = go.Figure()
    for family in scores.families:
        modules = [module for module in scores.modules if module.family == family]
        ranks = [plan.ranks[module.name] for module in modules]
        spans = [intervals[m.name] for m in modules] if intervals else []
        up = [high - rank for (_, high), rank in zip(spans, ranks, strict=False)]
        down = [rank - low for (low, _), rank in zip(spans, ranks, strict=False)]
        figure.add_trace(
            go.Bar(
                x=[places[module.name] for module in modules],
                y=ranks,
                width=width * 0.92,
                name=drawn(family_label(family)),
                marker={"color": colours[family]},
                error_y={"array": up, "arrayminus": down, **WHISKERS},
                customdata=[_rank_sentence(m, plan, uniform, intervals, beside) for m in modules],
                hovertemplate="%{customdata}<extra></extra>",
            )
        )
    figure.add_trace(
        go.Scatter(
            x=[first, last],
            y=[uniform, uniform],
            mode="lines",
            name=f"uniform: {uniform:.3g}",
            line={"color": GREY, "width": 2},
            hoverinfo="skip",
        )
    )
    for key, name, marker in (("pinned", "pinned", PIN), ("excluded", "left out", CROSS)):
        marked = [module for module in plan.budget.get(key, ()) if module in places]
        if marked:
            figure.add_trace(
                go.Scatter(
                    x=[places[module] for module in marked],
                    y=[plan.ranks[module] for module in marked],
                    mode="markers",
                    name=name,
                    marker=marker,
                    hoverinfo="skip",
                )
            )
    if beside is not None:
        figure.add_trace(
            go.Scatter(
                x=[places[name] for name in beside[1]],
                y=list(beside[1].values()),
                mode="markers",
                name=beside[0],
                marker=DIAMOND,
                hoverinfo="skip",
            )
        )
    title = "modules, the largest rank first" if by_rank else "layer (1 is nearest the input)"
    figure.update_layout(barmode="overlay")
    figure.update_xaxes(title=title, range=[first, last], showticklabels=not by_rank)
    figure.update_xaxes(dtick=_tick_step(scores.modules))
    figure.update_yaxes(title="LoRA rank", rangemode="tozero")
    return set_layout(figure, height=420)


def _bar_places(
    scores: Scores, plan: RankPlan, by_rank: bool
) -> tuple[dict[str, float], float, tuple[float, float]]:
    """Return where every module's bar stands, how wide one is, and where the axis ends."""
    if by_rank:
        names = sorted(plan.ranks, key=lambda name: -plan.ranks[name])
        places = {name: at for at, name in enumerate(names, 1)}
        return places, 0.8, (0.5, len(places) + 0.5)
    # Places are our own, as Plotly's groups would not tell where a diamond belongs.
    layers: dict[int, list[str]] = {}
    for module in scores.modules:
        layers.setdefault(module.layer, []).append(module.name)
    width = 0.82 / max(map(len, layers.values()))
    places = {
        name: layer + 1 + (at - (len(names) - 1) / 2) * width
        for layer, names in layers.items()
        for at, name in enumerate(names)
    }
    return places, width, (min(layers) + 0.5, max(layers) + 1.5)


def _rank_sentence(module: ModuleScore, plan, uniform, intervals, beside) -> str:
    """Return what a bar's hover says."""
    words = f"{drawn(module_label(module).capitalize())} gets rank {plan.ranks[module.name]},<br>"
    words += f"uniform LoRA would give it {uniform:.3g}."
    if module.name in plan.budget.get("pinned", ()):
        words += "<br>It is pinned."
    elif module.name in plan.budget.get("excluded", ()):
        words += "<br>It is left out."
    elif intervals:
        low, high = intervals[module.name]
        words += "<br>It is settled." if low == high else f"<br>It may be {low} to {high}."
    if beside is not None:
        words += f"<br>Laid beside: rank {beside[1][module.name]}."
    return f"{words}<br><i>{drawn(module.name)}</i>"


def _score_sentence(module: ModuleScore) -> str:
    """Return what a module's hover says."""
    share = module.standard_error / module.score if module.score else 0
    unsure = f"<br>The error is {share:.0%} of it: take more trials." if share > LARGE_ERROR else ""
    return (
        f"Noise on {drawn(module_label(module))} drives the logits<br>"
        f"{with_error(module.score, module.standard_error)} apart.{unsure}"
        f"<br><i>{drawn(module.name)}</i>"
    )


def _tick_step(modules: Sequence[ModuleScore]) -> int:
    return 1 if len({module.layer for module in modules}) <= 16 else 4


def _see_through(colour: str) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"
