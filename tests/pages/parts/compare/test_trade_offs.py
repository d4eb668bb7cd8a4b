import pytest

from adarank_core.comparison.tables import cost_table
from pages.parts.compare.trade_offs import trade_off
from pages.parts.shared.arm_styles import ARM_STYLES


def arm(parameters=1000, ranks=0.0, losses=(0.5, 0.6), **more):
    runs = [
        {"seed": seed, "test_loss": loss, "test_accuracy": 1 - loss, "train_seconds": 50.0 + seed}
        for seed, loss in enumerate(losses)
    ]
    return {"lora_parameters": parameters, "allocation_seconds": ranks, "runs": runs, **more}


ARMS = {"uniform": arm(), "adarank": arm(996, 8.0, search_seconds=40.0), "head-only": arm(0)}


def test_where_nothing_is_known_nothing_is_drawn():
    assert trade_off(cost_table(ARMS, "auc", "parameters"), ARMS, "auc", "parameters").data == ()


@pytest.mark.parametrize("cost", ["parameters", "seconds"])
def test_each_arm_is_its_seeds_and_their_mean(cost):
    figure = trade_off(cost_table(ARMS, "test_loss", cost), ARMS, "test_loss", cost)
    assert len(figure.data) == 6
    means = {trace.name: trace for trace in figure.data if trace.name}
    assert means["adarank"].y[0] == pytest.approx(0.55)
    assert means["adarank"].marker.color == ARM_STYLES["adarank"].colour
    assert "over 2 seeds" in means["adarank"].hovertemplate
    seeds = next(trace for trace in figure.data if trace.legendgroup == "adarank")
    assert list(seeds.y) == [0.5, 0.6]
    assert seeds.marker.size < means["adarank"].marker.size
    assert "lower is better" in figure.layout.yaxis.title.text


def test_arms_of_nearly_equal_size_are_drawn_side_by_side_and_say_their_own():
    figure = trade_off(cost_table(ARMS, "test_loss", "parameters"), ARMS, "test_loss", "parameters")
    means = {trace.name: trace for trace in figure.data if trace.name}
    assert means["adarank"].x[0] < 996 and means["uniform"].x[0] > 1000
    assert "996 LoRA parameters" in means["adarank"].hovertemplate
    assert means["head-only"].x[0] == 0
    seconds = trade_off(cost_table(ARMS, "test_loss", "seconds"), ARMS, "test_loss", "seconds")
    assert next(trace for trace in seconds.data if trace.name == "uniform").x[0] == 50.5


def test_a_small_difference_in_size_looks_small():
    alike = {"uniform": arm(), "adarank": arm(996)}
    table = cost_table(alike, "test_accuracy", "parameters")
    low, high = trade_off(table, alike, "test_accuracy", "parameters").layout.xaxis.range
    assert high - low > 20 * 4
