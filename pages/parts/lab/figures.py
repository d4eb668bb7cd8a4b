"""The kinds of pictures that studies have: pure functions from rows to Plotly.

Text and grid colours are left to Streamlit's theme, so that every figure fits light and dark.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from adarank_core import numerals
from adarank_core.checks import is_number
from adarank_core.numerals import number, true_minus
from pages.parts.shared.charts import (
    GREY,
    SCALE,
    TOOL_BAR,
    WHISKERS,
    drawn,
    set_layout,
)
from pages.parts.shared.curves import LIVE
from pages.parts.shared.grids import MOST_COLUMNS, legible

__all__ = [
    "SECOND",
    "Picture",
    "across",
    "add_line",
    "agreement_picture",
    "heat",
    "log_axis",
    "matrix",
    "named",
    "panels",
    "rows_of",
    "with_error",
    "wrapped",
]

SECOND = "#E69F00"  # beside ACCENT and GREY
MOST_TICKS = 40  # rows of a picture that are all named; of more only some


@dataclass(frozen=True)
class Picture:
    """A figure, what it shows in words, and how it is to be read.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
    alt : str
    caption : str
        Empty where the figure says all.
    """

    figure: go.Figure
    alt: str
    caption: str = ""


def rows_of(
    rows: Sequence[Mapping],
    table: str | None = None,
    words: Sequence[str] = (),
    numbers: Sequence[str] = (),
    maybe: Sequence[str] = (),
) -> list[dict]:
    """Return the rows of one table that can be drawn; a file may come from anywhere.

    Parameters
    ----------
    rows : sequence of mapping
        Of a study's result.
    table : str, optional
        The one without a name if not given.
    words, numbers, maybe : sequence of str
        Keys whose values must be words, numbers, and numbers or None.

    Examples
    --------
    >>> rows = [{"arm": "uniform", "loss": 0.5}, {"arm": "adarank"}, {"arm": 1, "loss": 0.5}]
    >>> rows_of(rows, words=["arm"], numbers=["loss"])
    [{'arm': 'uniform', 'loss': 0.5}]
    """
    return [
        dict(row)
        for row in rows
        if row.get("table") == table
        and all(isinstance(row.get(key), str) for key in words)
        and all(is_number(row.get(key)) for key in numbers)
        and all(key in row and (row[key] is None or is_number(row[key])) for key in maybe)
    ]


def named(rows: Sequence[Mapping], key: str) -> list:
    """Return the values of a key, each once, in their order.

    Examples
    --------
    >>> named([{"arm": "uniform"}, {"arm": "adarank"}, {"arm": "uniform"}], "arm")
    ['uniform', 'adarank']
    """
    return list(dict.fromkeys(row[key] for row in rows))


def wrapped(name: str) -> str:
    """Return a name as Plotly is to be given it for a narrow place.

    Examples
    --------
    >>> wrapped("another <task>")
    'another<br>&lt;task&gt;'
    """
    return drawn(name).replace(" ", "<br>")


def with_error(value: float | None, error: float | None, digits: int = 2) -> str:
    """Write a value with its error, where it has one.

    Examples
    --------
    >>> with_error(0.956, 0.012), with_error(0.956, None), with_error(None, None)
    ('0.96 ± 0.01', '0.96', 'no value')
    """
    if value is None:
        return "no value"
    if is_number(error) and error:
        return numerals.with_error(value, error, 1)
    return true_minus(f"{value:z.{digits}f}")


def heat(
    across_names: Sequence[str],
    up_names: Sequence[str],
    cells: Mapping[tuple[int, int], tuple[float | None, str, str]],
    title: str,
    least: float = 0.0,
    most: float | None = None,
) -> go.Figure:
    """Draw a table of numbers as colours, the first row at the top.

    Parameters
    ----------
    across_names, up_names : sequence of str
        Of columns and rows, as Plotly is to be given them.
    cells : mapping of (int, int) to (float or None, str, str)
        By row and column: the value, what is written into the cell, and what its hover says.
    title : str
        What the colours mean, with its unit.
    least, most : float
        Ends of the colours.

    Returns
    -------
    plotly.graph_objects.Figure
    """
    rows, columns = range(len(up_names)), range(len(across_names))
    nothing = (None, "", "")
    step = -(-len(up_names) // MOST_TICKS) or 1
    few = len(columns) <= MOST_COLUMNS
    figure = go.Figure(
        go.Heatmap(
            z=[[cells.get((row, column), nothing)[0] for column in columns] for row in rows],
            text=[[cells.get((row, column), nothing)[1] for column in columns] for row in rows],
            customdata=[
                [cells.get((row, column), nothing)[2] for column in columns] for row in rows
            ],
            x=list(columns),
            y=list(rows),
            zmin=least,
            zmax=most,
            colorscale=SCALE,
            texttemplate="%{text}" if step == 1 and not few else None,
            hovertemplate="%{customdata}<extra></extra>",
            hoverongaps=False,
            xgap=2,
            ygap=2,
            colorbar={
                "title": {"text": title, "side": "right"},
                "thickness": 12,
                "outlinewidth": 0,
            },
        )
    )
    if step == 1 and few:  # Plotly's own white and grey are faint on the colours of the middle
        values = [value for value, _, _ in cells.values() if value is not None]
        high = max(values, default=1.0) if most is None else most
        written = [
            {"x": column, "y": row, "text": digits, "showarrow": False}
            | {"font": {"size": 12, "color": legible(value, least, high, SCALE)}}
            for (row, column), (value, digits, _) in cells.items()
            if value is not None and digits
        ]
        figure.update_layout(annotations=written)
    bare = {"showgrid": False, "zeroline": False, "fixedrange": True, "automargin": True}
    figure.update_xaxes(
        tickvals=list(columns),
        ticktext=list(across_names),
        range=[-0.5, len(columns) - 0.5],
        **bare,
    )
    figure.update_yaxes(
        tickvals=list(rows)[::step],
        ticktext=list(up_names)[::step],
        range=[len(rows) - 0.5, -0.5],
        **bare,
    )
    return set_layout(figure, height=max(300, 130 + 40 * min(len(up_names), 16)))


def matrix(rows: Sequence[Mapping], what: str = "modules") -> go.Figure:
    """Draw how everything agrees with everything: ``first`` × ``second``, ``spearman``.

    Parameters
    ----------
    rows : sequence of mapping
    what : str
        Whose order is compared.

    Returns
    -------
    plotly.graph_objects.Figure
    """
    names = list(dict.fromkeys([*named(rows, "first"), *named(rows, "second")]))
    apart = [row["spearman"] for row in rows if row["first"] != row["second"]]
    alike = any(value is not None and value >= 0.995 for value in apart)  # 1.00 in two digits
    digits, cells = 3 if alike else 2, {}
    for row in rows:
        value, error = row["spearman"], row.get("standard_error")
        same = row["first"] == row["second"]
        pair = f"{drawn(row['first'])} and {'other draws' if same else drawn(row['second'])}"
        words = f"{pair}:<br>Spearman {with_error(value, error, digits)}"
        written = "" if value is None else with_error(value, None, digits)
        cells[names.index(row["first"]), names.index(row["second"])] = (value, written, words)
    lowest = min((value for value, *_ in cells.values() if value is not None), default=0.0)
    title = f"Spearman correlation of the {what}"
    labels = [drawn(name) for name in names]
    columns = [wrapped(name) for name in names] if len(names) <= 8 else labels
    least = min(math.floor(10 * lowest) / 10, 0.9)  # a whole tenth, and never the top itself
    return heat(columns, labels, cells, title, least, 1.0)


def agreement_picture(
    rows: Sequence[Mapping], table: str | None, of: str = "modules"
) -> list[Picture]:
    """Draw the rows of a table of agreement, if there are any; see `matrix`."""
    rows = rows_of(rows, table, ("first", "second"), maybe=("spearman",))
    if not rows:
        return []
    return [
        Picture(
            matrix(rows, of),
            f"Spearman correlation of the {of}, everything with everything",
            "The diagonal is agreement with oneself on other draws: about the most that another "
            "can reach.",
        )
    ]


def panels(titles: Sequence[str], **more) -> go.Figure:
    """Return an empty figure of two columns of panels, with room above each for its title.

    Parameters
    ----------
    titles : sequence of str
        One a panel, of one or two lines, as Plotly is to be given them.
    **more
        Of ``make_subplots``.
    """
    rows = -(-len(titles) // 2)
    lines = 1 + any("<br>" in title for title in titles)
    high, gap, above = 160, 35 + 22 * lines, 40 + TOOL_BAR + 22 * lines
    inside = rows * high + (rows - 1) * gap
    figure = make_subplots(
        rows=rows, cols=2, subplot_titles=titles, vertical_spacing=gap / inside, **more
    )
    set_layout(figure, inside + above + 60, **LIVE)
    figure.update_annotations(font_size=13)
    return figure.update_layout(margin={"t": above})


def add_line(
    figure: go.Figure,
    rows: Sequence[Mapping],
    x: str,
    y: str,
    words: Sequence[str],
    error: tuple[str, str] | str | None = None,
    place: tuple[int, int] | None = None,
    **more,
) -> None:
    """Add a line with a marker at every row that has a value, and whiskers where it has an error.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
    rows : sequence of mapping
    x, y : str
        Keys of numbers.
    words : sequence of str
        What the hover says of each row.
    error : str, or (str, str), optional
        The key of the standard error, or those of an interval's low and high end.
    place : (int, int), optional
        Row and column of the panel.
    **more
        Of the trace: ``name``, ``line``, ``marker``, ``mode``.
    """
    known = [
        (row, said)
        for row, said in zip(rows, words, strict=True)
        if row[x] is not None and row[y] is not None
    ]
    up, down = [], []
    for row, _ in known:
        high, low = _reach(row, y, error)
        up.append(high)
        down.append(low)
    trace = go.Scatter(
        x=[row[x] for row, _ in known],
        y=[row[y] for row, _ in known],
        error_y={"array": up, "arrayminus": down, **WHISKERS} if any(up) or any(down) else None,
        customdata=[said for _, said in known],
        hovertemplate="%{customdata}<extra></extra>",
        **{"mode": "lines+markers", "marker": {"size": 7}, **more},
    )
    where = {} if place is None else {"row": place[0], "col": place[1]}
    figure.add_trace(trace, **where)


def _reach(row: Mapping, y: str, error: tuple[str, str] | str | None) -> tuple[float, float]:
    """Return how far the whiskers go up and down."""
    if isinstance(error, str):
        error = row.get(error)
        return (error, error) if is_number(error) else (0.0, 0.0)
    if error is None or not all(is_number(row.get(key)) for key in error):
        return 0.0, 0.0
    return max(0.0, row[error[1]] - row[y]), max(0.0, row[y] - row[error[0]])


def across(figure: go.Figure, value: float, name: str, xs: Sequence[float]) -> None:
    """Add a dashed line across, such as what is reached without any rank at all."""
    figure.add_trace(
        go.Scatter(
            x=[min(xs), max(xs)],
            y=[value, value],
            mode="lines",
            name=name,
            line={"color": GREY, "width": 2, "dash": "dash"},
            hovertemplate=f"{name}: {number(value)}<extra></extra>",
        )
    )


def log_axis(figure: go.Figure, title: str, values: Sequence[float], **where) -> None:
    """Make the horizontal axis logarithmic, with a tick at every value that occurs."""
    ticks = sorted({value for value in values if value and value > 0})
    figure.update_xaxes(
        title=f"{title} (logarithmic)",
        type="log",
        tickvals=ticks,
        ticktext=[f"{value:,.6g}" for value in ticks],
        zeroline=False,
        **where,
    )
