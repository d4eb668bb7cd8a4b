"""The format of verdicts: there and back, of older versions, and corrupt."""

import json
from pathlib import Path

import numpy as np
import pytest

from adarank_core import AdaRankError, Verdict
from adarank_core.comparison.judging import Declared, verdict_of
from adarank_core.files import read_json


def runs_of(**metrics):
    names = list(metrics)
    return {
        "runs": [
            {"seed": seed, **dict(zip(names, numbers, strict=True))}
            for seed, numbers in enumerate(zip(*metrics.values(), strict=True))
        ]
    }


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
    look = {"arms": ["uniform", "adarank"], "seeds": [0, 1], "smallest_of_interest": 0.5}
    declared = Declared("test_loss", 0.5, (0, 1), [look, look])
    texts = {arm: [{"test_loss": np.arange(5.0) + seed} for seed in (0, 1)] for arm in arms}
    texts["adarank"][0] = {"test_loss": np.arange(5.0) ** 2}
    return verdict_of("t", "m", arms, {"eva": "seed 0: too few texts"}, declared, texts)


def test_a_verdict_survives_json(judged):
    assert Verdict.from_dict(json.loads(json.dumps(judged.to_dict()))) == judged
    whole = {key: value for key, value in judged.to_dict().items() if key != "failed"}
    assert Verdict.from_dict(whole).failed == {} and Verdict.from_dict(whole).to_dict() == whole


def test_a_verdict_of_an_older_version_is_read(judged):
    """It has no primary metric and a word on every one, and its intervals are at 95%."""
    new = ("primary_metric", "smallest_of_interest", "smallest_of_interest_from", "planned_seeds")
    old = {k: v for k, v in judged.to_dict().items() if k not in (*new, "looks", "exploratory")}
    new = ("ci_level", "ci_low_texts", "ci_high_texts", "p_equivalence", "seeds_needed")
    (one,) = old["comparisons"]
    one = {key: value for key, value in one.items() if key not in new}
    old["comparisons"] = [{**one, "verdict": "no detectable difference"}]
    verdict = Verdict.from_dict(old)
    assert (verdict.primary_metric, verdict.looks, verdict.exploratory) == ("test_loss", (), False)
    assert verdict.primary == tuple(old["comparisons"]) and verdict.level == 0.05


def test_seeds_are_counted_of_what_is_compared():
    """Somebody took runs of the first arm out of the file, which is compared with nothing."""
    arm = runs_of(test_loss=[0.5, 0.25, 0.4])
    arms = {"uniform": arm, "adarank": arm, "permuted": runs_of(test_loss=[0.5])}
    whole = verdict_of("t", "m", {name: arms[name] for name in ("uniform", "adarank")})
    compared = whole.comparisons[0]
    few = Verdict("t", "m", {"permuted": arms["permuted"], **arms}, (compared,))
    assert next(iter(few.arms)) == "permuted" and few.seeds == few.seeds_of(compared) == 3
    assert Verdict("t", "m", few.arms, ()).seeds == 1 and Verdict("t", "m", {}, ()).seeds == 0


def test_the_stored_example_is_what_its_numbers_come_to():
    path = Path(__file__).parents[2] / "assets" / "example" / "comparison" / "verdict.json"
    stored = Verdict.from_dict(read_json(path))
    declared = Declared(stored.primary_metric, None, stored.planned_seeds, stored.looks)
    again = verdict_of(stored.task, stored.model, stored.arms, declared=declared)
    for one, other in zip(stored.comparisons, again.comparisons, strict=True):
        told = {key: value for key, value in other.items() if not key.endswith("_texts")}
        numbers = {key for key, value in told.items() if isinstance(value, float)}
        assert {key: one[key] for key in told.keys() - numbers} == {
            key: told[key] for key in told.keys() - numbers
        }
        for key in numbers:
            assert one[key] == pytest.approx(told[key], rel=1e-9), key


def test_corrupt_verdicts_are_refused(judged):
    good = judged.to_dict()
    bad = [None, [], 3, {}, {**good, "format": "x"}]
    needed = ("format", "task", "model", "arms", "comparisons")
    bad += [{k: v for k, v in good.items() if k != key} for key in needed]
    for key, values in {
        "primary_metric": (None, "zork", 3),
        "smallest_of_interest": ("0.5", float("nan")),
        "smallest_of_interest_from": ("a dream", 3),
        "planned_seeds": (None, 3, ["0"]),
        "looks": (None, 3, [3], [{}], [{"arms": ["a"], "seeds": []}]),
    }.items():
        bad += [{**good, key: value} for value in values]
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
        {"ci_low_texts": None},
        {"ci_level": 1},
        {"seeds_needed": -1},
        {"p_equivalence": "0"},
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


@pytest.mark.parametrize(
    ("accuracies", "loss", "guessing", "nobody"),
    [
        ((0.5, 0.52), 0.69, (0.5, 0.6931, 400), True),  # two standard errors are 0.05
        ((0.5, 0.56), 0.69, (0.5, 0.6931, 400), False),  # one arm of two has learned
        ((0.5, 0.56), 0.69, (0.5, 0.6931, 100), True),  # of so few texts that is luck
        ((0.9, 0.9), 0.2, (0.9, 0.3251, 400), False),  # the loss tells, the accuracy cannot yet
        ((0.9, 0.9), 2.0, (0.9, 0.3251, 400), True),
        ((0.5, None), 0.69, (0.5, 0.6931, 400), False),  # not known
        ((0.5, 0.5), 0.69, None, False),  # an older file, or answers in words
    ],
)
def test_nobody_has_learned_where_no_arm_is_clearly_better_than_guessing(
    accuracies, loss, guessing, nobody
):
    arms = {
        name: {
            "lora_parameters": 9,
            "allocation_seconds": 0.5,
            "runs": [{"seed": 0, "test_loss": loss, "test_accuracy": accuracy}],
        }
        for name, accuracy in zip(("uniform", "adarank"), accuracies, strict=True)
    }
    if guessing is not None:
        guessing = dict(zip(("accuracy", "loss", "texts"), guessing, strict=True))
    verdict = Verdict("t", "m", arms, (), guessing=guessing)
    assert verdict.nobody_learned is nobody
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))) == verdict
