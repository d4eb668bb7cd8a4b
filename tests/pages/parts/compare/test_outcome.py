from pathlib import Path

import pytest

from adarank_core.comparison.judging import Declared, verdict_of
from adarank_core.runs import jobs
from adarank_core.runs.jobs import Run
from pages.parts.compare.outcome import ALIVE, fairness, headline

SETTINGS = {"steps": 10, "batch_size": 32, "learning_rate": 0.005}
CONFIG = {"task": "docstrings", "settings": SETTINGS}


def size(parameters):
    return {"lora_parameters": parameters}


def verdict(smallest=None, **losses):
    arms = {
        arm: {"runs": [{"seed": seed, "test_loss": loss} for seed, loss in enumerate(values)]}
        for arm, values in losses.items()
    }
    declared = Declared(smallest_of_interest=smallest)
    return verdict_of("docstrings", "embedded", arms, declared=declared)


@pytest.mark.parametrize(
    ("state", "config", "title"),
    [
        ("queued", CONFIG, "A comparison waits for its turn"),
        ("starting", {}, "A comparison is starting"),
        ("running", CONFIG, "Training on docstrings, side by side"),
        ("failed", CONFIG, "The comparison failed"),
        ("interrupted", CONFIG, "The comparison is unfinished"),
    ],
)
def test_without_a_verdict_the_title_says_how_the_run_stands(state, config, title):
    assert headline(Run(Path("run"), config, state), None) == title
    assert ALIVE is jobs.ALIVE


@pytest.mark.parametrize(
    ("losses", "title"),
    [
        ({"uniform": [0.5]}, "One arm alone on docstrings: nothing to compare"),
        ({"uniform": [0.5], "adarank": [0.4]}, "one seed cannot tell adarank from uniform"),
        (
            {"uniform": [0.5, 0.6, 0.7], "ramp-up": [0.4, 0.51, 0.6]},
            "On docstrings, ramp-up is better than uniform over 3 seeds",
        ),
        (
            {"uniform": [0.5, 0.6, 0.7], "adarank": [0.6, 0.7, 0.4]},
            "3 seeds detect no difference between adarank and uniform",
        ),
        (
            {"uniform": [0.5, 0.6, 0.7], "adarank": [0.5001, 0.6002, 0.6999], "smallest": 0.1},
            "adarank or uniform makes no practical difference over 3 seeds",
        ),
    ],
)
def test_the_title_is_the_finding(losses, title):
    assert headline(Run(Path("run"), CONFIG, "finished"), verdict(**losses)).endswith(title)


def test_parameters_that_differ_are_told_with_their_residual():
    arms = {"uniform": size(1000), "my_plan.json": size(990), "full": size(0)}
    budgets = {"uniform": 0, "my_plan.json": 10, "full": 1000}
    events = [
        {"event": "plan", "arm": arm, "seed": 0, "budget": {}, "residual": residual}
        for arm, residual in budgets.items()
    ]
    said = fairness(CONFIG, events, arms).splitlines()[0]
    assert "990 to 1,000, at most 1.00% apart" in said  # full has none to be equal in
    assert r"Against the budget: own ranks \(my\_plan\) 10 short." in said
    assert "hundredth" in fairness(CONFIG, events, arms)


def test_the_learning_rate_is_one_for_all_or_a_grid_that_is_counted():
    one = fairness(CONFIG, [], {"uniform": size(1)})
    assert "0.005 for all" in one and "grid" not in one
    grid = fairness({**CONFIG, "learning_rates": [0.001, 0.02]}, [], {"uniform": size(1)})
    assert "same grid for all, 0.001, 0.02" in grid and "counts in its seconds" in grid
    auto = fairness({**CONFIG, "learning_rates": "auto"}, [], {"uniform": size(1)})
    assert "factor of 2 around 0.005" in auto and "counts in its seconds" in auto


def test_alpha_and_what_is_larger_by_design_are_told():
    arms = {"uniform": size(1000), "uniform-double": size(2000)}
    said = fairness({**CONFIG, "alpha": "rslora"}, [], arms)
    assert "1,000 in every arm" in said and "larger on purpose" in said
    assert "rank's root" in said and "scaling is 2" not in said
