"""Quality against what it costs: LoRA parameters, or seconds from the start to the last step."""

import pandas as pd
import plotly.graph_objects as go

from adarank_core.comparison.arms import arm_label
from adarank_core.comparison.verdicts import METRIC_NAMES, METRICS
from pages.parts.shared.arm_styles import arm_style
from pages.parts.shared.charts import drawn, set_layout
from pages.parts.shared.curves import LIVE, UNITS

__all__ = ["COSTS", "trade_off"]

#: What an arm costs → its axis title, and how a value reads.
COSTS = {
    "parameters": ("LoRA parameters", "{:,.0f} LoRA parameters"),
    "seconds": ("seconds a seed: ranks, search and training", "{:,.0f} seconds a seed"),
}
NEAR = 0.01  # arms whose parameters are no further apart are drawn side by side
GAP = 0.03  # between them, as a share of the axis


def trade_off(table: pd.DataFrame, arms, metric: str, cost: str) -> go.Figure:
    """Draw quality over cost: a small point a seed, a large one for the mean of an arm's seeds.

    Parameters
    ----------
    table : pandas.DataFrame
        As `cost_table` returns it.
    arms : sequence of str
        All arms of the comparison, for how they are drawn.
    metric, cost : str
        As in `cost_table`.

    Returns
    -------
    plotly.graph_objects.Figure
    """
    title, words = COSTS[cost]
    name = METRIC_NAMES[metric]
    digits = ".1%" if metric == "test_accuracy" else ".4f"
    means = table.groupby("arm", sort=False)[["cost", "value"]].mean()
    low, high = _range(table["cost"])
    aside = _aside(means["cost"], GAP * (high - low)) if cost == "parameters" else {}
    figure = go.Figure()
    for arm, mean in means.iterrows():
        of_arm = table[table["arm"] == arm]
        style, label = arm_style(arm, arms), drawn(arm_label(arm))
        look = {"color": style.colour, "symbol": style.symbol}
        shift = aside.get(arm, 0.0)
        figure.add_trace(
            go.Scatter(
                x=of_arm["cost"] + shift,
                y=of_arm["value"],
                mode="markers",
                legendgroup=arm,
                showlegend=False,
                marker={"size": 8, "opacity": 0.6, **look},
                customdata=[
                    (seed, words.format(spent))
                    for seed, spent in zip(of_arm["seed"], of_arm["cost"], strict=True)
                ],
                hovertemplate=f"With seed %{{customdata[0]}}, {label} has a<br>{name} of "
                f"%{{y:{digits}}} for %{{customdata[1]}}.<extra></extra>",
            )
        )
        of = "with its one seed" if len(of_arm) == 1 else f"over {len(of_arm)} seeds"
        figure.add_trace(
            go.Scatter(
                x=[mean["cost"] + shift],
                y=[mean["value"]],
                mode="markers",
                name=label,
                legendgroup=arm,
                marker={"size": 15, **look},
                hovertemplate=f"{label} has a mean {name}<br>of %{{y:{digits}}} {of}, for "
                f"{words.format(mean['cost'])}.<extra></extra>",
            )
        )
    better = "higher" if METRICS[metric] else "lower"
    figure.update_xaxes(title=title, range=[low, high], zeroline=False, tickformat=",~r")
    figure.update_yaxes(
        title=f"{name} ({UNITS[metric]}), {better} is better",
        tickformat=".0%" if metric == "test_accuracy" else None,
    )
    return set_layout(figure, 360, **LIVE)


def _range(costs: pd.Series) -> tuple[float, float]:
    """Return an axis with room at both ends, on which a small difference looks small."""
    if costs.empty:
        return 0.0, 1.0
    low, high = costs.min(), costs.max()
    room = max(0.12 * (high - low), 0.05 * high, 1.0)
    return low - room, high + room


def _aside(costs: pd.Series, gap: float) -> dict[str, float]:
    """Return how far aside arms of nearly equal cost are drawn, so that all can be seen."""
    near: list[list[str]] = []
    for arm, cost in costs.sort_values(kind="stable").items():
        if near and cost - costs[near[-1][0]] <= NEAR * cost:
            near[-1].append(arm)
        else:
            near.append([arm])
    return {
        arm: gap * (at - (len(group) - 1) / 2) for group in near for at, arm in enumerate(group)
    }
