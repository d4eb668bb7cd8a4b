"""Variants are tried on rows that are neither trained on nor tested."""

import pytest

from adarank_core.ranks.plan_files import read_plan
from adarank_core.ranks.plans import RankPlan
from benchmarks import improvements
from benchmarks.evidence import TOKENS


def test_what_is_measured_is_of_the_training_rows_alone(tiny_task, monkeypatch):
    monkeypatch.setitem(improvements.ROWS, "train", 60)
    task = improvements.held_out(tiny_task)
    trained, measured = set(task.train["text"]), set(task.test["text"])
    assert len(trained) == 60 and measured == set(tiny_task.train["text"]) - trained
    assert not measured & set(tiny_task.test["text"])


def test_an_alpha_by_score_is_the_usual_one_on_average():
    uniform = RankPlan("tiny", {"query": 2, "key": 2}, {"query": 4, "key": 4})
    plan = improvements._with_alpha(uniform, {"query": 1.0, "key": 3.0})
    assert plan.ranks == uniform.ranks
    assert plan.alpha == pytest.approx({"query": 2.0, "key": 6.0})


def test_every_variant_has_a_plan_at_the_parameters_of_uniform_ranks(
    tiny_bert, tiny_task, tmp_path
):
    paths = improvements.plan_files(tiny_task, tmp_path, improvements.NAMES, tiny_bert)
    plans = {name: read_plan(path) for name, path in zip(improvements.NAMES, paths, strict=True)}
    uniform = plans["alpha"].budget["lora_parameters"]
    spent = {name: plan.budget["lora_parameters"] for name, plan in plans.items()}
    # Whole ranks leave less than one rank of the largest module over.
    assert all(0 <= uniform - found < 96 for found in spent.values()), spent
    assert len({(*plan.ranks.values(), *plan.alpha.values()) for plan in plans.values()}) > 5
    again = improvements.plan_files(tiny_task, tmp_path, ["alpha"], "no model is loaded")
    assert again == [str(tmp_path / "tiny" / "plans" / "alpha.json")]


def test_as_much_of_a_text_is_scored_as_is_trained_on(tiny_bert, tiny_task, tmp_path, monkeypatch):
    read = []

    def score(*given, max_length, **options):
        read.append(max_length)
        return real(*given, max_length=max_length, **options)

    real = improvements.score
    monkeypatch.setattr(improvements, "score", score)
    monkeypatch.setitem(TOKENS, tiny_task.name, 5)
    improvements.plan_files(tiny_task, tmp_path, ["lora-noise"], tiny_bert)
    assert read == [5, 5]  # of plain noise, which every variant's parameters are taken from
