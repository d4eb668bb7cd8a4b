"""Whole comparisons: every run of every arm, taken over, given up, or broken off."""

import itertools
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from adarank_core import AdaRankError, RankPlan, Verdict, allocate, compare, load_model
from adarank_core.comparison.arms import ARMS
from adarank_core.comparison.planner import plain_scores, same_rank
from adarank_core.comparison.reshaped import permuted
from adarank_core.comparison.verdicts import METRICS
from adarank_core.files import read_json, write_json
from adarank_core.scoring.baselines import depth_ramp
from adarank_core.training import finetuning as finetuning_file
from adarank_core.training.finetuning import Settings

QUICK = Settings(steps=3, batch_size=8, evaluations=1)


@pytest.fixture(scope="module")
def compared(tiny_bert, tiny_task, tmp_path_factory):
    """Three arms with two seeds: the verdict, its events and its folder."""
    folder, events = tmp_path_factory.mktemp("comparison"), []
    verdict = compare(
        tiny_bert,
        tiny_task,
        ("uniform", "adarank", "permuted"),
        output=folder,
        average_rank=4,
        seeds=(0, 1),
        trials=2,
        settings=QUICK,
        on_event=events.append,
    )
    return verdict, events, folder


def test_a_verdict_has_every_run_of_every_arm(compared, tiny_bert):
    verdict = compared[0]
    assert (verdict.task, verdict.model) == ("tiny", tiny_bert)
    assert list(verdict.arms) == ["uniform", "adarank", "permuted"]
    parameters = same_rank(tiny_bert, 4).budget["lora_parameters"]
    for arm in verdict.arms.values():
        assert set(arm) == {"lora_parameters", "ranks", "allocation_seconds", "runs"}
        assert arm["lora_parameters"] == parameters
        assert [run["seed"] for run in arm["runs"]] == [0, 1]
        assert all(run["steps"] == 3 and set(METRICS) <= set(run) for run in arm["runs"])
    assert verdict.arms["uniform"]["allocation_seconds"] == 0
    assert verdict.arms["adarank"]["allocation_seconds"] > 0
    assert len(verdict.comparisons) == 3 * len(METRICS)
    losses = [[run["test_loss"] for run in arm["runs"]] for arm in verdict.arms.values()]
    assert losses[0] != losses[1]
    assert verdict.comparisons[0]["difference"] == pytest.approx(
        np.mean(losses[1]) - np.mean(losses[0])
    )


def test_a_verdict_survives_json(compared):
    verdict, _, folder = compared
    assert Verdict.from_dict(read_json(folder / "verdict.json")) == verdict


def test_a_verdict_says_what_was_declared_and_has_an_interval_over_texts(compared):
    verdict, _, folder = compared
    arms = ["uniform", "adarank", "permuted"]
    look = {"arms": arms, "seeds": [0, 1], "smallest_of_interest": None}
    assert (verdict.primary_metric, verdict.planned_seeds) == ("test_loss", (0, 1))
    assert verdict.looks == (look,) and not verdict.exploratory
    kept = read_json(folder / "comparison.json")
    assert kept["metric"] == "test_loss" and kept["looks"] == [look]
    for one in verdict.comparisons:
        over_texts = one["metric"] in ("test_loss", "test_accuracy") and one["ci_low"] is not None
        assert (one["ci_low_texts"] is not None) == over_texts
        if over_texts:
            assert one["ci_low_texts"] <= one["ci_low"] < one["ci_high"] <= one["ci_high_texts"]
    assert verdict.primary[0]["ci_low_texts"] is not None
    # Half of the 48 test texts are of either class.
    assert verdict.guessing == {"accuracy": 0.5, "loss": 0.6931, "texts": 48}


def test_seeds_that_are_added_make_another_look_and_a_lost_file_no_error(
    compared, tiny_bert, tiny_task, tmp_path
):
    verdict, _, folder = compared
    shutil.copytree(folder, tmp_path / "run")
    options = {"output": tmp_path / "run", "average_rank": 4, "trials": 2, "settings": QUICK}
    for seed in (0, 1):
        (tmp_path / "run" / "runs" / f"adarank-seed{seed}" / "texts.npz").write_bytes(b"zork")
    more = compare(tiny_bert, tiny_task, ["uniform", "adarank"], seeds=(0, 1), **options)
    assert more.exploratory and more.looks[:1] == verdict.looks and len(more.looks) == 2
    assert {one["ci_level"] for one in more.comparisons} == {0.99}
    assert more.primary[0]["ci_low_texts"] is None
    again = compare(tiny_bert, tiny_task, ["uniform", "adarank"], seeds=(0, 1), **options)
    assert again == more
    named = compare(
        *(tiny_bert, tiny_task, ["uniform", "adarank"]),
        seeds=(0, 1),
        smallest_of_interest=0.25,
        **options,
    )
    assert len(named.looks) == 3 and named.smallest_of_interest == 0.25


def test_a_metric_that_will_not_be_measured_is_refused_before_any_training(
    tiny_bert, tiny_task, tmp_path
):
    from dataclasses import replace

    one_class = replace(tiny_task, test=tiny_task.test[tiny_task.test["label"] == 1])
    with pytest.raises(AdaRankError, match=r"the metric is 'auc', .* have 1; give test_loss"):
        compare(tiny_bert, one_class, output=tmp_path / "run", settings=QUICK, metric="auc")
    assert not (tmp_path / "run").exists()


def test_the_folder_holds_everything(compared):
    _, _, folder = compared
    for arm, seed in itertools.product(("uniform", "adarank", "permuted"), (0, 1)):
        run = folder / "runs" / f"{arm}-seed{seed}"
        assert RankPlan.from_dict(read_json(run / "ranks.json")).ranks
        assert (run / "adapter" / "adapter_model.safetensors").exists()
        assert read_json(run / "result.json")["seed"] == seed
    assert sorted(path.name for path in (folder / "scores").glob("*.json")) == [
        "adarank-seed0.json",
        "adarank-seed1.json",
    ]
    assert not list(folder.rglob(".*"))


def test_every_event_names_its_arm_and_seed(compared):
    events = compared[1]
    assert {event["event"] for event in events} == {"score", "plan", "step", "evaluation", "result"}
    assert all(event["arm"] in ARMS and event["seed"] in (0, 1) for event in events)
    results = [(event["seed"], event["arm"]) for event in events if event["event"] == "result"]
    assert results == list(itertools.product((0, 1), ("uniform", "adarank", "permuted")))


def test_the_permuted_arm_has_adarank_s_ranks_on_other_modules(compared):
    arms = compared[0].arms
    ranks = arms["adarank"]["ranks"], arms["permuted"]["ranks"]
    assert ranks[0] != ranks[1] and sorted(ranks[0].values()) == sorted(ranks[1].values())


def test_finished_runs_are_taken_over(compared, tiny_bert, tiny_task, monkeypatch):
    verdict, _, folder = compared
    trained, real = [], finetuning_file.train

    def train(training, **options):
        trained.append((training.seed, options["output"].name))
        return real(training, **options)

    monkeypatch.setattr(finetuning_file, "train", train)
    options = {"output": folder, "average_rank": 4, "trials": 2, "settings": QUICK}
    again = compare(tiny_bert, tiny_task, list(verdict.arms), seeds=(0, 1), **options)
    assert again == verdict and not trained
    more = compare(tiny_bert, tiny_task, ["uniform", "ramp-up"], seeds=(1, 0), **options)
    assert trained == [(1, "ramp-up-seed1"), (0, "ramp-up-seed0")]
    assert more.arms["uniform"]["runs"] == verdict.arms["uniform"]["runs"][::-1]


@pytest.mark.parametrize("moment", ["score", "step"])
def test_a_comparison_that_is_told_to_stop_keeps_what_is_finished(
    tiny_bert, tiny_task, tmp_path, moment
):
    events = []
    verdict = compare(
        tiny_bert,
        tiny_task,
        ("uniform", "adarank"),
        output=tmp_path,
        average_rank=4,
        trials=2,
        settings=QUICK,
        on_event=events.append,
        should_stop=lambda: any(
            event["event"] == moment and event["arm"] == "adarank" for event in events
        ),
    )
    assert verdict is None and not (tmp_path / "verdict.json").exists()
    assert [path.parent.name for path in tmp_path.rglob("result.json")] == ["uniform-seed0"]


def test_files_with_ranks_are_arms(tiny_bert, tiny_task, tmp_path):
    plan = allocate(depth_ramp(plain_scores(load_model(tiny_bert)), up=True), 2)
    arms = ["uniform"]
    for folder in ("one", "two"):
        (tmp_path / folder / "x").mkdir(parents=True)
        arms.append(str(tmp_path / folder / "x" / "adarank.json"))
        plan = permuted(plan, plain_scores(load_model(tiny_bert)), seed=len(arms))
        write_json(Path(arms[-1]), plan.to_dict())
    verdict = compare(
        tiny_bert, tiny_task, arms, output=tmp_path / "run", average_rank=2, settings=QUICK
    )
    assert verdict.arms[arms[2]]["ranks"] == plan.ranks != verdict.arms[arms[1]]["ranks"]
    folders = {path.name for path in (tmp_path / "run" / "runs").iterdir()}
    assert len(folders) == 3 and "adarank-seed0" not in folders


def test_a_file_with_ranks_for_another_model_is_refused_before_any_training(
    tiny_bert, tiny_task, tmp_path
):
    write_json(tmp_path / "ranks.json", same_rank("embedded", 2).to_dict())
    arms, events = ["uniform", str(tmp_path / "ranks.json")], []
    with pytest.raises(AdaRankError, match="which"):
        compare(tiny_bert, tiny_task, arms, output=tmp_path / "run", on_event=events.append)
    assert not events


def test_a_short_text_limit_is_the_scores_limit_too(tiny_bert, tiny_task, tmp_path, monkeypatch):
    from adarank_core.scoring import score

    seen, real = [], score.score_iter
    monkeypatch.setattr(
        score, "score_iter", lambda *a, **options: seen.append(options) or real(*a, **options)
    )
    settings = Settings(steps=1, batch_size=4, max_length=7)
    compare(tiny_bert, tiny_task, ["adarank"], output=tmp_path, trials=2, settings=settings)
    assert [options["max_length"] for options in seen] == [7]


@pytest.mark.parametrize("average_rank", [0, -1, 33, math.nan, 1e308])
def test_a_rank_that_the_model_cannot_have_is_refused(tiny_bert, tiny_task, tmp_path, average_rank):
    with pytest.raises(AdaRankError):
        compare(tiny_bert, tiny_task, output=tmp_path / "run", average_rank=average_rank)
    assert not (tmp_path / "run").exists()


# Arms that fail, and folders of others


def test_an_arm_whose_loss_is_no_number_is_given_up_and_the_others_go_on(
    tiny_bert, tiny_task, tmp_path, monkeypatch
):
    from transformers import Trainer

    events, real = [], Trainer.training_step

    def training_step(trainer, *arguments, **options):
        loss = real(trainer, *arguments, **options)
        return loss * math.nan if "ramp-up-seed1" in trainer.args.output_dir else loss

    monkeypatch.setattr(Trainer, "training_step", training_step)
    options = {"average_rank": 4, "settings": QUICK, "output": tmp_path}
    arms = ("uniform", "ramp-up", "ramp-down")
    verdict = compare(
        tiny_bert, tiny_task, arms, seeds=(0, 1, 2), on_event=events.append, **options
    )
    assert list(verdict.arms) == ["uniform", "ramp-down"]
    assert all(len(arm["runs"]) == 3 for arm in verdict.arms.values())
    assert {c["arm"] for c in verdict.comparisons} == {"ramp-down"}
    assert verdict.failed == {
        "ramp-up": "seed 1: the training loss at step 1 is not finite; lower the learning rate of "
        "0.005"
    }
    (told,) = [event for event in events if event["event"] == "arm-failed"]
    assert (told["arm"], told["seed"]) == ("ramp-up", 1) and "not finite" in told["message"]
    begun = [e["seed"] for e in events if e["event"] == "plan" and e["arm"] == "ramp-up"]
    assert begun == [0, 1]  # and not with seed 2
    assert Verdict.from_dict(read_json(tmp_path / "verdict.json")) == verdict
    # Where the cause is gone, the arm is tried again and nothing else is.
    monkeypatch.setattr(Trainer, "training_step", real)
    again = compare(tiny_bert, tiny_task, arms, seeds=(0, 1, 2), **options)
    assert list(again.arms) == list(arms) and again.failed == {}
    assert again.arms["ramp-down"] == verdict.arms["ramp-down"]


def test_an_arm_that_cannot_have_ranks_is_given_up(tiny_bert, tiny_task, tmp_path, monkeypatch):
    from adarank_core.scoring import baselines

    def inverse(scores):
        raise AdaRankError("the score of 'query' is 0, which has no inverse; exclude the module")

    monkeypatch.setattr(baselines, "inverse", inverse)
    options = {"output": tmp_path, "settings": QUICK, "trials": 2}
    verdict = compare(tiny_bert, tiny_task, ("inverse", "uniform"), **options)
    assert list(verdict.arms) == ["uniform"] and "no inverse" in verdict.failed["inverse"]


def test_where_every_arm_fails_there_is_no_verdict(tiny_bert, tiny_task, tmp_path):
    settings = Settings(steps=3, batch_size=8, learning_rate=1e30)
    with pytest.raises(AdaRankError, match=r"'uniform' failed with seed 0: .* not finite"):
        compare(tiny_bert, tiny_task, ("uniform", "ramp-up"), output=tmp_path, settings=settings)
    assert not (tmp_path / "verdict.json").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"average_rank": 3}, "average_rank is 3, but"),
        ({"trials": 3}, "trials is 3, but"),
        ({"metric": "macro_f1"}, "metric is 'macro_f1', but"),
        ({"settings": Settings(steps=4, batch_size=8, evaluations=1)}, "settings is"),
    ],
    ids=str,
)
def test_results_of_other_settings_are_not_taken_over(
    compared, tiny_bert, tiny_task, changed, message
):
    options = {"average_rank": 4, "trials": 2, "settings": QUICK, "output": compared[2]}
    with pytest.raises(AdaRankError, match=message):
        compare(tiny_bert, tiny_task, **{**options, **changed})
    compare(tiny_bert, tiny_task, seeds=(0,), **options)


def test_a_checkpoint_that_a_finished_run_left_is_deleted(compared, tiny_bert, tiny_task):
    left = compared[2] / "runs" / "uniform-seed0" / "checkpoints" / "checkpoint-2"
    left.mkdir(parents=True)
    options = {"average_rank": 4, "trials": 2, "settings": QUICK, "output": compared[2]}
    compare(tiny_bert, tiny_task, ("uniform",), **options)
    assert not left.parent.exists()


def test_results_on_other_rows_are_not_taken_over(compared, tiny_bert, tiny_task):
    from dataclasses import replace

    other = replace(tiny_task, test=tiny_task.test[:-1])
    options = {"average_rank": 4, "trials": 2, "settings": QUICK, "output": compared[2]}
    with pytest.raises(AdaRankError, match="the task's rows are others"):
        compare(tiny_bert, other, **options)


def test_results_of_other_weights_are_not_taken_over(tiny_bert, tiny_task, tmp_path):
    """A model that is trained on in its folder keeps its name."""
    import torch
    from safetensors.torch import load_file, save_file

    model = shutil.copytree(tiny_bert, tmp_path / "model")
    options = {"average_rank": 4, "settings": QUICK, "output": tmp_path / "run"}
    compare(str(model), tiny_task, ("uniform",), **options)
    weights = load_file(model / "model.safetensors")
    weights["bert.encoder.layer.0.output.dense.weight"] += torch.tensor(1e-3)
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(AdaRankError, match="the model's weights are others"):
        compare(str(model), tiny_task, ("uniform",), seeds=(0, 1), **options)


def test_the_reference_arms_are_run_too(tiny_bert, tiny_task, tmp_path):
    arms = ("uniform", "eva", "adalora", "head-only", "full")
    options = {"output": tmp_path, "average_rank": 3, "settings": QUICK, "trials": 2}
    verdict = compare(tiny_bert, tiny_task, arms, **options)
    counts = {arm: about["lora_parameters"] for arm, about in verdict.arms.items()}
    assert counts["eva"] == counts["uniform"] > counts["head-only"] == counts["full"] == 0
    assert abs(counts["adalora"] - counts["uniform"]) < 0.3 * counts["uniform"]
    assert sum(verdict.arms["adalora"]["ranks"].values()) == 3 * 12
    assert verdict.arms["full"]["ranks"] == {}


def test_plans_say_how_many_parameters_an_arm_is_short_of(tiny_bert, tiny_task, tmp_path):
    write_json(tmp_path / "small.json", same_rank(tiny_bert, 2).to_dict())
    events, arms = [], ("uniform", str(tmp_path / "small.json"))
    options = {"output": tmp_path / "run", "average_rank": 3, "settings": QUICK}
    compare(tiny_bert, tiny_task, arms, on_event=events.append, **options)
    plans = {e["arm"]: e for e in events if e["event"] == "plan"}
    one = same_rank(tiny_bert, 1).budget["lora_parameters"]
    assert plans["uniform"]["residual"] == 0 and plans[arms[1]]["residual"] == one
    assert plans[arms[1]]["budget"]["lora_parameters"] == 2 * one


def test_what_is_damaged_or_foreign_is_computed_anew_and_said(
    compared, tiny_bert, tiny_task, tmp_path, monkeypatch
):
    verdict, _, folder = compared
    shutil.copytree(folder, tmp_path / "run")
    runs, scores = tmp_path / "run" / "runs", tmp_path / "run" / "scores"
    for name in ("result.json", "result.digest"):  # of another seed, and of another arm
        shutil.copy(runs / "uniform-seed1" / name, runs / "uniform-seed0" / name)
        shutil.copy(runs / "adarank-seed1" / name, runs / "permuted-seed1" / name)
    (runs / "adarank-seed0" / "result.json").write_text("{")
    (scores / "adarank-seed0.json").write_text("[]")
    for name in ("adarank-seed0.json", "adarank-seed0.digest"):
        shutil.copy(scores / name, scores / name.replace("0", "1"))
    events, trained, real = [], [], finetuning_file.train

    def train(training, **options):
        trained.append(options["output"].name)
        return real(training, **options)

    monkeypatch.setattr(finetuning_file, "train", train)
    again = compare(
        tiny_bert,
        tiny_task,
        ("uniform", "adarank", "permuted"),
        average_rank=4,
        seeds=(0, 1),
        trials=2,
        settings=QUICK,
        output=tmp_path / "run",
        on_event=events.append,
    )
    assert trained == ["uniform-seed0", "adarank-seed0", "permuted-seed1"]
    told = [event["message"] for event in events if event["event"] == "notice"]
    assert [sentence.partition(" anew")[0] for sentence in told] == [
        "uniform-seed0 is trained",
        "adarank-seed0 is trained",
        "the scores of adarank seed 0 are computed",
        "permuted-seed1 is trained",
        "the scores of permuted seed 1 are computed",
    ]
    losses = [
        [run["test_loss"] for arm in one.arms.values() for run in arm["runs"]]
        for one in (verdict, again)
    ]
    assert losses[0] == losses[1]
