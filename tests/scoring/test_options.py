"""The options of scoring: what is refused without a model, and what the defaults come to."""

import dataclasses
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adarank_core import AdaRankError, load_model, score, score_iter
from adarank_core.scoring import options as options_file
from adarank_core.scoring.options import ScoringOptions

LARGE = 10**400  # no float holds it


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"estimator": "x"}, "estimator is 'x'; it must be 'paired' or 'fast'"),
        ({"mode": "x"}, "mode is 'x'; it must be one of paper, notebook, notebook-accumulating"),
        ({"scan": "x"}, "scan is 'x'; it must be 'forward' or 'reversed'"),
        ({"trials": 1}, "trials is 1; an error bar needs at least 2"),
        ({"noise_scale": 0}, "noise_scale is 0; it must be a number above 0"),
        ({"noise_scale": float("nan")}, "noise_scale is nan"),
        ({"noise_scale": LARGE}, "noise_scale is 1000"),
        ({"seed": 2**63}, f"seed is {2**63}; it must fit into 64 bits"),
        ({"max_length": 0}, "max_length is 0; it must be at least 1"),
        ({"modules": "("}, "modules is '(', which is not a regular expression"),
        ({"precision": "x"}, "precision is 'x'; it must be auto, float32 or bfloat16"),
        ({"noise": "pink"}, "noise is 'pink'; it must be words of gaussian, uniform, absolute"),
        ({"noise": "gaussian,uniform"}, "noise is 'gaussian,uniform'; it must be words"),
        ({"noise": "rank-8,uniform"}, "noise is 'rank-8,uniform'; it must be words"),
        ({"noise": "rank-0"}, "noise is 'rank-0'; it must be words"),
        ({"noise": "bias,bias"}, "noise is 'bias,bias'; it must be words"),
        ({"noise": None}, "noise is None; it must be words"),
        ({"noise": "uniform", "mode": "notebook"}, "the notebook's modes know 'gaussian' only"),
        ({"head_draw": "x"}, "head_draw is 'x'; it must be 'expected' or 'seed'"),
        ({"vocabulary_sample": 8}, "vocabulary_sample is 8; it must be at least 32"),
        ({"logits": "x"}, "logits is 'x'; it must be 'last' or 'all'"),
        ({"tolerance": 0}, "tolerance is 0; it must be a number of ranks above 0"),
        ({"tolerance": LARGE}, "tolerance is 1000"),
        ({"tolerance": 1, "average_rank": 0}, "average_rank is 0; it must be above 0"),
        ({"tolerance": 1, "trials": 4}, "tolerance works with the fast estimator"),
        ({"tolerance": 1, "estimator": "paired"}, "tolerance works with the fast estimator"),
        ({"tolerance": 1, "mode": "notebook"}, "tolerance works with the fast estimator"),
    ],
)
def test_bad_options_are_refused_without_a_model(given, words):
    with pytest.raises(AdaRankError) as caught:
        ScoringOptions(**given)
    assert words in str(caught.value) and "\n" not in str(caught.value)


ANY = st.one_of(st.integers(-LARGE, LARGE), st.floats())


@given(ANY, ANY, ANY, st.integers(-LARGE, LARGE), st.integers(-LARGE, LARGE), st.text())
def test_extreme_numbers_are_options_or_one_sentence(tolerance, rank, scale, trials, seed, modules):
    for values in (
        {"tolerance": tolerance, "average_rank": rank},
        {"noise_scale": scale, "trials": trials, "seed": seed, "max_length": trials},
        {"modules": modules},
    ):
        try:
            options = ScoringOptions(**values).resolved(texts=1)
        except AdaRankError:
            continue
        assert float(options.noise_scale) > 0


def test_defaults_come_from_the_number_of_texts_and_the_machine(monkeypatch):
    for native, precision in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(options_file, "bf16_is_native", lambda _device, native=native: native)
        assert ScoringOptions().resolved(16) == ScoringOptions(
            trials=4, precision=precision, logits="last"
        )
    found = [ScoringOptions().resolved(texts).trials for texts in (1, 4, 9, 16, 10_000)]
    assert found == [16, 16, 7, 4, 4]
    for options, trials in (({"estimator": "paired"}, 8), ({"mode": "notebook"}, 5)):
        resolved = ScoringOptions(**options).resolved(1)
        assert (resolved.estimator, resolved.trials) == ("paired", trials)
    assert ScoringOptions(trials=3, precision="float32").resolved(9).trials == 3
    assert ScoringOptions(tolerance=0.5).resolved(9).trials is None
    again = ScoringOptions().resolved(9)
    assert again.resolved(1) == again


def test_options_need_no_torch():
    code = (
        "import sys; from adarank_core.scoring.options import ScoringOptions; "
        "ScoringOptions(modules='query', tolerance=1.0); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_options_and_keyword_arguments_give_the_same_scores(tiny_bert):
    bundle, texts = load_model(tiny_bert), ["the cat sat", "rain"]
    by_name = score(bundle, texts, trials=3, seed=4, modules="value")
    options = ScoringOptions(trials=3, seed=4, modules="value")
    assert score(bundle, texts, options) == by_name
    # What is named counts in place of what the object says; the object stays what it was.
    other = ScoringOptions(trials=2, seed=4, modules="value")
    assert score(bundle, texts, other, trials=3) == by_name
    assert other.trials == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        other.trials = 3


def test_unknown_options_are_type_errors(tiny_bert):
    bundle = load_model(tiny_bert)
    for function in (score, score_iter):
        with pytest.raises(TypeError, match="zork"):
            function(bundle, ["the cat"], zork=1)
        with pytest.raises(TypeError):
            function(bundle, ["the cat"], {"trials": 2})


def test_bad_options_are_told_before_the_first_step(tiny_bert):
    bundle = load_model(tiny_bert)
    for bad in ({"trials": 1}, {"modules": "zork"}, {"logits": "all"}, {"max_length": 0}):
        with pytest.raises(AdaRankError):
            score_iter(bundle, ["the cat"], **bad)  # nobody asks for a step
