"""Agreement of two ways to score, and its error."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from adarank_core.lab.agreement import agreement, is_told_apart, jackknife, spearman


def test_spearman_is_scipys_with_ties():
    draw = np.random.default_rng(0)
    for _ in range(5):
        first, second = draw.integers(0, 6, (2, 30))
        expected = spearmanr(first, second).statistic
        assert spearman([second, first], [second])[:, 0] == pytest.approx([1, expected])


def test_agreement_is_the_mean_over_unlike_repeats():
    draw = np.random.default_rng(1)
    first, second = draw.normal(size=(2, 4, 20)) + np.arange(20) / 4
    pairs = [(a, b) for a in range(4) for b in range(4) if a != b]
    by_hand = np.mean([spearmanr(first[a], second[b]).statistic for a, b in pairs])
    mean, error = agreement(first, second)
    assert mean == pytest.approx(by_hand) and 0 < error < 0.2
    assert agreement([[1, 1], [2, 2]], [[1, 2], [2, 1]]) == (None, None)


def test_the_jackknifes_error_is_the_true_spread():
    """Of the agreement of independent noisy copies, over many draws of 8 repeats."""
    draw, found = np.random.default_rng(2), []
    for _ in range(300):
        first, second = draw.normal(size=(2, 8, 15)) + np.arange(15) / 4
        found.append(agreement(first, second))
    means, errors = np.array(found).T
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(means.std(), rel=0.25)


def test_a_difference_is_told_apart_by_students_t():
    draw, told = np.random.default_rng(3), []
    for _ in range(1000):
        data = draw.normal(size=5)
        value, error = jackknife(5, lambda kept, data=data: data[list(kept)].mean())
        told.append(is_told_apart(value, error, 5))
    assert 0.03 < np.mean(told) < 0.07
