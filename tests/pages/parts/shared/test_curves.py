import pandas as pd
import pytest

from adarank_core.comparison.judging import verdict_of
from pages.parts.shared.arm_styles import ARM_STYLES, arm_style
from pages.parts.shared.curves import (
    comparison_table,
    curves,
    difference_table,
    differences,
    results_table,
)


def arms(**losses):
    return {
        name: {
            "lora_parameters": 100 + (name == "adarank"),
            "allocation_seconds": 2.0,
            "ranks": {},
            "runs": [
                {"seed": seed, "test_loss": loss, "test_accuracy": 1 - loss / 2}
                for seed, loss in enumerate(values)
            ],
        }
        for name, values in losses.items()
    }


@pytest.fixture
def verdict():
    return verdict_of(
        "t",
        "m",
        arms(uniform=[0.5, 0.6, 0.7], adarank=[0.4, 0.52, 0.61], permuted=[0.5, 0.61, 0.7]),
    )


def table(*rows):
    return pd.DataFrame(rows, columns=["arm", "seed", "step", "value"])


def thick(figure):
    return {trace.name: trace for trace in figure.data if trace.name}


def test_the_mean_is_thick_and_the_seeds_are_thin():
    data = table(("uniform", 0, 5, 1.0), ("uniform", 1, 5, 2.0), ("uniform", 0, 9, 0.5))
    data = pd.concat([data, table(("uniform", 1, 9, 1.5))])
    figure = curves(data, "validation_loss", ["uniform"], 10)
    mean = thick(figure)["uniform"]
    assert list(mean.y) == [None, 1.5, 1.0]
    seeds = [trace for trace in figure.data if not trace.name]
    assert len(seeds) == 2
    assert all(seed.line.width < mean.line.width and seed.opacity > 0 for seed in seeds)
    assert "mean of 2 seeds" in mean.hovertemplate


def test_the_mean_does_not_jump_where_a_seed_is_under_way():
    data = table(("uniform", 0, 5, 1.0), ("uniform", 1, 5, 2.0), ("uniform", 0, 9, 0.5))
    mean = thick(curves(data, "validation_loss", ["uniform"], 10))["uniform"]
    assert list(mean.y) == [None, 1.0, 0.5]  # of the seed that has come that far


def test_the_axis_and_the_legend_are_there_from_the_beginning():
    figure = curves(table(), "validation_accuracy", ["uniform", "adarank"], 150)
    assert set(thick(figure)) == {"uniform", "adarank"}
    assert figure.layout.xaxis.range[1] >= 150
    assert figure.layout.yaxis.showticklabels is False
    assert "validation accuracy" in figure.layout.yaxis.title.text


def test_colours_mean_the_same_everywhere():
    figure = curves(table(("adarank", 0, 1, 1.0)), "train_loss", ["permuted", "adarank"], 10)
    assert thick(figure)["adarank"].line.color == ARM_STYLES["adarank"].colour
    assert thick(figure)["permuted"].line.dash == "dash"
    names = ["uniform", "ramp-up", "ramp-down", "mine.json"]
    assert len({arm_style(name, names) for name in names}) == 4


def test_smoothing_is_a_moving_average_and_leaves_what_was_measured_in_sight():
    data = table(("uniform", 0, 1, 1.0), ("uniform", 0, 2, 2.0), ("uniform", 0, 3, 2.0))
    figure = curves(data, "train_loss", ["uniform"], 10, smoothing=0.5)
    smooth = thick(figure)["uniform"]
    # Weights 1/2 and 1 at the second step, 1/4, 1/2 and 1 at the third.
    assert list(smooth.y[1:]) == pytest.approx([1.0, 2.5 / 1.5, 3.25 / 1.75])
    assert "smoothed" in smooth.hovertemplate
    (raw,) = [trace for trace in figure.data if not trace.name]
    assert list(raw.y) == [1.0, 2.0, 2.0] and raw.opacity < 0.5
    assert len(curves(data, "train_loss", ["uniform"], 10).data) == 1


def test_long_lines_are_thinned_and_keep_their_ends():
    data = table(*[("uniform", 0, step, float(step)) for step in range(1, 1001)])
    line = thick(curves(data, "train_loss", ["uniform"], 1000))["uniform"]
    assert 200 < len(line.x) <= 402
    assert (line.x[1], line.x[-1]) == (1, 1000)
    assert list(line.x[1:]) == list(line.y[1:])
    longer = table(*[("uniform", 0, step, float(step)) for step in range(1, 1011)])
    again = thick(curves(longer, "train_loss", ["uniform"], 1000))["uniform"]
    assert set(line.x[1:-1]) < set(again.x)  # points do not jump while the line grows


def test_differences_are_paired_by_seed(verdict):
    found = difference_table(verdict, "test_loss")
    of_adarank = found[found["pair"] == "adarank − uniform"]["difference"]
    assert list(of_adarank) == pytest.approx([-0.1, -0.08, -0.09])
    assert set(found["pair"]) == {"adarank − uniform", "permuted − uniform", "adarank − permuted"}


@pytest.mark.parametrize(("metric", "left"), [("test_loss", "better"), ("test_accuracy", "worse")])
def test_zero_is_marked_and_sides_are_named(verdict, metric, left):
    figure = differences(verdict, metric)
    low, high = figure.layout.xaxis.range
    assert low == -high  # zero in the middle
    assert [shape.x0 for shape in figure.layout.shapes] == [0]
    notes = {note.x: note.text for note in figure.layout.annotations}
    assert left in notes[0]
    bars = [trace for trace in figure.data if trace.error_x.array is not None]
    assert len(bars) == 3
    shown = next(bar for bar in bars if bar.y[0] == "adarank − uniform")
    compared = next(
        c for c in verdict.comparisons if c["metric"] == metric and c["arm"] == "adarank"
    )
    assert shown.x[0] + shown.error_x.array[0] == pytest.approx(compared["ci_high"])
    assert shown.x[0] - shown.error_x.arrayminus[0] == pytest.approx(compared["ci_low"])


def test_signs_are_the_same_in_hovers_and_tables(verdict):
    """Plotly and the browser's tables would write a hyphen."""
    figure = differences(verdict, "test_loss")
    seeds = next(trace for trace in figure.data if trace.y[0] == "adarank − uniform")
    assert [written for _, written in seeds.customdata] == ["−0.1000", "−0.0800", "−0.0900"]
    told = [trace.hovertemplate for trace in figure.data if trace.hovertemplate]
    assert any("−0.0900" in words for words in told) and not any("-0.0" in w for w in told)
    found = comparison_table(verdict, ["test_loss"])
    assert list(found)[:3] == ["pair", "verdict", "difference"]  # a narrow screen shows no more
    assert not found["interval over seeds"].str.contains("-").any()


def test_one_seed_has_no_interval():
    figure = differences(verdict_of("t", "m", arms(uniform=[0.5], adarank=[0.4])), "test_loss")
    assert len(figure.data) == 1
    assert list(figure.data[0].x) == pytest.approx([-0.1])


def test_equal_arms_can_be_drawn():
    figure = differences(verdict_of("t", "m", arms(uniform=[0.5], adarank=[0.5])), "test_loss")
    assert tuple(figure.layout.xaxis.range) == (-1.0, 1.0)


def test_the_table_tells_means_and_the_parameters_that_differ(verdict):
    found = results_table(verdict.arms, "uniform").set_index("arm")
    assert found.loc["adarank", "more than uniform"] == 1
    assert found.loc["uniform", "more than uniform"] == 0
    assert found.loc["adarank", "mean test loss"] == pytest.approx(0.51)
    assert found.loc["adarank", "seeds"] == 3


def test_the_table_has_what_the_runs_tell_and_no_empty_columns(verdict):
    assert "mean AUC" not in results_table(verdict.arms, "uniform")
    about = {"learning_rate": 0.001, "search_seconds": 60.0}
    told = {"macro_f1": 0.5, "auc": 0.9, "train_seconds": 20.0}
    rich = {
        name: {**arm, **about, "runs": [{**run, **told} for run in arm["runs"]]}
        for name, arm in verdict.arms.items()
    }
    row = results_table(rich, "uniform").set_index("arm").loc["adarank"]
    assert (row["mean macro-F1"], row["mean AUC"]) == (0.5, pytest.approx(0.9))
    assert (row["learning rate"], row["seconds of search"]) == (0.001, 60.0)
    assert row["seconds of training"] == 20.0


def test_an_arm_is_no_markup_in_a_figure():
    table = pd.DataFrame([("<b>x</b>", 0, 1, 1.5)], columns=["arm", "seed", "step", "value"])
    (trace,) = curves(table, "train_loss", ["<b>x</b>"], 10).data
    assert "<b>" not in trace.name + trace.hovertemplate
