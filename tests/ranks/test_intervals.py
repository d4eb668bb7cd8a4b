"""Whiskers of ranks: exact where nothing is uncertain, and as wide as the law says."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from adarank_core import AdaRankError, ModuleScore, Scores, allocate, rank_intervals
from adarank_core.ranks.intervals import average_interval
from tests.ranks import extremes

TEXTS = {"source": "list", "count": 1, "sha256": "00"}


def scores_of(values, errors, size=(64, 64)):
    listed = tuple(
        ModuleScore(f"layer.{at:03}", at, f"family {at % 2}", *size, value, error)
        for at, (value, error) in enumerate(zip(values, errors, strict=True))
    )
    return Scores("tiny", "paper", "paired", 1.0, 0, TEXTS, listed)


OPTIONS = [
    {},
    {"budget_by": "parameters"},
    {"group_by": "family"},
    {"adaptive": True},
    {"pinned": {"layer.001": 5}, "excluded": ["layer.002"], "temperature": 0.5},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_without_errors_every_rank_is_settled_at_the_plan(options):
    scores = scores_of([1.0, 2.0, 3.0, 7.0], [0.0] * 4)
    plan = allocate(scores, **options)
    assert rank_intervals(scores, **options) == {n: (r, r) for n, r in plan.ranks.items()}


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_plan_is_inside_and_a_seed_gives_one_answer(options):
    scores = scores_of([1.0, 2.0, 3.0, 7.0], [0.3, 0.1, 1.0, 2.0])
    found = rank_intervals(scores, **options)
    assert found == rank_intervals(scores, **options) != {}
    for name, rank in allocate(scores, **options).ranks.items():
        low, high = found[name]
        assert low <= rank <= high
    if "pinned" in options:
        assert found["layer.001"] == (5, 5) and found["layer.002"] == (0, 0)
    assert found["layer.003"][0] < found["layer.003"][1]


def test_the_width_is_that_of_the_normal_law():
    # One uncertain module among many sure ones: adaptive ranks are its score over a fixed unit.
    scores = scores_of([1.0] * 20 + [200.0], [0.0] * 20 + [10.0], (1000, 1000))
    low, high = rank_intervals(scores, adaptive=True, draws=4000)["layer.020"]
    expected = stats.norm(200, 10).interval(0.95)
    assert (low, high) == pytest.approx(expected, abs=1.5)


def test_scores_are_cut_at_zero():
    scores = scores_of([1.0, 1.0], [50.0, 0.0])
    low, high = rank_intervals(scores, 8, min_rank=0, max_rank=16)["layer.000"]
    assert (low, high) == (0, 16)


def test_scores_beyond_what_floats_hold_stay_the_largest():
    scores = scores_of([1.7e308, 1.0], [3e307, 0.1])
    assert rank_intervals(scores, 8) == {"layer.000": (15, 15), "layer.001": (1, 1)}


def test_options_are_checked():
    scores = scores_of([1.0, 2.0], [0.1, 0.1])
    with pytest.raises(AdaRankError, match="draws is 0"):
        rank_intervals(scores, draws=0)
    with pytest.raises(AdaRankError, match="average_rank is -1"):
        rank_intervals(scores, -1)
    assert rank_intervals(scores, alpha_policy="rslora") == rank_intervals(scores)


def test_a_slider_need_not_wait(made_up):
    scores = made_up()
    for options in ({}, {"budget_by": "parameters"}, {"adaptive": True}):
        rank_intervals(scores, draws=2, **options)
        started = time.process_time()
        found = rank_intervals(scores, **options)
        assert time.process_time() - started < 0.3 * 4  # for slow machines
        assert np.mean([low < high for low, high in found.values()]) >= 0


def test_the_average_adaptive_rank_is_surer_of_surer_scores():
    values = [1.0 + at / 4 for at in range(30)]
    own = allocate(scores_of(values, [0.0] * 30), adaptive=True).budget["average_rank"]
    assert average_interval(scores_of(values, [0.0] * 30)) == (own, own)
    few, many = (average_interval(scores_of(values, [e] * 30)) for e in (0.4, 0.1))
    assert few[0] < many[0] <= own <= many[1] < few[1]


huge = st.integers(10**6, 10**40)  # in between, draws take as long as they are many


@given(
    extremes.scores | extremes.broken_scores,
    st.sampled_from(["draws", "seed", "average_rank", "parameters", "temperature", "min_rank"]),
    extremes.values.filter(lambda value: type(value) is not int or abs(value) < 20) | huge,
)
def test_any_number_gives_intervals_or_is_refused(scores, option, value):
    options = {"draws": 3, option: value}
    found = extremes.result_or_refusal(rank_intervals, scores, **options)
    if found is not None:
        plan = allocate(scores, **{k: v for k, v in options.items() if k not in ("draws", "seed")})
        assert all(low <= plan.ranks[name] <= high for name, (low, high) in found.items())
    average = extremes.result_or_refusal(average_interval, scores, **options)
    if average is not None:
        assert 0 <= average[0] <= average[1] <= 10**6
