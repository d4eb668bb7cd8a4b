"""What the studies share that train."""

import math

import numpy as np
import pytest
from scipy import stats

from adarank_core.lab.bench import Bench
from adarank_core.lab.studies import study_named
from adarank_core.lab.study import StudyRequest
from adarank_core.lab.trainings import difference, mean_and_error, told, train_arm


def test_means_and_differences_are_scipys():
    first, second = [0.5, 0.7, 0.4], [0.6, 0.9, 0.55]
    found = mean_and_error(first)
    assert found["loss"] == pytest.approx(np.mean(first))
    assert found["standard_error"] == pytest.approx(stats.sem(first))
    compared = difference(dict(enumerate(first)), dict(enumerate(second)))
    wanted = stats.ttest_rel(first, second)
    assert compared["p_value"] == pytest.approx(wanted.pvalue)
    assert compared["ci_low"] == pytest.approx(wanted.confidence_interval().low)


def test_an_arm_is_trained_and_judged_on_validation_texts(
    tiny_bert, tiny_file, tmp_path, monkeypatch
):
    working = tmp_path / "working"
    working.mkdir()
    monkeypatch.chdir(working)
    own = {"steps": 2, "batch_size": 4}
    request = StudyRequest(study_named("rank-binds"), tiny_bert, tiny_file, settings=own)
    bench = Bench(request, tmp_path)
    found = train_arm(bench, "uniform", 0, 2)
    assert math.isfinite(found["loss"]) and 0 <= found["accuracy"] <= 1
    assert found["lora_parameters"] == bench.planner(2).parameters
    too_fast = train_arm(bench, "uniform", 0, 2, learning_rate=1e30)
    assert "not finite" in too_fast["failed"]
    assert not list(working.iterdir())  # what is trained here is kept elsewhere


def test_one_that_is_told_to_stop_gives_nothing(tiny_bert, tiny_file, tmp_path):
    request = StudyRequest(study_named("rank-binds"), tiny_bert, tiny_file)
    bench = Bench(request, tmp_path, should_stop=lambda: True)
    assert train_arm(bench, "uniform", 0, 2) is None


def test_two_seeds_tell_nothing_whatever_their_test_says():
    row = {"difference": -0.02, "ci_low": -0.03, "ci_high": -0.01, "p_value": 0.02, "seeds": 2}
    assert told(row).endswith("2 seeds: nothing can be told)")
    assert "nothing" not in told({**row, "seeds": 3})
