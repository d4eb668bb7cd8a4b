"""A study's panel: what was measured, as pictures, with all rows as tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import streamlit as st

from adarank_core.errors import AdaRankError, by_name
from adarank_core.files import read_json
from adarank_core.lab.study import StudyResult
from pages.parts.lab.figures import Picture
from pages.parts.lab.pictures import pictures
from pages.parts.shared import figures
from pages.parts.shared.tables import signed_table

__all__ = ["EXAMPLES", "draw_panel", "drawn_result", "read_result", "stored", "tables"]

EXAMPLES = Path(__file__).resolve().parents[3] / "assets" / "lab"
TALLEST = 300  # pixels; a longer table scrolls by itself


def read_result(path: Path) -> StudyResult | None:
    """Return the result of a study; None where there is none yet.

    Raises
    ------
    AdaRankError
        If the file cannot be read.
    """
    if not path.exists():
        return None
    try:
        return StudyResult.from_dict(read_json(path))
    except AdaRankError as error:
        raise AdaRankError(by_name(error, path)) from None


def stored(study: str) -> StudyResult | None:
    """Return the stored example of a study; None where none was made yet."""
    return read_result(EXAMPLES / f"{study}.json")


def tables(rows: Sequence[Mapping]) -> dict[str, pd.DataFrame]:
    """Lay a study's rows out, one table of each kind.

    Examples
    --------
    >>> found = tables([{"table": "losses", "loss": 0.5}, {"seconds": 1.0}])
    >>> {name: list(table) for name, table in found.items()}
    {'losses': ['loss'], 'rows': ['seconds']}
    """
    found: dict[str, list[dict]] = {}
    for row in rows:
        name = row.get("table")
        own = {key: cell for key, cell in row.items() if key != "table"}
        found.setdefault(name if isinstance(name, str) else "rows", []).append(own)
    return {name: pd.DataFrame(of_kind) for name, of_kind in found.items()}


def drawn_result(study: str, result: StudyResult | None) -> tuple[list[Picture], dict]:
    """Return the pictures and the tables of a result."""
    rows = () if result is None else result.rows
    return pictures(study, rows), tables(rows)


def draw_panel(study: str, shown: Sequence[Picture], laid_out: Mapping[str, pd.DataFrame]) -> None:
    """Draw the pictures, and below them the same numbers.

    Parameters
    ----------
    study : str
    shown, laid_out
        As `drawn_result` returns them.
    """
    for at, picture in enumerate(shown):
        key = f"lab_picture_{study}_{at}"
        figures.draw(picture.figure, key=key, alt=picture.alt)
        if picture.caption:
            st.caption(picture.caption)
    if not laid_out:
        return
    # A closed table is not sent: at every look it would cost more than all the rest.
    data = st.expander("Data", key=f"lab_data_{study}", on_change="rerun")
    if not data.open:
        return
    with data:
        for name, table in laid_out.items():
            if len(laid_out) > 1:
                st.caption(name)
            st.dataframe(
                signed_table(table),
                hide_index=True,
                width="stretch",
                height="content" if len(table) < TALLEST / 35 else TALLEST,
                alt=f"All rows of {study}",
            )
            file = f"{study}-{name}.csv"
            st.download_button(
                file,
                lambda table=table: table.to_csv(index=False),
                file,
                "text/csv",
                on_click="ignore",
                key=f"lab_csv_{study}_{name}",
            )
