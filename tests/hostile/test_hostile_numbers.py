"""Numbers at the ends of what there is, at every door that takes one: a result, or one sentence."""

import pandas as pd
import pytest
from hypothesis import given

from adarank_core import AdaRankError, Task, compare, finetune, load_model, score_iter
from adarank_core.comparison.request import ComparisonRequest
from adarank_core.scoring.options import ScoringOptions
from adarank_core.training.settings import Settings
from tests.ranks.extremes import result_or_refusal, values

ROWS = pd.DataFrame({"text": ["Good.", "Bad."], "label": [1, 0]})
TASK = Task("mine", ("bad", "good"), ROWS, ROWS, ROWS)


@given(values)
@pytest.mark.parametrize(
    "name",
    ["trials", "tolerance", "average_rank", "noise_scale", "seed", "max_length"],
)
def test_scoring_options(name, value):
    result_or_refusal(ScoringOptions, **{name: value})


@given(values)
@pytest.mark.parametrize("name", ["estimator", "mode", "scan", "modules", "precision", "logits"])
def test_scoring_choices(name, value):
    result_or_refusal(ScoringOptions, **{name: value})


@given(values)
@pytest.mark.parametrize("name", list(Settings.__dataclass_fields__))
def test_settings(name, value):
    result_or_refusal(Settings, **{name: value})


@given(values, values)
def test_texts_are_drawn(count, seed):
    result_or_refusal(TASK.sample_texts, count, seed)


@given(values)
@pytest.mark.parametrize("name", ["labels", "head"])
def test_models_are_refused_before_anything_is_loaded(name, value):
    result_or_refusal(load_model, "no such model", **{name: value})


@given(values, values, values, values, values)
def test_comparisons(rank, seed, trials, rate, side_by_side):
    def ask():
        ComparisonRequest(
            "tiny", "docstrings", ("uniform",), rank, (seed,), trials, Settings(), (rate,),
            side_by_side,
        ).check()  # fmt: skip

    result_or_refusal(ask)


@given(values)
def test_seeds_of_trainings(seed):
    try:
        finetune("no such model", TASK, None, method="head-only", seed=seed)
    except AdaRankError:
        return
    pytest.fail("there is no such model")


def test_nothing_is_lost_on_the_way(embedded, tmp_path):
    with pytest.raises(AdaRankError, match="trials is 1"):
        score_iter(embedded, ["A text."], trials=1)
    with pytest.raises(AdaRankError, match="average_rank"):
        compare("embedded", TASK, output=tmp_path, average_rank=float("nan"))
