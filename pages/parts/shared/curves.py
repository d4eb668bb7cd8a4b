"""Figures and tables of a comparison: pure functions from data to Plotly and pandas.

Text and grid colours are left to Streamlit's theme, so that every figure fits light and dark.
"""

import pandas as pd
import plotly.graph_objects as go

from adarank_core.comparison import tables
from adarank_core.comparison.arms import arm_label
from adarank_core.comparison.verdicts import METRIC_NAMES, METRICS, Verdict
from adarank_core.numerals import signed
from adarank_core.runs.curves import mean_curve, seed_curves, smoothed, thinned
from pages.parts.shared.arm_styles import arm_style
from pages.parts.shared.charts import drawn, hide_scale, set_layout

__all__ = [
    "CURVES",
    "HEIGHT",
    "LIVE",
    "UNITS",
    "curves",
    "comparison_table",
    "difference_table",
    "differences",
    "results_table",
]

#: Metric of the live chart → its axis title, and how its values are written.
CURVES = {
    "validation_loss": ("validation loss (nats a text)", ".3f"),
    "validation_accuracy": ("validation accuracy (share of texts)", ".1%"),
    "train_loss": ("train loss (nats a text)", ".3f"),
}
UNITS = {
    "test_loss": "nats a text",
    "test_accuracy": "share of texts",
    "macro_f1": "from 0 to 1",
    "auc": "from 0 to 1",
}
#: Layout of figures that are drawn again while they are looked at: a zoom survives the next poll.
LIVE = {"hovermode": "closest", "uirevision": "kept"}
HEIGHT = 400  # pixels, of the curves


def curves(table: pd.DataFrame, metric: str, arms, steps: int, smoothing: float = 0.0) -> go.Figure:
    """Draw one metric over the steps: every seed thin, the mean of an arm's seeds thick.

    Parameters
    ----------
    table : pandas.DataFrame
        As `curve_table` returns it.
    metric : str
        A key of `CURVES`.
    arms : sequence of str
        All arms of the comparison, also those without a value yet.
    steps : int
        Where the axis ends, from the beginning.
    smoothing : float
        Share of an exponential moving average that a step takes over from the one before; from 0
        to below 1. Above 0 the mean as it was measured is drawn faintly too.

    Returns
    -------
    plotly.graph_objects.Figure
    """
    title, digits = CURVES[metric]
    what = title.split(" (")[0] + (", smoothed," if smoothing else "")
    traces = []  # drawn every second, and as dictionaries they cost a third

    def add(arm: str, values: pd.Series, **more) -> None:
        drawn = thinned(values)
        points = {"x": drawn.index.to_numpy(), "y": drawn.to_numpy(), "mode": "lines"}
        traces.append({"type": "scatter", "legendgroup": arm, **points, **more})

    for arm in arms:
        style = arm_style(arm, arms)
        label = drawn(arm_label(arm))
        seeds = seed_curves(table, arm)
        mean, count = mean_curve(seeds)
        of = "one seed" if count == 1 else f"mean of {count} seeds"
        for seed, values in seeds.items() if len(seeds) > 1 else ():
            add(
                arm,
                smoothed(values, smoothing),
                showlegend=False,
                opacity=0.55,
                line=style.line(1.2),
                hovertemplate=f"{label}, seed {seed}:<br>{what} %{{y:{digits}}} "
                "at step %{x}<extra></extra>",
            )
        if smoothing:
            add(arm, mean, showlegend=False, opacity=0.25, line=style.line(1), hoverinfo="skip")
        add(
            arm,
            smoothed(mean, smoothing),
            mode="lines+markers" if 0 < len(mean) < 30 else "lines",
            name=label,
            line=style.line(3),
            marker={"size": 8, "symbol": style.symbol},
            hovertemplate=f"{label}, {of}:<br>{what} %{{y:{digits}}} at step %{{x}}<extra></extra>",
        )
        # An arm without a value yet is in the legend.
        traces[-1] |= {axis: [None, *traces[-1][axis]] for axis in ("x", "y")}
    figure = go.Figure(traces)
    figure.update_xaxes(
        title="optimizer step",
        range=[0, steps * 1.02],
        dtick=1 if steps <= 10 else None,
        zeroline=False,
    )
    figure.update_yaxes(title=title, tickformat=".0%" if digits.endswith("%") else None)
    if table.empty:
        hide_scale(figure)
    return set_layout(figure, HEIGHT, **LIVE)


def difference_table(verdict: Verdict, metric: str) -> pd.DataFrame:
    """List every seed's difference between two arms that a verdict compares, for people.

    Returns
    -------
    pandas.DataFrame
        Columns ``pair``, ``seed`` and ``difference`` (first arm minus second).

    Examples
    --------
    >>> from adarank_core.comparison.judging import verdict_of
    >>> runs = lambda loss: {"runs": [{"seed": 0, "test_loss": loss}]}
    >>> verdict = verdict_of("t", "m", {"uniform": runs(0.5), "adarank": runs(0.25)})
    >>> difference_table(verdict, "test_loss").values.tolist()
    [['adarank − uniform', 0, -0.25]]
    """
    table = tables.difference_table(verdict, metric)
    table.insert(0, "pair", [pair_label(pair) for pair in table.to_dict("records")])
    return table.drop(columns=["arm", "against"])


def comparison_table(verdict: Verdict, metrics) -> pd.DataFrame:
    """List a verdict's comparisons on some metrics with both intervals, for people.

    Returns
    -------
    pandas.DataFrame
        What it is about and its verdict first. Without columns that tell nothing, such as the
        second interval where the results of every text were not kept.

    Examples
    --------
    >>> from adarank_core.comparison.judging import verdict_of
    >>> runs = lambda *losses: {"runs": [
    ...     {"seed": n, "test_loss": loss} for n, loss in enumerate(losses)]}
    >>> verdict = verdict_of("t", "m", {"uniform": runs(0.5, 0.7), "adarank": runs(0.25, 0.5)})
    >>> comparison_table(verdict, ["test_loss"])["interval over seeds"].tolist()
    ['−0.5427 to +0.0927']
    """
    table = tables.comparison_table(verdict)
    table = table[table["metric"].isin(metrics)]
    shown = pd.DataFrame({"pair": [pair_label(pair) for pair in table.to_dict("records")]})
    if len(set(metrics)) > 1:
        shown.insert(0, "metric", table["metric"].map(METRIC_NAMES).tolist())
    shown["verdict"] = table["verdict"].tolist()
    shown["difference"] = table["difference"].tolist()
    for name, of in (("interval over seeds", ""), ("over seeds and texts", "_texts")):
        if f"ci_low{of}" in table and table[f"ci_low{of}"].notna().any():
            ends = zip(table[f"ci_low{of}"], table[f"ci_high{of}"], strict=True)
            shown[name] = ["" if pd.isna(low) else _range(low, up) for low, up in ends]
    titles = {
        "p_adjusted": "p, corrected",
        "smallest_detectable": "smallest detectable",
        "seeds_needed": "seeds needed",
    }
    for name, title in titles.items():
        if name in table and table[name].notna().any():
            shown[title] = table[name].tolist()
    return shown


def differences(verdict: Verdict, metric: str) -> go.Figure:
    """Draw paired differences: a circle a seed, the mean with its interval, zero marked.

    The thick bar is the interval over seeds, the thin one that over seeds and texts.

    Parameters
    ----------
    verdict : Verdict
    metric : {"test_loss", "test_accuracy", "macro_f1", "auc"}

    Returns
    -------
    plotly.graph_objects.Figure
    """
    table = difference_table(verdict, metric)
    compared = [c for c in verdict.comparisons if c["metric"] == metric]
    figure = go.Figure()
    for pair in compared:
        name, colour = pair_label(pair), arm_style(pair["arm"], verdict.arms).colour
        of_pair = table[table["pair"] == name]
        figure.add_trace(
            go.Scatter(
                x=of_pair["difference"],
                y=of_pair["pair"].map(drawn),
                mode="markers",
                showlegend=False,
                marker={
                    "symbol": "circle-open",
                    "size": 11,
                    "color": colour,
                    "line": {"width": 2},
                },
                customdata=[
                    (seed, signed(value, 4))  # Plotly writes a hyphen for the minus
                    for seed, value in zip(of_pair["seed"], of_pair["difference"], strict=True)
                ],
                hovertemplate=f"With seed %{{customdata[0]}}, {drawn(name)} is<br>"
                f"%{{customdata[1]}} ({UNITS[metric]}).<extra></extra>",
            )
        )
        if pair.get("ci_low_texts") is not None:
            figure.add_trace(_interval(pair, colour, "_texts", {"thickness": 1, "width": 14}))
        if pair["ci_low"] is not None:  # else its only seed is the mean
            figure.add_trace(_mean_with_interval(pair, metric, colour))
    figure.add_vline(x=0, line={"color": "#8A8894", "width": 2})
    lower, higher = ("worse", "better") if METRICS[metric] else ("better", "worse")
    sides = [
        (0, "left", f"← first arm {lower}"),
        (1, "right", f"first arm {higher} →"),
    ]
    for x, anchor, text in sides:
        figure.add_annotation(
            x=x, y=1, yanchor="bottom", xref="paper", yref="paper",
            xanchor=anchor, text=text, showarrow=False,
        )  # fmt: skip
    # Zero is always in sight, and in the middle: the eye compares lengths to both sides.
    reach = [abs(d) for d in table["difference"]]
    ends = ("ci_low", "ci_high", "ci_low_texts", "ci_high_texts")
    reach += [abs(c[end]) for c in compared for end in ends if c.get(end) is not None]
    widest = 1.12 * max(reach, default=0) or 1.0
    figure.update_xaxes(
        title=f"difference in {METRIC_NAMES[metric]} ({UNITS[metric]})",
        range=[-widest, widest],
        zeroline=False,
    )
    figure.update_yaxes(
        autorange="reversed",
        ticklabelposition="outside",
        tickvals=[drawn(pair_label(pair)) for pair in compared],
        ticktext=[drawn(pair_label(pair)).replace(" − ", "<br>− ") for pair in compared],
    )
    return set_layout(figure, 150 + 58 * len(compared), **LIVE)


def _range(low: float, high: float) -> str:
    return f"{signed(low, 4)} to {signed(high, 4)}"


def _mean_with_interval(pair: dict, metric: str, colour: str) -> go.Scatter:
    level = f"{100 * pair.get('ci_level', 0.95):.6g}%"
    told = f"{level} interval {_range(pair['ci_low'], pair['ci_high'])}"
    if pair.get("ci_low_texts") is not None:
        texts = _range(pair["ci_low_texts"], pair["ci_high_texts"])
        told += f",<br>for other texts too {texts}"
    trace = _interval(pair, colour, "", {"thickness": 2.5, "width": 8})
    return trace.update(
        marker={"symbol": "diamond", "size": 14, "color": colour, "opacity": 0.6},
        hoverinfo=None,
        hovertemplate=f"The mean of {drawn(pair_label(pair))} is<br>"
        f"{signed(pair['difference'], 4)} ({UNITS[metric]}).<br>{told}<extra></extra>",
    )


def _interval(pair: dict, colour: str, of: str, bar: dict) -> go.Scatter:
    """Draw one of a comparison's intervals around its mean."""
    mean = pair["difference"]
    return go.Scatter(
        x=[mean],
        y=[drawn(pair_label(pair))],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [pair[f"ci_high{of}"] - mean],
            "arrayminus": [mean - pair[f"ci_low{of}"]],
            "color": colour,
            **bar,
        },
        mode="markers",
        showlegend=False,
        marker={"size": 1, "color": colour},
        hoverinfo="skip",
    )


def results_table(arms: dict, reference: str) -> pd.DataFrame:
    """List what every arm came to, for people.

    Parameters
    ----------
    arms, reference
        As `adarank_core.comparison.tables.arm_table` takes them.

    Returns
    -------
    pandas.DataFrame

    Examples
    --------
    >>> runs = [{"seed": 0, "test_loss": 0.5, "test_accuracy": 0.75}]
    >>> arms = {"uniform": {"lora_parameters": 9, "allocation_seconds": 0.0, "runs": runs}}
    >>> list(results_table(arms, "uniform"))[3:]
    ['seeds', 'LoRA parameters', 'more than uniform', 'seconds for ranks']
    """
    titles = {metric: f"mean {name}" for metric, name in METRIC_NAMES.items()}
    titles |= {
        "lora_parameters": "LoRA parameters",
        "more_parameters": f"more than {arm_label(reference)}",
        "allocation_seconds": "seconds for ranks",
        "learning_rate": "learning rate",
        "search_seconds": "seconds of search",
        "train_seconds": "seconds of training",
    }
    table = tables.arm_table(arms, reference).rename(columns=titles)
    return table.assign(arm=table["arm"].map(arm_label))


def pair_label(compared: dict) -> str:
    """Return what two arms that are compared are called together."""
    return f"{arm_label(compared['arm'])} − {arm_label(compared['against'])}"
