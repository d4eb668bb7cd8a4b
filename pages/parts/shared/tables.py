"""Tables whose numbers have the true minus, and stay numbers: a column is sorted by its values."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from adarank_core.numerals import true_minus

if TYPE_CHECKING:  # it takes a tenth of a second to import
    from pandas.io.formats.style import Styler

__all__ = ["signed_table"]


def signed_table(
    table: pd.DataFrame, formats: Mapping[str, str] | None = None
) -> "pd.DataFrame | Styler":
    """Return a table to be drawn by ``st.dataframe``, whose own formats know the hyphen alone.

    Parameters
    ----------
    table : pandas.DataFrame
    formats : mapping of str to str, optional
        By column, how its numbers are written, as in ``str.format``. Where none is given, a column
        that holds a number below zero is written with four digits. A format in ``column_config``
        comes before these, so such a column is to have none there.

    Returns
    -------
    pandas.DataFrame or pandas.io.formats.style.Styler
        The table itself where there is nothing to write.

    Examples
    --------
    >>> table = pd.DataFrame({"pair": ["a − b"], "difference": [-0.25], "p": [0.5]})
    >>> print(signed_table(table, {"difference": "{:+.3f}"}).to_string().strip())
    pair difference p
    0 a − b −0.250 0.500000
    """
    written = {}
    for name in table:
        column = table[name]
        numeric = is_numeric_dtype(column) and not is_bool_dtype(column)
        if numeric and (name in (formats or {}) or (column < 0).any()):
            written[name] = (formats or {}).get(name, "{:,.4g}")
    if not written:
        return table
    return table.style.format(
        {name: _writer(pattern) for name, pattern in written.items()}, na_rep=""
    )


def _writer(pattern: str):
    return lambda value: true_minus(pattern.format(value))
