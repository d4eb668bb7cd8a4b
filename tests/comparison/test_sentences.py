"""What a verdict says: every case is one true sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adarank_core import Verdict
from adarank_core.comparison.judging import Declared, verdict_of
from adarank_core.comparison.sentences import describe, of_interest, why_no_verdict, word_of

values = st.lists(st.floats(-10, 10), min_size=2, max_size=9)
LOOK = {"arms": ["uniform"], "seeds": [0]}


def runs_of(**metrics):
    names = list(metrics)
    return {
        "runs": [
            {"seed": seed, **dict(zip(names, numbers, strict=True))}
            for seed, numbers in enumerate(zip(*metrics.values(), strict=True))
        ]
    }


PAIR = {
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


def said(seeds=5, looks=1, smallest=None, **changed):
    arms = {"uniform": {"runs": [{"seed": seed} for seed in range(seeds)]}}
    about = {"smallest_of_interest": smallest, "looks": (LOOK,) * looks}
    return describe({**PAIR, **changed}, Verdict("t", "m", arms, (), **about))


NONE = {"verdict": "no detectable difference", "p_value": 0.4, "p_adjusted": 0.4}
FEW = {"verdict": "too few seeds to tell", "p_value": 0.4, "p_adjusted": 0.4}
PRACTICAL = {"verdict": "no practical difference", "smallest": 0.0625}
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
            "lower, 5 seeds): no detectable difference once corrected for the number of "
            "comparisons",
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
        (
            {**FEW, "smallest": 0.0125, "seeds_needed": 1234},
            "adarank's test loss is lower than uniform's by 0.034 (95% interval 0.012 to 0.056 "
            "lower, 5 seeds): too few seeds to tell; 5 seeds could have shown one of 0.030, and "
            "1,234 would show 0.0125, the smallest of interest",
        ),
        (
            {**PRACTICAL, "p_value": 0.4, "p_adjusted": 0.4},
            "adarank's test loss is lower than uniform's by 0.034 (95% interval 0.012 to 0.056 "
            "lower, 5 seeds): no practical difference, as it is surely below 0.0625, the smallest "
            "of interest",
        ),
        (
            PRACTICAL,
            "adarank's test loss is lower than uniform's by 0.034 (95% interval 0.012 to 0.056 "
            "lower, 5 seeds): no practical difference, as there is a difference, but surely one "
            "below 0.0625, the smallest of interest",
        ),
        (
            {"looks": 3, "ci_level": 0.995, "ci_low_texts": -0.07, "ci_high_texts": 0.002},
            "adarank's test loss is lower than uniform's by 0.034 (99.5% interval 0.012 to 0.056 "
            "lower, 5 seeds; 0.070 lower to 0.002 higher for other texts too): better "
            "(exploratory: look 3)",
        ),
        (
            {"ci_low_texts": -0.0561, "ci_high_texts": -0.0119},  # read like the other interval
            "adarank's test loss is lower than uniform's by 0.034 (95% interval 0.012 to 0.056 "
            "lower, 5 seeds; the same for other texts too): better",
        ),
        (
            {"verdict": "secondary"},
            "adarank's test loss is lower than uniform's by 0.034 (95% interval 0.012 to 0.056 "
            "lower, 5 seeds)",
        ),
    ],
    ids=range(15),
)
def test_every_case_is_one_true_sentence(changed, sentence):
    assert said(**changed) == sentence


@given(
    values.flatmap(lambda a: st.tuples(st.just(a), st.permutations(a))),
    st.sampled_from([None, 1e-9, 0.5, 100.0]),
)
def test_every_comparison_can_be_said(two, smallest):
    arms = {"uniform": runs_of(test_loss=two[0]), "adarank": runs_of(test_loss=two[1])}
    verdict = verdict_of("t", "m", arms, declared=Declared(smallest_of_interest=smallest))
    (compared,) = verdict.comparisons
    sentence = describe(compared, verdict)
    assert word_of(compared, verdict) in sentence and "\n" not in sentence


@pytest.mark.parametrize(
    ("arms", "metric", "why"),
    [
        ({"uniform": runs_of(test_loss=[1, 2])}, "test_loss", "uniform is the only arm"),
        (
            {"uniform": runs_of(test_loss=[1]), "adarank": runs_of(test_loss=[2])},
            "test_loss",
            "with one seed nothing tells",
        ),
        (
            {"uniform": runs_of(test_loss=[1, 2]), "adarank": runs_of(test_loss=[2, 2])},
            "auc",
            "AUC, which was declared the primary metric, was not measured",
        ),
        (
            {"uniform": runs_of(test_loss=[1, 2]), "adarank": runs_of(test_loss=[2, 2])},
            "test_loss",
            "",
        ),
    ],
    ids=["one arm", "one seed", "not measured", "judged"],
)
def test_where_nothing_is_judged_a_sentence_says_why(arms, metric, why):
    said = why_no_verdict(verdict_of("t", "m", arms, declared=Declared(metric)))
    assert why in said and bool(said) == bool(why) and "\n" not in said


def test_below_three_seeds_and_where_nobody_learned_there_is_no_word():
    found = {arm: {"test_accuracy": 0.5, "test_loss": 0.69} for arm in ("uniform", "adarank")}
    for seeds, share, word in ((3, 0.4, "better"), (2, 0.4, "too few seeds to tell"), (3, 0.5, "")):
        arms = {
            arm: {"runs": [{"seed": seed, **about} for seed in range(seeds)]}
            for arm, about in found.items()
        }
        guessing = {"accuracy": share, "loss": 0.69, "texts": 1000}
        verdict = Verdict("t", "m", arms, (PAIR,), guessing=guessing)
        said = describe(PAIR, verdict)
        assert said.endswith(f"{seeds} seeds)") if not word else f"seeds): {word}" in said
        assert ("nobody has learned yet" in why_no_verdict(verdict)) == (not word)
        assert word_of(PAIR, verdict) == (word or "nobody has learned yet")


def test_a_margin_from_the_head_at_lora_s_learning_rate_is_said_to_be_large():
    arms = {arm: {"runs": []} for arm in ("uniform", "head-only")}
    margin = {"smallest_of_interest": 0.07, "smallest_of_interest_from": "head-only"}
    said = of_interest(Verdict("t", "m", arms, (), **margin))
    assert "below 0.07 is of no interest, a tenth of what uniform gains" in said
    assert "at a higher learning rate" in said
    searched = {arm: {**about, "learning_rate": 0.1} for arm, about in arms.items()}
    ended = {**searched, "head-only": {**searched["head-only"], "learning_rate_at_edge": True}}
    assert "higher" in of_interest(Verdict("t", "m", ended, (), **margin))
    assert "higher" not in of_interest(Verdict("t", "m", searched, (), **margin))
    assert "higher" not in of_interest(Verdict("t", "m", arms, (), smallest_of_interest=0.07))
    assert of_interest(Verdict("t", "m", arms, ())) == ""
