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
