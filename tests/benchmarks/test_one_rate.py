"""Arms of unlike rates are trained at one, and held against each other as in the evidence."""

import pytest

from adarank_core.files import write_json
from benchmarks import evidence, one_rate


def test_all_arms_have_uniform_s_rate_and_the_evidence_s_margin(tiny_task, tmp_path, monkeypatch):
    arms = {"uniform": {"learning_rate": 0.01}, "permuted": {"learning_rate": 0.005}}
    best = {"arms": arms, "smallest_of_interest": 0.02}
    write_json(tmp_path / "tiny.json", {"best_rate": best})
    monkeypatch.setattr(evidence, "RESULTS", tmp_path)
    study = one_rate.study_of(tiny_task, tmp_path)
    assert study.settings.learning_rate == 0.01 and not study.learning_rates and not study.low
    assert {*study.pairs} < {*evidence.PAIRS} and ("adarank", "permuted") in study.pairs
    assert ("head-only", "uniform") not in study.pairs  # which is not trained here
    job = evidence.Job(study, tiny_task, "uniform", False, tmp_path)
    runs = [{"seed": seed, "test_loss": 0.1 * seed} for seed in range(3)]
    others = [{**run, "test_loss": run["test_loss"] + 0.001} for run in runs]
    monkeypatch.setattr(evidence.Job, "texts", lambda self, runs: [{} for _ in runs])
    found = {"uniform": {"runs": runs}, "adarank": {"runs": others}}
    judged = evidence.judged([job], found, study.smallest_of_interest)
    assert judged["smallest_of_interest"] == pytest.approx(0.02)
