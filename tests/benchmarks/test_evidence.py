"""The evidence: stopped and resumed, shared by processes, judged on the seeds that arms share."""

import os
import statistics
import time
from dataclasses import replace

import pytest
from filelock import FileLock
from scipy import stats

from adarank_core import AdaRankError
from adarank_core.files import read_json
from adarank_core.kept import keep
from adarank_core.training.settings import Settings
from benchmarks import evidence
from benchmarks.evidence import Budget, Job, Study


@pytest.fixture
def study(tiny_bert):
    settings = Settings(2, 4, evaluations=1)
    return Study(settings, {"uniform": 2, "head-only": 1}, {"uniform": 1}, (5e-3,), tiny_bert, 2)


class Counted(Budget):
    """Counts trainings, and is over in the last step of one."""

    def __init__(self, most: int = 10**9):
        super().__init__()
        self.most, self.trainings = most, 0

    def hear(self, event):
        super().hear(event)
        if event["event"] == "step":
            self.trainings += event["step"] == event["steps"]
            if self.trainings >= self.most:
                self.end = time.monotonic()


def test_a_study_goes_on_where_it_was_stopped(study, tiny_task, tmp_path):
    """Takes some seconds: two arms are searched, tested and tested at the low rate."""
    stopped, rest, again = Counted(most=2), Counted(), Counted()
    jobs = evidence.jobs_of(study, tiny_task, tmp_path)
    assert not evidence.work(jobs, stopped)
    assert stopped.trainings == 2
    evidence.judge(jobs, tmp_path / "results")
    assert not (tmp_path / "results" / "tiny.json").exists()  # no arm is whole
    assert evidence.work(jobs, rest)
    assert evidence.work(jobs, again) and again.trainings == 0
    # Two arms searched, and three seeds and one at the low rate tested.
    searches = len(list(tmp_path.glob("tiny/*/runs/*-search-*/result.json")))
    assert searches >= 2 and stopped.trainings + rest.trainings == searches + 3 + 1

    evidence.judge(jobs, tmp_path / "results")
    result = read_json(tmp_path / "results" / "tiny.json")
    best, low = result["best_rate"], result["low_rate"]
    assert best["missing"] == low["missing"] == [] and best["failed"] == {}
    rates = {run["learning_rate"] for run in (best["arms"]["uniform"], low["arms"]["uniform"])}
    assert max(rates) == pytest.approx(5 * min(rates))
    assert str(tmp_path) not in str({**result, "model": ""})


def test_what_is_read_of_a_text_is_the_task_s(tiny_task):
    assert evidence.settings_of(tiny_task) == Settings(100, 16, evaluations=1)
    long = replace(tiny_task, name="ag_news_20k")
    assert evidence.settings_of(long).max_length == evidence.TOKENS[long.name] == 32


def test_an_arm_that_another_process_is_at_is_left_to_it(study, tiny_task, tmp_path):
    job, budget = Job(study, tiny_task, "uniform", False, tmp_path), Counted()
    job.folder.mkdir(parents=True)
    with FileLock(job.path.with_suffix(".lock")):
        assert not job.run(budget)
    # At the low rate it has to wait, for uniform's best rate is not known yet.
    assert not Job(study, tiny_task, "uniform", True, tmp_path).run(budget)
    assert budget.trainings == 0 and job.result() is None


def test_results_of_other_settings_are_not_taken_over(study, tiny_task, tmp_path):
    job = Job(study, tiny_task, "head-only", False, tmp_path)
    job.folder.mkdir(parents=True)
    keep(job.path, {"learning_rate": 0.01}, job._asked())
    assert job.result() == {"learning_rate": 0.01}
    longer = replace(study, settings=replace(study.settings, steps=3))
    with pytest.raises(AdaRankError, match="of something else"):
        replace(job, study=longer).result()


def test_pairs_are_of_the_seeds_that_both_arms_have(study, tiny_task, tmp_path):
    losses = {
        "uniform": [0.50, 0.60, 0.55, 0.52],
        "adarank": [0.47, 0.58, 0.50, 0.50],
        "head-only": [0.90, 1.10],
    }
    arms = {
        arm: {"runs": [{"seed": seed, "test_loss": loss} for seed, loss in enumerate(of_arm)]}
        for arm, of_arm in losses.items()
    }
    study = replace(study, seeds={arm: len(of_arm) for arm, of_arm in losses.items()})
    found = evidence.judged(evidence.jobs_of(study, tiny_task, tmp_path)[:3], arms)
    own, head = found["comparisons"]
    assert (own["arm"], own["seeds"], head["arm"], head["seeds"]) == ("adarank", 4, "head-only", 2)
    assert head["difference"] == pytest.approx(statistics.fmean([0.90 - 0.50, 1.10 - 0.60]))
    assert found["smallest_of_interest"] == pytest.approx(head["difference"] / 10)
    p_values = [
        stats.ttest_rel(losses[arm], losses["uniform"][: len(losses[arm])]).pvalue
        for arm in ("adarank", "head-only")
    ]
    assert own["p_adjusted"] == pytest.approx(2 * min(p_values), rel=1e-3)  # Holm: the smaller
    assert head["p_adjusted"] == pytest.approx(max(2 * min(p_values), max(p_values)), rel=1e-3)
    assert own["verdict"] == "better" and head["verdict"] == "too few seeds to tell"


def test_rows_are_drawn_once(tiny_task, monkeypatch):
    monkeypatch.setattr(evidence, "ROWS", {"train": 40, "validation": 100, "test": 10})
    one, other = evidence.drawn(tiny_task), evidence.drawn(tiny_task)
    assert (len(one.train), len(one.validation), len(one.test)) == (40, 32, 10)
    assert one.train.equals(other.train) and set(one.train["text"]) < set(tiny_task.train["text"])


def test_a_process_of_several_trains_by_itself(monkeypatch):
    monkeypatch.setattr(evidence, "gpus", lambda: ["4", "7"])
    monkeypatch.setattr(os, "environ", {"WORLD_SIZE": "3", "LOCAL_RANK": "1", "RANK": "1"})
    evidence.stand_alone()
    assert os.environ == {"CUDA_VISIBLE_DEVICES": "7"}
