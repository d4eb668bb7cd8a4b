"""Does it matter which noise is put on a module, and how much of it?"""

import pytest

from adarank_core import AdaRankError, load_model
from adarank_core.data.texts import Texts
from adarank_core.lab import noise
from tests.scoring.closed_form import small_noise_scores

SMALL = {"kinds": ["gaussian", "absolute", "rank-2"], "scales": [0.001, 1.0, 10.0], "repeats": 2}
SMALL |= {"heads": 8, "trials": 16}


@pytest.fixture(scope="module")
def result(finished):
    return finished("noise", **SMALL)


def test_the_linearised_score_is_that_of_the_weights_gradients(tiny_bert):
    texts, bundle = ["the cat sat", "a red dog ran on the old bird"], load_model(tiny_bert)
    found = noise.linearised_scores(bundle, Texts("list", tuple(texts)), heads=1, seed=3)
    expected = small_noise_scores(bundle, texts, seed=3)
    assert list(found["scores"].values()) == pytest.approx(expected.tolist(), rel=1e-3)


def test_small_noise_is_linear_and_large_noise_is_not(result):
    rows = {(row["kind"], row["scale"]): row for row in result.rows}
    for kind in ("gaussian", "absolute"):
        assert rows[kind, 0.001]["response"] == pytest.approx(1, abs=0.1)
        assert not rows[kind, 10.0]["linear"] and rows[kind, 10.0]["response"] < 0.5
    assert (
        rows["gaussian", 0.001]["spearman_linearised"]
        > rows["gaussian", 10.0]["spearman_linearised"]
    )
    assert set(rows) == {(kind, scale) for kind in SMALL["kinds"] for scale in SMALL["scales"]}


def row(scale, response, kind="gaussian"):
    own = {"spearman_usual": 0.9, "spearman_usual_error": None}
    own |= {"spearman_linearised": 0.8, "spearman_linearised_error": 0.01}
    linear = response is not None and abs(response - 1) <= 0.1
    return {"kind": kind, "scale": scale, "response": response, "linear": linear, **own}


def test_the_answer_says_where_linearity_ends():
    answer = noise.STUDY.answer
    rows = [row(0.1, 0.97), row(1.0, 0.7), row(1.0, 0.6, "uniform")]
    told = answer(rows)
    assert "up to scale 0.1 (response 0.97 of the linear one) and no longer at 1 (0.70)" in told
    told = noise.STUDY.details(rows)
    assert "uniform by 0.900" in told and "0.80 ± 0.01" in told
    assert "Up to scale 1 noise acts" in answer([row(0.1, 1.01), row(1.0, 0.95)])
    assert "Even noise of 1 of" in answer([row(1.0, 0.5)])
    assert "Nothing can be told" in answer([row(1.0, None)])
    assert noise.STUDY.details([row(1.0, None)]) == ""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kinds": ["pink"]}, "noise is 'pink'"),
        ({"kinds": ["uniform"]}, "leave 'gaussian' among the kinds"),
        ({"scales": [0.1]}, "and 1 among the scales"),
        ({"repeats": 1}, "repeats is 1"),
        ({"texts": 90}, "training texts"),
    ],
    ids=str,
)
def test_bad_input_is_one_sentence(finished, settings, message):
    with pytest.raises(AdaRankError, match=message):
        finished("noise", **{**SMALL, **settings})
