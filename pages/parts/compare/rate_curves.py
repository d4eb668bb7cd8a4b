"""The search for learning rates: each arm's validation loss over the rates that it was tried at."""

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from adarank_core.comparison.arms import arm_label
from adarank_core.comparison.learning_rates import SEARCH_SEEDS, at_edge, edge_notice
from adarank_core.comparison.tables import rate_table
from pages.parts.shared import figures, state
from pages.parts.shared.arm_styles import arm_style
from pages.parts.shared.charts import drawn, set_layout
from pages.parts.shared.curves import LIVE

__all__ = ["draw_rates", "rate_curves"]


def rate_curves(table: pd.DataFrame, arms) -> go.Figure:
    """Draw loss against learning rate, one line an arm, the chosen rate as a diamond.

    Parameters
    ----------
    table : pandas.DataFrame
        As `rate_table` returns it.
    arms : sequence of str
        All arms of the comparison, for how they are drawn.

    Returns
    -------
    plotly.graph_objects.Figure
    """
    figure = go.Figure()
    for arm, found in table.groupby("arm", sort=False):
        style, label = arm_style(arm, arms), drawn(arm_label(arm))
        words = f"{label} at learning rate %{{x:~g}}:<br>mean validation loss %{{y:.4f}}"
        figure.add_trace(
            go.Scatter(
                x=found["learning_rate"],
                y=found["validation_loss"],
                mode="lines+markers",
                name=label,
                legendgroup=arm,
                line=style.line(2),
                marker={"size": 8, "symbol": style.symbol},
                hovertemplate=f"{words}<extra></extra>",
            )
        )
        chosen = found[found["chosen"]]
        figure.add_trace(
            go.Scatter(
                x=chosen["learning_rate"],
                y=chosen["validation_loss"],
                mode="markers",
                legendgroup=arm,
                showlegend=False,
                marker={"size": 14, "symbol": "diamond", "color": style.colour},
                hovertemplate=f"{words}, the lowest<extra></extra>",
            )
        )
    ticks = sorted(set(table["learning_rate"]))
    figure.update_xaxes(
        title="learning rate (logarithmic)",
        type="log",
        tickvals=ticks,
        ticktext=[f"{rate:g}" for rate in ticks],
        zeroline=False,
    )
    figure.update_yaxes(title="validation loss (nats a text)")
    return set_layout(figure, 360, **LIVE)


def draw_rates(arms: dict) -> None:
    """Draw the search for learning rates, with a notice of every arm whose best is at the end.

    Parameters
    ----------
    arms : dict
        As in `Verdict`; nothing is drawn where no arm was searched for.
    """
    table = rate_table(arms)
    if table.empty:
        return
    st.header("Learning rates", anchor=False)
    for arm in at_edge(arms):
        st.warning(f"{state.plain(edge_notice(arm_label(arm)))}.", icon=":material/warning:")
    figures.draw(
        rate_curves(table, arms),
        key="compare_rate_curves",
        alt="Mean validation loss over the learning rate, one line an arm; the lowest is marked",
    )
    st.caption(
        f"The mean over {len(SEARCH_SEEDS)} seeds that no arm is tested with; a diamond marks the "
        "rate that the arm is trained with. A rate whose loss was no number has no point."
    )
    with st.expander("Data"):
        st.dataframe(
            table.assign(arm=table["arm"].map(arm_label)),
            hide_index=True,
            width="stretch",
            column_config={"learning_rate": st.column_config.NumberColumn(format="%g")},
        )
        st.download_button(
            "learning_rates.csv",
            table.to_csv(index=False),
            "learning_rates.csv",
            "text/csv",
            on_click="ignore",
            key="compare_csv_learning_rates",
        )
