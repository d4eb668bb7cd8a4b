"""Who is held against whom, and which word a comparison gets."""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from adarank_core.comparison.judging import Declared, verdict_of
from adarank_core.comparison.statistics import paired_comparison, texts_interval

NO_DIFFERENCE = "no detectable difference"


def runs_of(**metrics):
    names = list(metrics)
    return {
        "runs": [
            {"seed": seed, **dict(zip(names, numbers, strict=True))}
            for seed, numbers in enumerate(zip(*metrics.values(), strict=True))
        ]
    }


def test_eight_arms_that_are_all_alike_are_seldom_told_apart():
    """Holm: that any of many equal arms is called better or worse happens once in twenty."""
    draw, wrong = np.random.default_rng(0), 0
    for _ in range(300):
        losses = draw.normal(0.5, 0.02, size=(8, 5)).tolist()
        names = ("uniform", *"abcdefg")
        arms = {name: runs_of(test_loss=row) for name, row in zip(names, losses, strict=True)}
        words = [c["verdict"] for c in verdict_of("t", "m", arms).comparisons]
        wrong += any(word != NO_DIFFERENCE for word in words)
    assert wrong / 300 <= 0.08


def test_a_failed_arm_is_named_and_not_compared():
    arms = {name: runs_of(test_loss=[0.5, 0.6]) for name in ("adarank", "ramp-up")}
    verdict = verdict_of("t", "m", arms, {"uniform": "seed 1: the loss is not finite"})
    assert [(c["arm"], c["against"]) for c in verdict.comparisons] == [("ramp-up", "adarank")]
    assert verdict.to_dict()["failed"] == {"uniform": "seed 1: the loss is not finite"}


def test_lower_loss_is_better_and_lower_accuracy_is_worse():
    base = [0.5, 0.6, 0.55, 0.52]
    low = [0.1 + at / 1000 for at in range(4)]
    arms = {
        "uniform": runs_of(test_loss=base, test_accuracy=base),
        "adarank": runs_of(test_loss=low, test_accuracy=low),
        "ramp-up": runs_of(test_loss=[1 + b for b in low], test_accuracy=[1 + b for b in low]),
    }
    words = {"adarank": ("better", "worse"), "ramp-up": ("worse", "better")}
    for at, metric in enumerate(("test_loss", "test_accuracy")):
        verdict = verdict_of("t", "m", arms, declared=Declared(metric))
        assert verdict.primary_metric == metric == verdict.comparisons[0]["metric"]
        assert {c["arm"]: c["verdict"] for c in verdict.primary} == {
            arm: both[at] for arm, both in words.items()
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


# One primary metric


def test_about_secondary_metrics_nothing_is_claimed():
    draw = np.random.default_rng(3)
    arms = {
        name: runs_of(test_loss=draw.normal(size=5), macro_f1=draw.normal(size=5), auc=[0.5] * 5)
        for name in ("uniform", "adarank", "permuted")
    }
    arms["adarank"] = runs_of(
        test_loss=[run["test_loss"] for run in arms["uniform"]["runs"]],
        macro_f1=[run["macro_f1"] + 5 + at / 9 for at, run in enumerate(arms["uniform"]["runs"])],
        auc=[0.5] * 5,
    )
    verdict = verdict_of("t", "m", arms)
    p_values = [c["p_value"] for c in verdict.comparisons]
    adjusted = [c["p_adjusted"] for c in verdict.comparisons]
    assert len(p_values) == 9 and len(verdict.primary) == 3
    assert adjusted[:3] == pytest.approx(multipletests(p_values[:3], method="holm")[1])
    assert adjusted[3:] == pytest.approx(multipletests(p_values, method="holm")[1][3:])
    for at, claims in ((0, 3), (1, 3), (4, 9)):  # Holm's strictest step, of what is read together
        one = verdict.comparisons[at]
        first, second = (
            [run[one["metric"]] for run in arms[one[arm]]["runs"]] for arm in ("arm", "against")
        )
        alone = paired_comparison(first, second, claims=claims)
        assert one["smallest_detectable"] == alone["smallest_detectable"]
    assert min(adjusted[3:]) < 0.05  # the F1 differs for sure
    assert {c["verdict"] for c in verdict.comparisons[3:]} == {"secondary"}
    assert {c["verdict"] for c in verdict_of("t", "m", arms, declared=Declared("macro_f1")).primary
            if c["arm"] == "adarank" and c["against"] == "uniform"} == {"better"}  # fmt: skip


# Practical equivalence


@pytest.mark.parametrize(
    ("differences", "smallest", "word"),
    [
        ([-0.10, -0.12, -0.11, -0.09], 0.05, "better"),
        ([0.10, 0.12, 0.11, 0.09], 0.05, "worse"),
        ([0.10, -0.12, 0.11, -0.09], 0.05, "too few seeds to tell"),
        ([0.001, -0.001, 0.002, -0.002], 0.05, "no practical difference"),
        ([0.001, -0.001, 0.002, -0.002], None, NO_DIFFERENCE),
        # There is a difference, for sure, and for sure none that matters.
        ([-0.010, -0.012, -0.011, -0.009], 0.05, "no practical difference"),
        ([-0.010, -0.012, -0.011, -0.009], None, "better"),
        # There is one, and it may matter or not.
        ([-0.04, -0.055, -0.06, -0.045], 0.05, "better"),
        # Two seeds claim nothing, whatever their test says.
        ([-0.100, -0.101], None, "too few seeds to tell"),
        ([0.00001, -0.00001], 0.05, "too few seeds to tell"),
    ],
)
def test_the_word_of_a_comparison(differences, smallest, word):
    arms = {"uniform": runs_of(test_loss=[1.0] * len(differences))}
    arms["adarank"] = runs_of(test_loss=[1 + d for d in differences])
    verdict = verdict_of("t", "m", arms, declared=Declared(smallest_of_interest=smallest))
    (compared,) = verdict.comparisons
    assert compared["verdict"] == word
    assert verdict.smallest_of_interest_from == (None if smallest is None else "given")
    assert (compared["seeds_needed"] is None) == (smallest is None)


def test_what_is_of_interest_is_a_tenth_of_what_lora_gains_over_the_head():
    arms = {
        "uniform": runs_of(test_loss=[0.5, 0.6], test_accuracy=[0.8, 0.7]),
        "head-only": runs_of(test_loss=[1.0, 1.3], test_accuracy=[0.5, 0.6]),
    }
    verdict = verdict_of("t", "m", arms)
    assert verdict.smallest_of_interest == pytest.approx(0.06)
    assert verdict.smallest_of_interest_from == "head-only"
    of_accuracy = verdict_of("t", "m", arms, declared=Declared("test_accuracy"))
    assert of_accuracy.smallest_of_interest == pytest.approx(0.02)
    given = verdict_of("t", "m", arms, declared=Declared(smallest_of_interest=0.5))
    assert (given.smallest_of_interest, given.smallest_of_interest_from) == (0.5, "given")
    swapped = dict(zip(arms, reversed(arms.values()), strict=True))
    assert verdict_of("t", "m", swapped).smallest_of_interest is None  # LoRA gains nothing


def test_of_equal_arms_no_word_is_wrong_more_often_than_it_may_be():
    """At exactly the smallest difference of interest, equivalence is the wrong claim."""
    draw, wrong = np.random.default_rng(0), 0
    for _ in range(200):
        losses = draw.normal(0.5, 0.02, size=(5, 8))
        losses[1:] += 0.03
        arms = {
            name: runs_of(test_loss=row.tolist())
            for name, row in zip(("uniform", *"abcd"), losses, strict=True)
        }
        verdict = verdict_of("t", "m", arms, declared=Declared(smallest_of_interest=0.03))
        wrong += any(c["verdict"] == "no practical difference" for c in verdict.comparisons)
    assert wrong / 200 <= 0.07


# Looks


def test_a_second_look_is_decided_at_another_level_and_has_wider_intervals():
    base = [0.50, 0.61, 0.55, 0.52]
    near = [0.46, 0.58, 0.53, 0.47]  # p = 0.014
    arms = {"uniform": runs_of(test_loss=base), "adarank": runs_of(test_loss=near)}
    look = {"arms": ["uniform", "adarank"], "seeds": [0, 1]}
    first, second = (
        verdict_of("t", "m", arms, declared=Declared(planned_seeds=(0, 1), looks=[look] * count))
        for count in (1, 2)
    )
    assert (first.exploratory, second.exploratory) == (False, True)
    assert [v.comparisons[0]["verdict"] for v in (first, second)] == ["better", NO_DIFFERENCE]
    assert [v.comparisons[0]["ci_level"] for v in (first, second)] == [0.95, 0.99]
    assert second.comparisons[0]["ci_low"] < first.comparisons[0]["ci_low"]
    assert second.comparisons[0]["p_value"] == first.comparisons[0]["p_value"]
    assert second.to_dict()["exploratory"] is True


# Texts


def test_the_second_interval_is_of_the_texts_of_both_arms():
    draw = np.random.default_rng(0)
    kept = {
        arm: [{"test_loss": draw.normal(size=60), "test_accuracy": draw.random(60) < 0.5}
              for _ in range(3)]
        for arm in ("uniform", "adarank")
    }  # fmt: skip
    arms = {
        arm: runs_of(**{m: [float(run[m].mean()) for run in runs] for m in runs[0]}, auc=[0.5] * 3)
        for arm, runs in kept.items()
    }
    verdict = verdict_of("t", "m", arms, texts=kept)
    for compared in verdict.comparisons[:2]:
        ours, theirs = (
            np.array([run[compared["metric"]] for run in kept[arm]], float)
            for arm in ("adarank", "uniform")
        )
        assert compared["difference"] == pytest.approx((ours - theirs).mean())
        interval = compared["ci_low_texts"], compared["ci_high_texts"]
        assert interval == pytest.approx(texts_interval(ours - theirs))
        assert interval[0] < compared["difference"] < interval[1]
    assert verdict.comparisons[2]["ci_low_texts"] is None  # AUC is no mean over texts
    # Where one training's file is gone, or has another number of texts, there is no second one.
    for broken in ({}, {"test_loss": np.zeros(59)}):
        less = {**kept, "adarank": [*kept["adarank"][:2], broken]}
        assert verdict_of("t", "m", arms, texts=less).comparisons[0]["ci_low_texts"] is None


def test_arms_with_fewer_seeds_are_compared_on_those_that_both_have():
    def about(*losses, first=0):
        runs = [{"seed": seed, "test_loss": loss} for seed, loss in enumerate(losses, first)]
        return {"runs": runs}

    arms = {"uniform": about(0.5, 0.6, 0.55, 0.52), "adarank": about(0.45, 0.57, 0.5, 0.49)}
    arms["head-only"] = about(1.1, 0.9, first=1)
    lost = about(0.7, first=9)  # shares no seed with any
    pairs = [
        ("adarank", "uniform"),
        ("head-only", "uniform"),
        ("lost", "uniform"),
        ("x", "uniform"),
    ]
    texts = {
        "uniform": [
            {"test_loss": np.array([run["test_loss"]] * 2)} for run in arms["uniform"]["runs"]
        ],
        "head-only": [{"test_loss": np.array([1.2, 1.0])}, {"test_loss": np.array([0.8, 1.0])}],
    }
    verdict = verdict_of("t", "m", {**arms, "lost": lost}, texts=texts, pairs=pairs)
    assert [one["arm"] for one in verdict.comparisons] == ["adarank", "head-only"]
    head = verdict.comparisons[1]
    assert head["difference"] == pytest.approx(((1.1 - 0.6) + (0.9 - 0.55)) / 2)
    assert head["ci_low_texts"] < head["difference"] < head["ci_high_texts"]
    assert verdict.comparisons[0]["ci_low_texts"] is None
    # A tenth of the gap on the seeds that both have.
    assert verdict.smallest_of_interest == pytest.approx(0.1 * head["difference"])
