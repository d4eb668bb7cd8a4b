"""The numbers of a verdict, against SciPy, statsmodels and simulations."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import DescrStatsW, ttost_paired

from adarank_core.comparison.statistics import (
    _detectable,
    holm,
    level_of_look,
    paired_comparison,
    seeds_needed,
    texts_interval,
)

numbers = st.floats(-10, 10)
pairs_of_numbers = st.lists(st.tuples(numbers, numbers), min_size=2, max_size=9)
levels = st.sampled_from([0.05, 0.01, 0.00125])


@given(pairs_of_numbers, levels, st.floats(0.01, 5))
def test_the_tests_and_the_interval_are_statsmodels(pairs, level, smallest):
    ours, theirs = (list(column) for column in zip(*pairs, strict=True))
    result = paired_comparison(ours, theirs, level=level, smallest=smallest)
    differences = np.subtract(ours, theirs)
    assert result["difference"] == pytest.approx(differences.mean(), abs=1e-9)
    if np.ptp(differences) < 1e-6:
        return
    oracle = DescrStatsW(differences)
    close = {"rel": 1e-6, "abs": 1e-9}
    interval = result["ci_low"], result["ci_high"]
    assert interval == pytest.approx(oracle.tconfint_mean(alpha=level), **close)
    assert result["p_value"] == pytest.approx(oracle.ttest_mean(0)[1], **close)
    assert (result["p_value"] < level) == (interval[0] * interval[1] > 0)
    equivalence = ttost_paired(np.array(ours), np.array(theirs), -smallest, smallest)[0]
    assert result["p_equivalence"] == pytest.approx(equivalence, **close)


def test_one_seed_has_a_difference_and_nothing_else():
    result = paired_comparison([0.5], [0.75], smallest=0.1)
    assert result.pop("difference") == -0.25 and result.pop("ci_level") == 0.95
    assert set(result.values()) == {None} and len(result) == 6


@pytest.mark.parametrize(("seeds", "p_value"), [(2, 0.5), (3, 0.25), (5, 0.0625), (6, 0.03125)])
def test_equal_differences_are_judged_by_their_sign_alone(seeds, p_value):
    """Two seeds that are both one text better on a hundred are no certainty."""
    accuracies = [0.8 + 0.03 * at for at in range(seeds)]
    result = paired_comparison([a + 0.01 for a in accuracies], accuracies, smallest=0.1)
    assert result["difference"] == pytest.approx(0.01) and result["p_value"] == p_value
    assert result["ci_low"] is result["ci_high"] is result["smallest_detectable"] is None
    assert result["p_equivalence"] is result["seeds_needed"] is None
    assert paired_comparison(accuracies, accuracies)["p_value"] == 1.0


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_the_smallest_detectable_difference_is_found_four_times_in_five(seeds):
    draw = np.random.default_rng(0)
    shift = _detectable(seeds, 0.05) / math.sqrt(seeds)  # in deviations of the differences
    differences = draw.normal(shift, 1, size=(20_000, seeds))
    found = stats.ttest_1samp(differences, 0, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize(("level", "claims"), [(0.05, 1), (0.05, 4), (0.01, 4)])
def test_statsmodels_gives_the_smallest_detectable_difference_the_same_power(level, claims):
    """Four comparisons of 5 seeds: at 5% alone it would be told 1.47 times too small."""
    differences = [0.5, -0.5, 2.0, 0.25, 1.0]
    result = paired_comparison(differences, [0.0] * 5, level=level, claims=claims)
    effect = result["smallest_detectable"] / np.std(differences, ddof=1)
    one_side = level / claims / 2
    power = TTestPower().power(effect, 5, one_side, alternative="larger")
    assert power == pytest.approx(0.8, abs=1e-6)
    if (level, claims) == (0.05, 4):
        alone = paired_comparison(differences, [0.0] * 5)["smallest_detectable"]
        assert result["smallest_detectable"] / alone == pytest.approx(1.47, abs=0.01)


@pytest.mark.parametrize("effect", [0.02, 0.3, 1.0, 3.0])
@pytest.mark.parametrize("level", [0.05, 0.0125])
def test_the_seeds_needed_are_the_first_that_statsmodels_finds_enough(effect, level):
    seeds = seeds_needed(effect, level)
    two = (seeds - 1, seeds)
    power = [TTestPower().power(effect, n, level / 2, alternative="larger") for n in two]
    assert power[0] < 0.8 <= power[1]


def test_more_than_a_million_seeds_are_a_million():
    assert seeds_needed(1e-6, 0.05) == 10**6
    assert seeds_needed(1e9, 0.05) == 2


@settings(max_examples=10, deadline=None)  # statsmodels takes a fifth of a second for each
@given(st.lists(st.floats(0, 1), min_size=2, max_size=12))
def test_holm_is_statsmodels(p_values):
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])
    assert holm([None, *p_values]) == [None, *holm(p_values)]


def test_all_looks_together_stay_below_seven_in_a_hundred():
    spent = [level_of_look(look) for look in range(1, 60)]
    assert spent == sorted(spent, reverse=True) and sum(spent) == pytest.approx(0.07)


def test_five_looks_find_what_is_not_there_in_three_to_seven_of_a_hundred():
    """Seeds are added until something is found: 3, then 5, 8, 12, 16. At 5% each it is 16%."""
    noise = np.random.default_rng(1).normal(size=(2000, 16))
    found, naive = np.zeros(2000, bool), np.zeros(2000, bool)
    for look, seeds in enumerate((3, 5, 8, 12, 16), 1):
        p_values = stats.ttest_1samp(noise[:, :seeds], 0, axis=1).pvalue
        found |= p_values < level_of_look(look)
        naive |= p_values < 0.05
    assert 0.03 < found.mean() < 0.07 and naive.mean() > 0.1


@pytest.mark.parametrize(("seeds", "texts"), [(3, 500), (5, 100), (10, 300)])
@pytest.mark.parametrize("shares", [(0.05, 0.5, 1.0), (0.1, 0.1, 0.5), (0.0, 0.0, 0.7)], ids=str)
def test_the_interval_over_texts_holds_the_truth_as_often_as_it_says(seeds, texts, shares):
    """Random effects of the seed, the text, and the text with the seed; 0.3 is the truth."""
    draw, held = np.random.default_rng(1), 0
    of_seed, of_text, of_both = shares
    for _ in range(1000):
        differences = 0.3 + of_seed * draw.normal(size=(seeds, 1))
        differences = differences + of_text * draw.normal(size=(1, texts))
        low, high = texts_interval(differences + of_both * draw.normal(size=(seeds, texts)))
        held += low <= 0.3 <= high
    assert 0.92 <= held / 1000 <= 0.97


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_interval_over_texts_holds_that_over_seeds(seeds):
    draw = np.random.default_rng(0)
    for of_text in (0.0, 0.3, 1.0, 3.0):
        differences = draw.normal(size=(seeds, 1)) * 0.2 + draw.normal(size=(seeds, 40))
        differences = differences + of_text * draw.normal(size=(1, 40))
        first = paired_comparison(differences.mean(axis=1).tolist(), [0.0] * seeds)
        low, high = texts_interval(differences)
        assert low <= first["ci_low"] + 1e-12 and first["ci_high"] - 1e-12 <= high


def test_the_interval_over_texts_is_the_first_where_every_text_is_alike():
    """Then nothing but the seeds varies."""
    of_seeds = np.array([0.1, 0.3, 0.15, 0.2])
    first = paired_comparison(of_seeds.tolist(), [0.0] * 4)
    found = texts_interval(np.tile(of_seeds[:, None], (1, 50)))
    assert found == pytest.approx((first["ci_low"], first["ci_high"]))
    of_texts = np.random.default_rng(0).normal(size=400)
    low, high = texts_interval(np.tile(of_texts, (4, 1)))  # and here nothing but the texts
    assert (low, high) == pytest.approx(DescrStatsW(of_texts).tconfint_mean())
    assert texts_interval(np.full((3, 7), 0.5)) == (0.5, 0.5)
