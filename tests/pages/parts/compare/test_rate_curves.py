"""The picture of the search for learning rates: what is drawn is what was measured."""

import math

from adarank_core.comparison.tables import rate_table
from pages.parts.compare.rate_curves import rate_curves


def searched(best, losses):
    by_rate = {str(rate): loss for rate, loss in losses.items()}
    each = {rate: {"7": loss, "8": loss} for rate, loss in by_rate.items()}
    return {
        "learning_rate": best,
        "validation_loss": by_rate,
        "validation_loss_by_seed": each,
    }


def test_every_arm_is_a_line_with_its_chosen_rate_marked():
    arms = {
        "uniform": searched(0.01, {0.005: 0.7, 0.01: 0.6, 0.02: None}),
        "adarank": searched(0.005, {0.005: 0.5, 0.01: 0.6}),
        "head-only": {},  # as of an older version
    }
    figure = rate_curves(rate_table(arms), list(arms))
    lines = {trace.name: trace for trace in figure.data if trace.name}
    assert list(lines) == ["uniform", "adarank"]
    assert list(lines["uniform"].x) == [0.005, 0.01, 0.02]
    assert list(lines["uniform"].y)[:2] == [0.7, 0.6] and math.isnan(lines["uniform"].y[2])
    marks = {trace.legendgroup: trace for trace in figure.data if not trace.name}
    assert (list(marks["uniform"].x), list(marks["uniform"].y)) == ([0.01], [0.6])
    assert (list(marks["adarank"].x), list(marks["adarank"].y)) == ([0.005], [0.5])
    assert figure.layout.xaxis.type == "log"
    assert rate_table({"uniform": {}}).empty
