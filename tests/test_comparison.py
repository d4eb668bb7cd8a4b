"""Verdicts: the statistics against independent ones, the sentences, and whole comparisons."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from adarank_core import AdaRankError, RankPlan, Verdict, allocate, compare, load_model
from adarank_core import finetuning as finetuning_file
from adarank_core.allocation import lora_parameters
from adarank_core.baselines import depth_ramp
from adarank_core.comparison import (
    ARMS,
    LATER,
    METRICS,
    _detectable,
    _holm,
    _plain_scores,
    check_arms,
    describe,
    file_name,
    paired_comparison,
    permuted,
    same_rank,
    verdict_of,
)
from adarank_core.export import write_json
from adarank_core.finetuning import Settings
from adarank_core.scores import read_json

QUICK = Settings(steps=3, batch_size=8, evaluations=1)
values = st.lists(st.floats(-10, 10), min_size=2, max_size=9)


# Statistics


@given(st.lists(st.tuples(st.floats(-10, 10), st.floats(-10, 10)), min_size=2, max_size=9))
def test_the_paired_test_is_scipy_s(pairs):
    ours, theirs = (list(column) for column in zip(*pairs, strict=True))
    result = paired_comparison(ours, theirs)
    differences = np.subtract(ours, theirs)
    assert result["difference"] == pytest.approx(differences.mean(), abs=1e-9)
    if np.ptp(differences) < 1e-6:
        return
    test = stats.ttest_1samp(differences, 0)
    interval = stats.t.interval(0.95, len(pairs) - 1, differences.mean(), stats.sem(differences))
    assert result["p_value"] == pytest.approx(test.pvalue, rel=1e-6, abs=1e-12)
    assert (result["ci_low"], result["ci_high"]) == pytest.approx(interval, rel=1e-6, abs=1e-9)
    assert (result["p_value"] < 0.05) == (result["ci_low"] * result["ci_high"] > 0)


def test_one_seed_has_a_difference_and_nothing_else():
    result = paired_comparison([0.5], [0.75])
    assert result.pop("difference") == -0.25
    assert set(result.values()) == {None} and len(result) == 4


@pytest.mark.parametrize(("seeds", "p_value"), [(2, 0.5), (3, 0.25), (5, 0.0625), (6, 0.03125)])
def test_equal_differences_are_judged_by_their_sign_alone(seeds, p_value):
    """Two seeds that are both one text better on a hundred are no certainty."""
    accuracies = [0.8 + 0.03 * at for at in range(seeds)]
    result = paired_comparison([a + 0.01 for a in accuracies], accuracies)
    assert result["difference"] == pytest.approx(0.01) and result["p_value"] == p_value
    assert result["ci_low"] is result["ci_high"] is result["smallest_detectable"] is None
    assert paired_comparison(accuracies, accuracies)["p_value"] == 1.0


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_the_smallest_detectable_difference_is_found_four_times_in_five(seeds):
    draw = np.random.default_rng(0)
    shift = _detectable(seeds) / math.sqrt(seeds)  # in deviations of the differences
    differences = draw.normal(shift, 1, size=(20_000, seeds))
    found = stats.ttest_1samp(differences, 0, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.01)
    result = paired_comparison([1.0, 2.0, 4.0], [0.5, 2.5, 2.0])
    spread = np.std([0.5, -0.5, 2.0], ddof=1)
    assert result["smallest_detectable"] == pytest.approx(spread / math.sqrt(3) * _detectable(3))


def test_holm_s_adjustment_on_a_textbook_example():
    """Four tests: 0.01 × 4, 0.02 × 3, and 0.03 × 2 = 0.06 carries 0.04 × 1 up with it."""
    assert _holm([0.03, 0.01, None, 0.04, 0.02]) == pytest.approx([0.06, 0.04, None, 0.06, 0.06])
    assert _holm([0.9, 0.6]) == [1.0, 1.0]
    assert _holm([]) == []


def runs_of(**metrics):
    names = list(metrics)
    return {
        "runs": [
            {"seed": seed, **dict(zip(names, numbers, strict=True))}
            for seed, numbers in enumerate(zip(*metrics.values(), strict=True))
        ]
    }


def test_lower_loss_is_better_and_lower_accuracy_is_worse():
    base = [0.5, 0.6, 0.55, 0.52]
    low = [0.1 + at / 1000 for at in range(4)]
    arms = {
        "uniform": runs_of(test_loss=base, test_accuracy=base),
        "adarank": runs_of(test_loss=low, test_accuracy=low),
        "ramp-up": runs_of(test_loss=[1 + b for b in low], test_accuracy=[1 + b for b in low]),
    }
    found = {(c["arm"], c["metric"]): c["verdict"] for c in verdict_of("t", "m", arms).comparisons}
    assert found == {
        ("adarank", "test_loss"): "better",
        ("adarank", "test_accuracy"): "worse",
        ("ramp-up", "test_loss"): "worse",
        ("ramp-up", "test_accuracy"): "better",
    }


def test_who_is_held_against_whom():
    arms = {name: runs_of(test_loss=[0.5, 0.6]) for name in ("adarank", "uniform", "permuted")}
    pairs = [(c["arm"], c["against"]) for c in verdict_of("t", "m", arms).comparisons]
    assert pairs == [("adarank", "uniform"), ("permuted", "uniform"), ("adarank", "permuted")]
    del arms["uniform"]
    pairs = [(c["arm"], c["against"]) for c in verdict_of("t", "m", arms).comparisons]
    assert pairs == [("permuted", "adarank")]
    assert verdict_of("t", "m", {"adarank": arms["adarank"]}).comparisons == ()


def test_more_arms_make_a_find_harder():
    base = [0.50, 0.61, 0.55, 0.52]
    near = [0.46, 0.58, 0.53, 0.47]
    two = {"uniform": runs_of(test_loss=base), "adarank": runs_of(test_loss=near)}
    assert verdict_of("t", "m", two).comparisons[0]["verdict"] == "better"
    others = {name: runs_of(test_loss=[0.5, 0.65, 0.5, 0.5]) for name in ("a", "b", "c", "d", "e")}
    first = verdict_of("t", "m", {**two, **others}).comparisons[0]
    assert first["p_value"] < 0.05 < first["p_adjusted"]
    assert first["verdict"] == "no detectable difference"


def test_a_metric_that_an_arm_lacks_is_not_compared():
    arms = {"uniform": runs_of(test_loss=[1], auc=[None]), "adarank": runs_of(test_loss=[2])}
    assert {c["metric"] for c in verdict_of("t", "m", arms).comparisons} == {"test_loss"}


# Sentences


def said(seeds=5, **changed):
    compared = {
        "arm": "adarank",
        "against": "uniform",
        "metric": "test_loss",
        "difference": -0.034,
        "ci_low": -0.056,
        "ci_high": -0.012,
        "p_value": 0.01,
        "p_adjusted": 0.01,
        "verdict": "better",
        "smallest_detectable": 0.03,
    }
    return describe({**compared, **changed}, seeds)


NONE = {"verdict": "no detectable difference", "p_value": 0.4, "p_adjusted": 0.4}
UNKNOWN = {"ci_low": None, "ci_high": None, "smallest_detectable": None}


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (
            {},
            "adarank's test loss is lower than uniform's by 0.034 "
            "(95% interval 0.012 to 0.056 lower, 5 seeds): better",
        ),
        (
            {"metric": "test_accuracy", "difference": 0.02, "ci_low": 0.0104, "ci_high": 0.03},
            "adarank's test accuracy is higher than uniform's by 0.020 "
            "(95% interval 0.010 to 0.030 higher, 5 seeds): better",
        ),
        (
            {**NONE, "difference": -0.001, "ci_low": -0.014, "ci_high": 0.012},
            "adarank's test loss is lower than uniform's by 0.001 (95% interval 0.014 lower to "
            "0.012 higher, 5 seeds): no detectable difference; 5 seeds could have shown one of "
            "0.030",
        ),
        (
            {**NONE, "difference": 0.0001, "ci_low": -0.0004, "ci_high": 0.002},
            "adarank's test loss is higher than uniform's by less than 0.001 (95% interval less "
            "than 0.001 lower to 0.002 higher, 5 seeds): no detectable difference; 5 seeds could "
            "have shown one of 0.030",
        ),
        (
            {**NONE, "p_value": 0.02},
            "adarank's test loss is lower than uniform's by 0.034 (95% interval 0.012 to 0.056 "
            "lower, 5 seeds): no detectable difference once corrected for the number of arms",
        ),
        (
            {**NONE, **UNKNOWN},
            "adarank's test loss is lower than uniform's by 0.034 with each of 5 seeds: "
            "no detectable difference",
        ),
        (
            {**NONE, **UNKNOWN, "difference": 0.0},
            "adarank's test loss is the same as uniform's with each of 5 seeds: "
            "no detectable difference",
        ),
        (
            {**UNKNOWN, "metric": "auc", "verdict": "worse"},
            "adarank's AUC is lower than uniform's by 0.034 with each of 5 seeds: worse",
        ),
        (
            {**UNKNOWN, "p_value": None, "verdict": "one seed decides nothing"},
            "adarank's test loss is lower than uniform's by 0.034 with this seed, and one seed "
            "decides nothing",
        ),
    ],
    ids=range(9),
)
def test_every_case_is_one_true_sentence(changed, sentence):
    assert said(**changed) == sentence


@given(values.flatmap(lambda a: st.tuples(st.just(a), st.permutations(a))))
def test_every_comparison_can_be_said(two):
    arms = {"uniform": runs_of(test_loss=two[0]), "adarank": runs_of(test_loss=two[1])}
    (compared,) = verdict_of("t", "m", arms).comparisons
    sentence = describe(compared, len(two[0]))
    assert compared["verdict"] in sentence and "\n" not in sentence


# Ranks of the arms


@given(st.integers(0, 99))
def test_permuting_keeps_the_ranks_of_every_size(made_up, seed):
    scores = made_up()
    plan = allocate(scores, 8, budget_by="parameters")
    other = permuted(plan, scores, seed)
    assert list(other.ranks) == list(plan.ranks) and other.ranks != plan.ranks
    for size in {(m.in_features, m.out_features) for m in scores.modules}:
        names = [m.name for m in scores.modules if (m.in_features, m.out_features) == size]
        assert sorted(other.ranks[n] for n in names) == sorted(plan.ranks[n] for n in names)
    assert lora_parameters(scores, other.ranks) == lora_parameters(scores, plan.ranks)
    assert other.alpha == {name: 2 * rank for name, rank in other.ranks.items()}
    assert permuted(plan, scores, seed) == other


def test_ramps_grow_and_fall_with_depth(made_up):
    up = allocate(depth_ramp(made_up(), up=True), 8)
    down = allocate(depth_ramp(made_up(), up=False), 8)
    by_layer = [up.ranks[m.name] for m in made_up().modules if m.family == "value"]
    assert by_layer == sorted(by_layer) and by_layer[0] < by_layer[-1]
    assert [down.ranks[m.name] for m in made_up().modules if m.family == "value"] == by_layer[::-1]


# Whole comparisons


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
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))) == verdict


def test_the_folder_holds_everything(compared):
    _, _, folder = compared
    for arm, seed in itertools.product(("uniform", "adarank", "permuted"), (0, 1)):
        run = folder / "runs" / f"{arm}-seed{seed}"
        assert RankPlan.from_dict(read_json(run / "ranks.json")).ranks
        assert (run / "adapter" / "adapter_model.safetensors").exists()
        assert read_json(run / "result.json")["result"]["seed"] == seed
    assert sorted(path.name for path in (folder / "scores").iterdir()) == [
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
    trained, real = [], finetuning_file.finetune

    def finetune(*arguments, **options):
        trained.append((options["seed"], Path(options["output"]).name))
        return real(*arguments, **options)

    monkeypatch.setattr(finetuning_file, "finetune", finetune)
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
    plan = allocate(depth_ramp(_plain_scores(load_model(tiny_bert)), up=True), 2)
    arms = ["uniform"]
    for folder in ("one", "two"):
        (tmp_path / folder / "x").mkdir(parents=True)
        arms.append(str(tmp_path / folder / "x" / "adarank.json"))
        plan = permuted(plan, _plain_scores(load_model(tiny_bert)), seed=len(arms))
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
    from adarank_core import scoring

    seen, real = [], scoring.score_iter
    monkeypatch.setattr(
        scoring, "score_iter", lambda *a, **options: seen.append(options) or real(*a, **options)
    )
    settings = Settings(steps=1, batch_size=4, max_length=7)
    compare(tiny_bert, tiny_task, ["adarank"], output=tmp_path, trials=2, settings=settings)
    assert [options["max_length"] for options in seen] == [7]


def test_file_names_are_plain(tmp_path):
    names = set()
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "adarank.json").write_text(folder)
        names.add(file_name(str(tmp_path / folder / "adarank.json")))
    names |= set(map(file_name, ARMS))
    assert len(names) == len(ARMS) + 2
    assert all("/" not in name and not name.startswith(".") for name in names)


# What cannot be compared


@pytest.mark.parametrize(
    ("arms", "seeds", "message"),
    [
        ([], [0], "no arms"),
        (["uniform"], [], "no seeds"),
        (["uniform", "uniform"], [0], "the arm 'uniform' is given twice"),
        (["uniform"], [0, 1, 0], "the seed 0 is given twice"),
        (["best"], [0], "the arm 'best' is unknown"),
        ([""], [0], "the arm '' is unknown"),
        (["no/such.json"], [0], "cannot be read"),
        (["uniform"], [-1], "the seed is -1"),
        (["uniform"], [2**32], "the seed is 4294967296"),
        *[([arm], [0], "is not built yet") for arm in LATER],
    ],
)
def test_bad_arms_and_seeds_are_refused(arms, seeds, message):
    with pytest.raises(AdaRankError, match=message):
        check_arms(arms, seeds)


@pytest.mark.parametrize("average_rank", [0, -1, 33, math.nan, 1e308])
def test_a_rank_that_the_model_cannot_have_is_refused(tiny_bert, tiny_task, tmp_path, average_rank):
    with pytest.raises(AdaRankError):
        compare(tiny_bert, tiny_task, output=tmp_path / "run", average_rank=average_rank)
    assert not (tmp_path / "run").exists()


def test_corrupt_verdicts_are_refused(compared):
    good = compared[0].to_dict()
    bad = [None, [], 3, {}, {**good, "format": "x"}]
    bad += [{k: v for k, v in good.items() if k != key} for key in good]
    for arms in (None, [], {"a": 3}, {"a": {}}, {"a": {"runs": 3}}, {"a": {"runs": [3]}}):
        bad.append({**good, "arms": arms})
    for comparisons in (None, {}, [3], [{}], [{**good["comparisons"][0], "metric": "zork"}]):
        bad.append({**good, "comparisons": comparisons})
    for data in bad:
        with pytest.raises(AdaRankError) as caught:
            Verdict.from_dict(data)
        assert "\n" not in str(caught.value)
