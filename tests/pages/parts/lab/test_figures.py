from pages.parts.lab import figures


def test_whiskers_are_the_interval_and_the_error():
    rows = [{"x": 1.0, "y": 2.0, "low": 1.5, "high": 3.0, "error": 0.25}]
    figure = figures.go.Figure()
    figures.add_line(figure, rows, "x", "y", [""], ("low", "high"))
    figures.add_line(figure, rows, "x", "y", [""], "error")
    between, error = figure.data
    assert (between.error_y.array, between.error_y.arrayminus) == ((1.0,), (0.5,))
    assert (error.error_y.array, error.error_y.arrayminus) == ((0.25,), (0.25,))


def test_a_name_is_no_markup_in_a_figure():
    rows = [{"first": "<b>x</b>", "second": "%{x}", "spearman": 0.5}]
    text = figures.matrix(rows).to_json()
    assert "<b>" not in text.replace("\\u003c", "<") and '"%{x}' not in text


def test_rows_of_another_table_are_left_out():
    rows = [{"table": "losses", "loss": 0.5}, {"table": "differences", "loss": 0.1}, {"loss": 2.0}]
    assert [row["loss"] for row in figures.rows_of(rows, "losses", numbers=["loss"])] == [0.5]
    assert [row["loss"] for row in figures.rows_of(rows, numbers=["loss"])] == [2.0]


def test_what_agrees_closely_is_told_apart():
    pairs = {("a", "b"): 0.9978, ("a", "c"): 0.86}
    rows = [{"first": a, "second": b, "spearman": value} for (a, b), value in pairs.items()]
    cells = figures.matrix(rows).data[0]
    assert (cells.zmin, cells.zmax) == (0.8, 1.0)
    assert cells.text[0][1:] == ["0.998", "0.860"]
    cells = figures.matrix(rows[1:]).data[0]  # two digits are enough
    assert cells.text[0][1] == "0.86"
    assert figures.matrix([{**rows[0], "spearman": 1.0}]).data[0].zmin < 1.0


def test_digits_are_black_or_white_by_their_own_cell():
    cells = {(0, 0): (0.3, "dark", ""), (0, 1): (0.5, "middle", ""), (0, 2): (None, "", "")}
    figure = figures.heat("abc", "r", cells, "scale", 0.0, 1.0)
    colours = {one.text: one.font.color for one in figure.layout.annotations}
    assert colours == {"dark": "#FFFFFF", "middle": "#000000"}
    assert figure.data[0].texttemplate is None, "written twice"
