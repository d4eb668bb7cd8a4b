"""The reset that never happened."""

import math

import pytest

from adarank_core import AdaRankError, generic_texts, load_model, score
from adarank_core.lab import reset
from adarank_core.numerals import with_error

SMALL = {"trials": 2, "texts": 2, "repeats": 2}


@pytest.fixture(scope="module")
def result(finished):
    return finished("reset", **SMALL)


def test_the_curves_are_the_notebooks(result, tiny_bert):
    bundle, texts = load_model(tiny_bert, 2), list(generic_texts().items[:2])
    for curve, options in reset.CURVES.items():
        runs = [score(bundle, texts, trials=2, seed=seed, **options) for seed in (0, 1)]
        rows = [r for r in result.rows if r["table"] == "curves" and r["curve"] == curve]
        for at, row in enumerate(rows):
            scores = [run.modules[at].score for run in runs]
            assert row["module"] == runs[0].modules[at].name
            assert row["score"] == pytest.approx(sum(scores) / 2)
            assert row["standard_error"] == pytest.approx(abs(scores[0] - scores[1]) / 2)


def test_noise_that_stays_makes_what_is_scanned_later_score_higher(result):
    growth = {r["curve"]: r["last_over_first"] for r in result.rows if r["table"] == "growth"}
    real = growth["real reset"]
    assert growth["accumulating, forward"] > real > growth["accumulating, reversed"]
    errors = {r["curve"]: r["log_error"] for r in result.rows if r["table"] == "growth"}
    for curve, ratio in growth.items():
        told = result.details if curve == "real reset" else result.answer
        assert f"{with_error(ratio, ratio * errors[curve], 1)} times" in told


def test_an_error_that_rounds_to_nothing_keeps_its_digits():
    def row(curve, ratio, error):
        return {"table": "growth", "curve": curve, "last_over_first": ratio, "log_error": error}

    errors = dict(zip(reset.CURVES, (0, 0.0008, 0.3), strict=True))
    rows = [row(curve, 3.5, error) for curve, error in errors.items()]
    assert "3.500 ± 0.003 times in reverse" in reset.STUDY.answer(rows)
    assert "scores 3.50 times the first" in reset.STUDY.answer(rows)  # an error of nothing


def test_the_growth_is_the_geometric_mean_of_families_over_repeats():
    def modules(first, last):
        about = [("a", 0, first), ("a", 1, 9.0), ("a", 2, last), ("b", 0, 1.0), ("b", 2, 1.0)]
        return [{"family": f, "layer": layer, "score": value} for f, layer, value in about]

    found = reset._growth([modules(1.0, 4.0), modules(1.0, 16.0)])
    assert found["last_over_first"] == pytest.approx(math.sqrt(8))
    assert found["log_error"] == pytest.approx(math.log(2) / 2)
    assert reset._growth([modules(0.0, 4.0)])["last_over_first"] is None


def test_a_model_without_a_pooler_is_refused(finished, tiny_gpt2):
    with pytest.raises(AdaRankError, match="has no pooler; give a model like BERT"):
        finished("reset", model=tiny_gpt2, **SMALL)
