import doctest

import pandas as pd

from pages.parts.shared import tables


def test_examples():
    assert doctest.testmod(tables).failed == 0


def test_numbers_below_zero_are_written_with_the_minus_and_stay_numbers():
    table = pd.DataFrame({"a": [-1500.0, None], "b": [1.0, 2.0], "ok": [True, False]})
    drawn = tables.signed_table(table)
    assert drawn.data["a"].dtype == "float64"
    assert "−1,500" in drawn.to_html() and "nan" not in drawn.to_html()
    assert tables.signed_table(table[["b", "ok"]]) is not drawn
    assert isinstance(tables.signed_table(table[["b", "ok"]]), pd.DataFrame)  # nothing to write
