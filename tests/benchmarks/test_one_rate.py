"""Arms of unlike rates are trained at one, and held against each other as in the evidence."""

import pytest

from adarank_core.files import write_json
from benchmarks import evidence, one_rate

MADE = {"learning_rate": 0.01, "lora_parameters": 8, "machine": {}}


@pytest.fixture
def study_of(tiny_task, tmp_path, monkeypatch):
    """Return what is trained where the evidence found these rates of its arms of ten seeds."""
    monkeypatch.setattr(evidence, "RESULTS", tmp_path)

    def found(*rates: float) -> evidence.Study:
        arms = {arm: {"learning_rate": r} for arm, r in zip(one_rate.ARMS, rates, strict=True)}
        best = {"arms": arms, "smallest_of_interest": 0.02}
        write_json(tmp_path / "tiny.json", {"best_rate": best})
        return one_rate.study_of(tiny_task, tmp_path)

    return found


def test_arms_of_unlike_rates_are_trained_at_uniform_s(study_of):
    study = study_of(0.01, 0.01, 0.005, 0.005, 0.01)
    assert study.settings.learning_rate == 0.01 and not study.learning_rates and not study.low
    assert {*study.seeds} == {*one_rate.ARMS, "uniform-double"}
    assert ("adarank", "permuted") in study.pairs and ("uniform-double", "uniform") in study.pairs
    assert ("head-only", "uniform") not in study.pairs  # which is not trained here


def test_where_all_have_one_rate_only_twice_the_rank_is_asked_for(study_of):
    study = study_of(*[0.01] * 5)
    assert list(study.seeds) == ["uniform", "uniform-double"]
    assert study.pairs == (("uniform-double", "uniform"),)


def test_the_margin_is_the_evidence_s(study_of, tiny_task, tmp_path, monkeypatch):
    study = study_of(*[0.01] * 5)
    jobs = evidence.jobs_of(study, tiny_task, tmp_path)
    runs = [{"seed": seed, "test_loss": 0.1 * seed} for seed in range(3)]
    others = [{**run, "test_loss": 1.01 * run["test_loss"]} for run in runs]
    monkeypatch.setattr(evidence.Job, "texts", lambda job, runs: [{} for _ in runs])
    kept = {"uniform": {**MADE, "runs": runs}, "uniform-double": {**MADE, "runs": others}}
    monkeypatch.setattr(evidence.Job, "result", lambda job: dict(kept[job.name]))
    found = evidence.results_of(jobs)["best_rate"]
    assert found["smallest_of_interest"] == 0.02
    assert found["comparisons"][0]["verdict"] == "no practical difference"
