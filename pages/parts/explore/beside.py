"""A second text source laid beside the first: what differs, and how alike the two orders are."""

from dataclasses import replace

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from adarank_core import numerals
from adarank_core.numerals import signed
from adarank_core.scoring.differences import ShareDifference, share_differences
from adarank_core.scoring.lesson import rank_correlation
from pages.parts.shared import charts, figures, grids, phrases, state
from pages.parts.shared.link import SOURCES, linked

__all__ = [
    "difference_map",
    "difference_table",
    "draw_difference",
    "finding",
    "is_beside",
    "pick_second",
    "source_words",
]

CLEAR = 2  # standard errors, from which on a cell has digits
NAMED = 3  # from which on a module is named: of 36 one alike is beyond it in one case of ten
ALIKE = ((0.95, "almost alike"), (0.8, "much alike"), (0.5, "somewhat alike"))


def pick_second(choice: state.Choice) -> state.Choice | None:
    """Draw the control for a second text source; return what is then asked for, if one is."""
    options = ["nothing", *(source for source in SOURCES if source != choice.source)]
    picked = st.selectbox(
        "Compare with",
        options,
        format_func=lambda source: "nothing" if source == "nothing" else source_words(source),
        width=190,
        help="Lays the scores of another kind of text beside these, and draws what differs.",
        **linked("against", options),
    )
    return None if picked == "nothing" else replace(choice, source=picked)


def source_words(source: str) -> str:
    """Return what people call a text source.

    Examples
    --------
    >>> source_words("task")
    'task text'
    """
    return "one sentence" if source == "sentence" else f"{source} text"


def draw_difference(first: state.Shown, second: state.Choice) -> None:
    """Draw what differs, or what has to be done first."""
    shown = state.current(second)
    one, other = source_words(first.source), source_words(second.source)
    if first.kind == "your file":
        st.caption("A file of scores has nothing laid beside it: it does not hold its texts.")
        return
    if first.stale:
        st.caption(f"Press **Score** first: what is shown of {one} is older than the settings.")
        return
    if not is_beside(first, shown):
        st.caption(f"There are no scores on {other} with these settings yet.")
        what, why = st.session_state.get("failed", (None, None))
        if what == second.asked:
            state.show_error(why)
        st.button(
            f"Score on {other} too",
            type="primary",
            key="score_second",
            on_click=lambda: st.session_state.update(score_also=second),
        )
        return
    found = share_differences(first.scores, shown.scores)
    figure = difference_map(found, one, other)
    figures.draw(
        figures.signed(figure, f"{other} less {one} · {phrases.detail(shown)}"),
        key="differences",
        alt=f"How much more of all disagreement each module has on {other} than on {one}",
    )
    st.caption(
        f"A module's share of all disagreement on {other} less that on {one}: orange has more on "
        f"{other}, blue on {one}. Digits stand where it is more than {CLEAR} standard errors."
    )


def is_beside(first: state.Shown, second: state.Shown) -> bool:
    """Tell whether two scorings are of what is asked for, and of one model's modules."""
    if any(one.stale or one.kind == "your file" for one in (first, second)):
        return False
    names = [{module.name for module in one.scores.modules} for one in (first, second)]
    return names[0] == names[1]


def finding(first: state.Shown, second: state.Shown) -> str:
    """Say how alike two scorings order the modules, and what differs most.

    Parameters
    ----------
    first, second : pages.parts.shared.state.Shown
    """
    found = share_differences(first.scores, second.scores)
    one, other = source_words(first.source), source_words(second.source)
    shares = [*zip(*((each.first, each.second) for each in found), strict=True)]
    if any(len(set(of_source)) == 1 for of_source in shares):
        return f"{one.capitalize()} and {other}: one tells no module from another"
    alike = rank_correlation(*shares)
    words = next((words for least, words in ALIKE if alike >= least), "unlike")
    said = f"{one.capitalize()} and {other} order the modules {words} (Spearman {_digits(alike)})"
    clear = [each for each in found if abs(each.errors_apart) > NAMED]
    if not clear:
        return f"{said}; no module's share clearly differs"
    most = max(clear, key=lambda each: abs(each.difference))
    more = "gains" if most.difference > 0 else "loses"
    return (
        f"{said}; {charts.module_label(most.module)} {more} most on {other}: "
        f"{100 * most.first:.1f}% of all disagreement becomes {100 * most.second:.1f}%"
    )


def _digits(alike: float) -> str:
    """Write a correlation with two digits, or with three where it would look like 1."""
    return f"{alike:.3f}" if 0.995 <= alike < 1 else f"{alike:.2f}"


def difference_map(found: tuple[ShareDifference, ...], one: str, other: str) -> go.Figure:
    """Draw differences of shares as layers × families, in percentage points.

    Parameters
    ----------
    found : tuple of ShareDifference
    one, other : str
        What people call the two text sources.
    """
    widest = max((abs(each.difference) for each in found), default=0) or 1
    cells = [
        grids.Cell(
            each.module,
            100 * each.difference,
            _points(100 * each.difference) if abs(each.errors_apart) > CLEAR else "",
            _words(each, one, other),
        )
        for each in found
    ]
    bar = "difference of shares (percentage points)"
    return grids.grid(cells, -100 * widest, 100 * widest, grids.DIVERGING, bar)


def _points(value: float) -> str:
    return signed(value, 1 if abs(value) >= 0.1 else 2)


def _words(each: ShareDifference, one: str, other: str) -> str:
    value, more = abs(100 * each.difference), "more" if each.difference > 0 else "less"
    unsure = "" if abs(each.errors_apart) > CLEAR else "<br>That is within what noise alone does."
    return (
        f"{charts.drawn(charts.module_label(each.module)).capitalize()} has "
        f"{100 * each.first:.1f}% of all disagreement on {one}<br>and {100 * each.second:.1f}% on "
        f"{other}: {numerals.with_error(value, 100 * each.error)} points {more}.{unsure}"
    )


def difference_table(first: state.Shown, second: state.Shown) -> pd.DataFrame:
    """Return the numbers of the difference map."""
    found = share_differences(first.scores, second.scores)
    return pd.DataFrame(
        {
            "module": [charts.module_label(each.module) for each in found],
            f"share on {source_words(first.source)}": [each.first for each in found],
            f"share on {source_words(second.source)}": [each.second for each in found],
            "difference": [each.difference for each in found],
            "standard error": [each.error for each in found],
            "path": [each.module.name for each in found],
        }
    )
