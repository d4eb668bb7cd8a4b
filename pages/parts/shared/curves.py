"""Figures and tables of a comparison: pure functions from data to Plotly and pandas.

Text and grid colours are left to Streamlit's theme, so that every figure fits light and dark.
"""

import pandas as pd
import plotly.graph_objects as go

from adarank_core.comparison.arms import arm_label
from adarank_core.comparison.verdicts import METRIC_NAMES, METRICS, Verdict
from pages.parts.shared.charts import ARM_COLOURS, ARM_DASHES

__all__ = [
    "CURVES",
    "arm_colour",
    "curves",
    "difference_table",
    "differences",
    "laid_out",
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
MOST_POINTS = 400  # a line; a screen is not much wider
# For arms that have no colour of their own: muted, and readable on light and dark.
OTHER_COLOURS = ("#5B93A7", "#B0926A", "#6A9A8B", "#A8708F")


def arm_colour(arm: str, arms) -> str:
    """Return an arm's colour; arms without one of their own take muted ones in their order.

    Examples
    --------
    >>> arm_colour("ramp-up", ["uniform", "ramp-up"])
    '#5B93A7'
    """
    if arm in ARM_COLOURS:
        return ARM_COLOURS[arm]
    others = [other for other in arms if other not in ARM_COLOURS]
    return OTHER_COLOURS[others.index(arm) % len(OTHER_COLOURS)]


def curves(table: pd.DataFrame, metric: str, arms, steps: int, smoothing: float = 0.0) -> go.Figure:
    """Draw one metric over the steps: every seed thin, the mean of an arm's seeds thick.

    The mean is over the seeds that have come as far as the arm's farthest one, so that it does
    not jump where a seed that is under way ends.

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
        drawn = _thinned(values)
        points = {"x": drawn.index.to_numpy(), "y": drawn.to_numpy(), "mode": "lines"}
        traces.append({"type": "scatter", "legendgroup": arm, **points, **more})

    for arm in arms:
        of_arm = table[table["arm"] == arm]
        line = {"color": arm_colour(arm, arms), "dash": ARM_DASHES.get(arm, "solid")}
        seeds = {
            seed: pd.Series(rows["value"].to_numpy(), rows["step"].to_numpy())
            for seed, rows in of_arm.groupby("seed")
        }
        last = max((values.index[-1] for values in seeds.values()), default=0)
        far = [values for values in seeds.values() if values.index[-1] == last]
        mean = pd.concat(far).groupby(level=0).mean() if far else pd.Series(dtype=float)
        of = "one seed" if len(far) == 1 else f"mean of {len(far)} seeds"
        for seed, values in seeds.items() if len(seeds) > 1 else ():
            add(
                arm,
                _smoothed(values, smoothing),
                showlegend=False,
                opacity=0.55,
                line={**line, "width": 1.2},
                hovertemplate=f"{arm_label(arm)}, seed {seed}:<br>{what} %{{y:{digits}}} "
                "at step %{x}<extra></extra>",
            )
        if smoothing:
            thin = {**line, "width": 1}
            add(arm, mean, showlegend=False, opacity=0.25, line=thin, hoverinfo="skip")
        add(
            arm,
            _smoothed(mean, smoothing),
            mode="lines+markers" if 0 < len(mean) < 30 else "lines",
            name=arm_label(arm),
            line={**line, "width": 3},
            marker={"size": 6},
            hovertemplate=f"{arm_label(arm)}, {of}:<br>{what} %{{y:{digits}}} at step %{{x}}"
            "<extra></extra>",
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
    if table.empty:  # Plotly would invent numbers
        figure.update_yaxes(range=[0, 1], showticklabels=False, showgrid=False, zeroline=False)
    return laid_out(figure, height=400)


def _smoothed(values: pd.Series, smoothing: float) -> pd.Series:
    """Average over the steps before, the nearest most; the first steps have no bias to a start."""
    return values.ewm(alpha=1 - smoothing).mean() if smoothing and len(values) else values


def _thinned(values: pd.Series) -> pd.Series:
    """Leave out points that nobody could tell apart; which ones are kept changes seldom."""
    stride = 1
    while len(values) > MOST_POINTS * stride:
        stride *= 2
    return values if stride == 1 else pd.concat([values[:-1:stride], values[-1:]])


def difference_table(verdict: Verdict, metric: str) -> pd.DataFrame:
    """List every seed's difference between two arms that a verdict compares.

        Returns
        -------
        pandas.DataFrame
            Columns ``pair``, ``seed`` and ``difference`` (first arm minus second).

        Examples
        --------
        >>> from adarank_core.comparison.arms import arm_label
    from adarank_core.comparison.verdicts import verdict_of
        >>> runs = lambda loss: {"runs": [{"seed": 0, "test_loss": loss}]}
        >>> verdict = verdict_of("t", "m", {"uniform": runs(0.5), "adarank": runs(0.25)})
        >>> difference_table(verdict, "test_loss").values.tolist()
        [['adarank − uniform', 0, -0.25]]
    """
    rows = []
    for compared in verdict.comparisons:
        if compared["metric"] == metric:
            first, second = (verdict.arms[compared[key]]["runs"] for key in ("arm", "against"))
            rows += [
                (_pair(compared), one["seed"], one[metric] - other[metric])
                for one, other in zip(first, second, strict=True)
            ]
    return pd.DataFrame(rows, columns=["pair", "seed", "difference"])


def differences(verdict: Verdict, metric: str) -> go.Figure:
    """Draw paired differences: a circle a seed, the mean with its 95% interval, zero marked.

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
        name, colour = _pair(pair), arm_colour(pair["arm"], verdict.arms)
        of_pair = table[table["pair"] == name]
        figure.add_trace(
            go.Scatter(
                x=of_pair["difference"],
                y=of_pair["pair"],
                mode="markers",
                showlegend=False,
                marker={
                    "symbol": "circle-open",
                    "size": 11,
                    "color": colour,
                    "line": {"width": 2},
                },
                customdata=of_pair["seed"],
                hovertemplate=f"With seed %{{customdata}}, {name} is<br>%{{x:+.4f}} "
                f"({UNITS[metric]}).<extra></extra>",
            )
        )
        if pair["ci_low"] is None:  # one seed: its difference is the mean
            continue
        mean = pair["difference"]
        interval = f"<br>95% interval {pair['ci_low']:+.4f} to {pair['ci_high']:+.4f}"
        figure.add_trace(
            go.Scatter(
                x=[mean],
                y=[name],
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [pair["ci_high"] - mean],
                    "arrayminus": [mean - pair["ci_low"]],
                    "thickness": 2.5,
                    "width": 8,
                },
                mode="markers",
                showlegend=False,
                marker={"symbol": "diamond", "size": 14, "color": colour, "opacity": 0.6},
                hovertemplate=f"The mean of {name} is<br>%{{x:+.4f}} ({UNITS[metric]})."
                f"{interval}<extra></extra>",
            )
        )
    figure.add_vline(x=0, line={"color": "#8A8894", "width": 2})
    lower, higher = ("worse", "better") if METRICS[metric] else ("better", "worse")
    ends = [
        (0, "left", f"← first arm {lower}"),
        (1, "right", f"first arm {higher} →"),
    ]
    for x, anchor, text in ends:
        figure.add_annotation(
            x=x, y=1, yanchor="bottom", xref="paper", yref="paper",
            xanchor=anchor, text=text, showarrow=False,
        )  # fmt: skip
    # Zero is always in sight, and in the middle: the eye compares lengths to both sides.
    reach = [abs(d) for d in table["difference"]]
    reach += [abs(c[key]) for c in compared for key in ("ci_low", "ci_high") if c[key] is not None]
    widest = 1.12 * max(reach, default=0) or 1.0
    figure.update_xaxes(
        title=f"difference in {METRIC_NAMES[metric]} ({UNITS[metric]})",
        range=[-widest, widest],
        zeroline=False,
    )
    figure.update_yaxes(
        autorange="reversed",
        ticklabelposition="outside",
        tickvals=[_pair(pair) for pair in compared],
        ticktext=[_pair(pair).replace(" − ", "<br>− ") for pair in compared],
    )
    return laid_out(figure, height=150 + 58 * len(compared))


def results_table(arms: dict, reference: str) -> pd.DataFrame:
    """List what every arm came to: means over its seeds.

    Parameters
    ----------
    arms : dict
        As in `Verdict`, or as `finished_results` returns it.
    reference : str
        The arm that LoRA parameters are held against.

    Returns
    -------
    pandas.DataFrame
        What no run tells is left out: AUC of more than two classes, and the search for a
        learning rate where there was none.

    Examples
    --------
    >>> runs = [{"seed": 0, "test_loss": 0.5, "test_accuracy": 0.75}]
    >>> arms = {"uniform": {"lora_parameters": 9, "allocation_seconds": 0.0, "runs": runs}}
    >>> results_table(arms, "uniform").values.tolist()
    [['uniform', 0.5, 0.75, 1, 9, 0, 0.0]]
    """
    against = arms.get(reference, {}).get("lora_parameters")
    rows = []
    for arm, about in arms.items():
        found = {
            "arm": arm_label(arm),
            **{f"mean {name}": _mean(about["runs"], key) for key, name in METRIC_NAMES.items()},
            "seeds": len(about["runs"]),
            "LoRA parameters": about["lora_parameters"],
            f"more than {arm_label(reference)}": None
            if against is None
            else about["lora_parameters"] - against,
            "seconds for ranks": about["allocation_seconds"],
            "learning rate": about.get("learning_rate"),
            "seconds of search": about.get("search_seconds"),
            "seconds of training": _mean(about["runs"], "train_seconds"),
        }
        rows.append(found)
    return pd.DataFrame(rows).dropna(axis="columns", how="all")


def _mean(runs: list[dict], key: str) -> float | None:
    values = [run[key] for run in runs if run.get(key) is not None]
    return sum(values) / len(values) if values else None


def _pair(compared: dict) -> str:
    return f"{arm_label(compared['arm'])} − {arm_label(compared['against'])}"


def laid_out(figure: go.Figure, height: int) -> go.Figure:
    """Give a figure of this page its height, margins and legend."""
    return figure.update_layout(
        height=height,
        margin={"l": 10, "r": 10, "t": 40, "b": 10},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        hoverlabel={"align": "left"},
        hovermode="closest",
        uirevision="kept",  # a zoom survives the next poll
    )
