import pytest

from adarank_core.comparison.judging import verdict_of
from adarank_core.comparison.tables import (
    arm_table,
    cost_table,
    difference_table,
    mean_over_runs,
    parameter_range,
)


def arm(parameters=1000, ranks=0.0, losses=(0.5, 0.6), **more):
    runs = [
        {"seed": seed, "test_loss": loss, "test_accuracy": 1 - loss, "train_seconds": 50.0 + seed}
        for seed, loss in enumerate(losses)
    ]
    return {"lora_parameters": parameters, "allocation_seconds": ranks, "runs": runs, **more}


ARMS = {"uniform": arm(), "adarank": arm(996, 8.0, search_seconds=40.0), "head-only": arm(0)}


def test_seconds_are_those_for_ranks_the_share_of_the_search_and_training():
    found = cost_table(ARMS, "test_loss", "seconds")
    costs = found[found["arm"] == "adarank"]["cost"]
    assert list(costs) == [50 + 8 + 20, 51 + 8 + 20]
    assert list(found[found["arm"] == "uniform"]["cost"]) == [50, 51]


def test_costs_that_are_not_known_are_left_out():
    old = {"uniform": arm()}
    for run in old["uniform"]["runs"]:
        del run["train_seconds"]
    assert cost_table(old, "test_loss", "seconds").empty
    assert cost_table(old, "auc", "parameters").empty


def test_full_fine_tuning_has_no_lora_parameters_to_be_drawn_at():
    arms = {**ARMS, "full": arm(0)}
    assert "full" not in set(cost_table(arms, "test_loss", "parameters")["arm"])
    assert "full" in set(cost_table(arms, "test_loss", "seconds")["arm"])


def test_means_are_over_the_runs_that_tell():
    runs = [{"auc": 0.5}, {"auc": None}, {}, {"auc": 0.75}]
    assert mean_over_runs(runs, "auc") == 0.625
    assert mean_over_runs(runs, "test_loss") is None and mean_over_runs([], "auc") is None


def test_an_arm_has_its_means_and_the_parameters_that_differ():
    found = arm_table(ARMS, "uniform").set_index("arm")
    assert found.loc["adarank", "more_parameters"] == -4
    assert found.loc["uniform", "more_parameters"] == 0
    assert found.loc["adarank", "test_loss"] == pytest.approx(0.55)
    assert found.loc["adarank", "train_seconds"] == 50.5
    assert found.loc["adarank", "search_seconds"] == 40
    assert list(found["seeds"]) == [2, 2, 2]


def test_what_no_arm_tells_is_no_column():
    found = arm_table({"adarank": arm()}, "uniform")
    assert list(found) == [
        *("arm", "test_loss", "test_accuracy", "seeds", "lora_parameters"),
        *("allocation_seconds", "train_seconds"),
    ]


def test_differences_are_paired_by_seed():
    arms = {"uniform": arm(losses=(0.5, 0.6)), "adarank": arm(losses=(0.4, 0.52))}
    verdict = verdict_of("t", "m", arms)
    found = difference_table(verdict, "test_loss")
    assert list(found["difference"]) == pytest.approx([-0.1, -0.08])
    assert found[["arm", "against", "seed"]].values.tolist() == [
        ["adarank", "uniform", 0],
        ["adarank", "uniform", 1],
    ]
    assert list(difference_table(verdict, "test_accuracy")["difference"]) == pytest.approx(
        [0.1, 0.08]
    )
    assert difference_table(verdict, "auc").empty


def test_the_range_of_parameters_leaves_out_arms_without_lora():
    counts = {"uniform": 1024, "plans/mine.json": 1016, "full": 10**6, "head-only": 0}
    arms = {arm: {"lora_parameters": count} for arm, count in counts.items()}
    assert parameter_range(arms) == (1016, 1024)
    assert parameter_range({}) == (0, 0)
