"""What a comparison's verdict says on the page: sentences, pictures and numbers, primary first."""

import streamlit as st

from adarank_core.comparison.arms import arm_label
from adarank_core.comparison.sentences import describe, of_interest, why_no_verdict, word_of
from adarank_core.comparison.verdicts import (
    FEWEST_SEEDS,
    METRIC_NAMES,
    ONE_SEED,
    Verdict,
)
from pages.parts.shared import curves, figures, state
from pages.parts.shared.link import linked
from pages.parts.shared.tables import signed_table

__all__ = [
    "METRICS",
    "draw_comparisons",
    "draw_data",
    "draw_differences",
    "draw_numbers",
    "draw_secondary",
]

METRICS = {
    "test_loss": "Test loss",
    "test_accuracy": "Test accuracy",
    "macro_f1": "Macro-F1",
    "auc": "AUC",
}


def draw_comparisons(verdict: Verdict, offered: bool = False) -> None:
    """Say what the verdict is on every arm, by what it is judged, and how often it was read.

    Parameters
    ----------
    verdict : Verdict
    offered : bool
        Whether more seeds than the only one are offered below, which says why there is no verdict.
    """
    for one in verdict.primary:
        st.markdown(_sentence(one, verdict))
    for arm, why in verdict.failed.items():
        st.markdown(f"**{state.plain(arm_label(arm))}** is not compared: {state.plain(why)}")
    why = why_no_verdict(verdict)
    if why and (verdict.nobody_learned or not offered):
        st.info(state.plain(why), icon=":material/info:")
    if verdict.exploratory:
        st.warning(state.plain(_looks(verdict)), icon=":material/visibility:")
    st.caption(state.plain(_terms(verdict)))
    words = {(one["arm"], one["against"]): word_of(one, verdict) for one in verdict.primary}
    if words.get(("adarank", "uniform")) == "better" and "permuted" not in verdict.arms:
        st.caption(
            "Better than uniform alone does not show that the right modules got the ranks: "
            "compare with the arm **permuted** too."
        )


def _terms(verdict: Verdict) -> str:
    """Say by what is judged, and what difference would be of interest."""
    said = f"Judged by {METRIC_NAMES[verdict.primary_metric]}, the primary metric"
    if verdict.smallest_of_interest is None:
        return f"{said}.{_how_to_know(verdict) if verdict.seeds >= FEWEST_SEEDS else ''}"
    return f"{said}; {of_interest(verdict)}."


def _how_to_know(verdict: Verdict) -> str:
    """Say what would tell which difference matters."""
    missing = [arm for arm in ("uniform", "head-only") if arm not in verdict.arms]
    how = f"Add the arm{'s'[: len(missing) - 1]} {' and '.join(missing)}, or set"
    if not missing:
        how = "The arm uniform gains nothing over head-only: set"
    return (
        f" What difference would matter is not known. {how} the smallest difference of interest "
        "under More."
    )


def _looks(verdict: Verdict) -> str:
    """Say why a verdict is exploratory, and what would make one that is not."""
    planned = len(verdict.planned_seeds)
    return (
        f"Exploratory: this is look {len(verdict.looks)} at the comparison, which was planned with "
        f"{planned} seed{'s'[: planned != 1]}. Seeds, arms or the smallest difference of interest "
        "were changed after a verdict had been read. It is decided at a level of "
        f"{100 * verdict.level:.3g}%, and its intervals are as wide, so that all looks together "
        "find what is not there in less than 7 of 100 comparisons. A new comparison with all seeds "
        "from the start would confirm it."
    )


def draw_differences(verdict: Verdict, metric: str) -> None:
    """Draw every seed's difference in a metric.

    Parameters
    ----------
    verdict : Verdict
    metric : str
    """
    figures.draw(
        curves.differences(verdict, metric),
        key=f"compare_differences_{metric}",
        alt="Difference between two arms with every seed, its mean and interval; zero marked",
    )
    compared = verdict.of_metric(metric)
    said = "The difference with the only seed; without a second one there is no interval."
    if verdict.seeds > 1:
        said = (
            "A circle is the difference with one seed, the diamond their mean with its "
            f"{100 * (1 - verdict.level):.6g}% interval. An interval that holds zero decides "
            "nothing."
        )
        if metric == verdict.primary_metric and len(compared) > 1:
            said += (
                f" One that does not may decide nothing either: {len(compared)} comparisons are "
                "read together, and the verdict is corrected for that (Holm), the intervals are "
                "not."
            )
    if any(one.get("ci_low_texts") is not None for one in compared):
        said += (
            " The thick bar is for other seeds on the same test texts, the thin one for other test "
            "texts too."
        )
    st.caption(said)


def draw_numbers(verdict: Verdict, metric: str) -> None:
    """Draw the differences in a metric as numbers with both intervals, and every seed's, folded.

    Parameters
    ----------
    verdict : Verdict
    metric : str
    """
    if verdict.seeds > 1:
        st.dataframe(
            signed_table(curves.comparison_table(verdict, [metric]), {"difference": "{:+.4f}"}),
            hide_index=True,
            width="stretch",
            column_config=_number_columns(),
            alt="Differences with both of their intervals",
        )
    draw_data(curves.difference_table(verdict, metric), metric)


def _number_columns() -> dict:
    number = st.column_config.NumberColumn
    return {
        "pair": st.column_config.TextColumn(pinned=True),
        "interval over seeds": st.column_config.TextColumn("for other seeds"),
        "over seeds and texts": st.column_config.TextColumn("for other texts too"),
        "p, corrected": number(
            format="%.2g", help="Holm's correction, for all comparisons that are read."
        ),
        "smallest detectable": number(
            format="%.4f",
            help="Found by this many seeds in four of five comparisons, at the corrected level.",
        ),
        "seeds needed": number(
            format="localized",
            help="To find the smallest difference of interest in four of five comparisons, as much "
            "as the seeds differ here.",
        ),
    }


def draw_secondary(verdict: Verdict) -> None:
    """Draw one of the metrics about which nothing is claimed, if it is asked for.

    Parameters
    ----------
    verdict : Verdict
    """
    others = [m for m in METRICS if m != verdict.primary_metric and verdict.of_metric(m)]
    if not others:
        return
    metric = st.segmented_control(
        "Secondary metrics",
        others,
        format_func=METRICS.get,
        help="Nothing is claimed about them: the verdict is about the primary metric alone.",
        **linked("secondary", [None, *others]),
    )
    if metric is None:
        return
    with st.container(border=True):
        st.caption("Nothing is claimed about it: the verdict is about the primary metric alone.")
        for one in verdict.of_metric(metric):
            st.markdown(_sentence(one, verdict))
        draw_differences(verdict, metric)
        draw_numbers(verdict, metric)


def _sentence(compared: dict, verdict: Verdict) -> str:
    """Write a comparison as Markdown, with the verdict's word in bold."""
    mark = f": {word_of(compared, verdict)}"
    said = describe(compared, verdict, arm_label)
    said = said.removesuffix(f", and {ONE_SEED}")  # said once, of all arms
    before, word, after = said.rpartition(mark) if mark in said else (said, "", "")
    bold = f": **{word.removeprefix(': ')}**" if word else ""
    return f"{state.plain(before)}{bold}{state.plain(after)}."


def draw_data(table, name: str) -> None:
    """Draw a figure's table twin, to look at and to download.

    Parameters
    ----------
    table : pandas.DataFrame
    name : str
        Of the file, without its ending.
    """
    with st.expander("Data"):
        st.dataframe(signed_table(table), hide_index=True, width="stretch")
        st.download_button(
            f"{name}.csv",
            table.to_csv(index=False),
            f"{name}.csv",
            "text/csv",
            on_click="ignore",
            key=f"compare_csv_{name}",
        )
