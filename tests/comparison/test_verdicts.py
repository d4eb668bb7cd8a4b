"""Verdicts: the statistics against independent ones, and the sentences."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from adarank_core import AdaRankError, Verdict
from adarank_core.comparison.verdicts import (
    _detectable,
    _holm,
    describe,
    paired_comparison,
    verdict_of,
)

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


def test_eight_arms_that_are_all_alike_are_seldom_told_apart():
    """Holm: that any of many equal arms is called better or worse happens once in twenty."""
    draw, wrong = np.random.default_rng(0), 0
    for _ in range(300):
        losses = draw.normal(0.5, 0.02, size=(8, 5)).tolist()
        names = ("uniform", *"abcdefg")
        arms = {name: runs_of(test_loss=row) for name, row in zip(names, losses, strict=True)}
        words = [c["verdict"] for c in verdict_of("t", "m", arms).comparisons]
        wrong += any(word != "no detectable difference" for word in words)
    assert wrong / 300 <= 0.08


def test_a_failed_arm_is_named_and_not_compared():
    arms = {name: runs_of(test_loss=[0.5, 0.6]) for name in ("adarank", "ramp-up")}
    verdict = verdict_of("t", "m", arms, {"uniform": "seed 1: the loss is not finite"})
    assert [(c["arm"], c["against"]) for c in verdict.comparisons] == [("ramp-up", "adarank")]
    assert verdict.to_dict()["failed"] == {"uniform": "seed 1: the loss is not finite"}


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


# Corrupt ones


@pytest.fixture(scope="module")
def judged():
    arms = {
        name: {
            **runs_of(test_loss=[0.5, 0.25 * at]),
            "lora_parameters": 9,
            "allocation_seconds": 0.5,
        }
        for at, name in enumerate(("uniform", "adarank"))
    }
    return verdict_of("t", "m", arms, {"eva": "seed 0: too few texts"})


def test_a_verdict_survives_json(judged):
    assert Verdict.from_dict(json.loads(json.dumps(judged.to_dict()))) == judged
    whole = {key: value for key, value in judged.to_dict().items() if key != "failed"}
    assert Verdict.from_dict(whole).failed == {} and Verdict.from_dict(whole).to_dict() == whole


def test_corrupt_verdicts_are_refused(judged):
    good = judged.to_dict()
    bad = [None, [], 3, {}, {**good, "format": "x"}]
    bad += [{k: v for k, v in good.items() if k != key} for key in good if key != "failed"]
    for arms in (None, [], {"a": 3}, {"a": {}}, {"a": {"runs": 3}}, {"a": {"runs": [3]}}):
        bad.append({**good, "arms": arms})
    for comparisons in (None, {}, [3], [{}], [{**good["comparisons"][0], "metric": "zork"}]):
        bad.append({**good, "comparisons": comparisons})
    bad += [{**good, "failed": failed} for failed in (None, [], "eva", {"eva": 3})]
    one, arms = good["comparisons"][0], good["arms"]
    for wrong in (
        {"arm": "zork"},
        {"against": ["uniform"]},
        {"metric": "auc"},  # which no arm has
        {"ci_low": None},
        {"p_value": None},
        {"verdict": "one seed decides nothing"},
        {"verdict": "splendid"},
        {"difference": float("nan")},
        {"difference": "0.5"},
    ):
        bad.append({**good, "comparisons": [{**one, **wrong}]})
    other = {**arms["uniform"], "runs": arms["uniform"]["runs"][:1]}
    bad += [
        {**good, "arms": {**arms, "uniform": {**arms["uniform"], **wrong}}}
        for wrong in ({"runs": []}, {"lora_parameters": -1}, {"allocation_seconds": None}, other)
    ]
    for data in bad:
        with pytest.raises(AdaRankError) as caught:
            Verdict.from_dict(data)
        assert "\n" not in str(caught.value)
