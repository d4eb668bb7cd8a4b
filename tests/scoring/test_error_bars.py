"""Means and error bars against two loops, many draws and known variances."""

import math

import numpy as np
import pytest
import torch

from adarank_core.scoring.error_bars import (
    Tally,
    all_pairs,
    expected_rank_change,
    mean_and_error,
    over_trials,
)


def test_one_text_has_the_standard_error_of_the_trials():
    values = np.random.default_rng(0).normal(size=(7, 1))
    mean, error = mean_and_error(values)
    assert mean == pytest.approx(values.mean())
    assert error == pytest.approx(values.std(ddof=1) / math.sqrt(7))


@pytest.mark.parametrize(("of_trials", "of_texts", "of_both"), [(1, 2, 1), (2, 1, 3), (0, 1, 1)])
def test_noise_that_texts_share_is_the_trials_variance(of_trials, of_texts, of_both):
    """Held texts are no sample: what they differ by is in no error bar."""
    draw = np.random.default_rng(0)
    texts, means, variances = of_texts * draw.normal(size=(1, 8, 1)), [], []
    for _ in range(4000):
        table = 10 + of_both * draw.normal(size=(5, 8, 1)) + texts
        tally = Tally(8)
        tally.add(range(8), *over_trials(table + of_trials * draw.normal(size=(5, 1, 1))))
        means.append(tally.mean())
        variances.append(tally.error() ** 2)
    true = of_trials**2 / 5 + of_both**2 / 40
    assert np.var(means) == pytest.approx(true, rel=0.08)
    assert np.mean(variances) == pytest.approx(true, rel=0.08)


@pytest.mark.parametrize(("texts", "draws"), [(6, 5), (6, 1), (1, 5)])
def test_an_error_holds_noise_texts_and_draws(texts, draws):
    random = np.random.default_rng(0)
    held, sampled = [], []
    for _ in range(4000):
        noise, of_texts = random.normal(size=(texts, 1)), 2 * random.normal(size=(texts, 1))
        tally = Tally(texts, draws)
        means = 10 + noise + of_texts + random.normal(size=(1, draws))
        tally.add(range(texts), means, np.ones(texts))
        held.append(tally.error() ** 2)
        sampled.append((tally.mean() - 10, tally.error(sampled=True) ** 2))
    of_draws = 1 / draws if draws > 1 else 0.0
    assert np.mean(held) == pytest.approx(1 / texts + of_draws, rel=0.05)
    if texts > 1 and draws > 1:
        means, variances = zip(*sampled, strict=True)
        assert np.var(means) == pytest.approx(np.mean(variances), rel=0.08)


def distances_of(values):
    """Return texts × draws × instances × instances L1 distances of texts × instances × logits."""
    return torch.cdist(values.double(), values.double(), p=1)[:, None]


def test_all_pairs_are_those_of_two_loops_and_their_jackknife():
    logits = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(0))
    means, variances = all_pairs(distances_of(logits))
    for text, ([mean], variance) in enumerate(zip(means, variances, strict=True)):
        values = logits[text].numpy().astype(float)

        def over(instances, values=values):
            pairs = [(i, j) for i in instances for j in instances if i < j]
            return np.mean([np.abs(values[i] - values[j]).sum() for i, j in pairs])

        without = np.array([over([j for j in range(6) if j != left]) for left in range(6)])
        assert mean == pytest.approx(over(range(6)))
        jackknife = 5 / 6 * ((without - without.mean()) ** 2).sum()
        assert variance == pytest.approx(jackknife * 4 / 5)


@pytest.mark.parametrize("count", [3, 4, 8, 16])
@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("size", [1, 2, 400])
def test_the_variance_is_that_of_instances_drawn_anew(count, norm, size):
    values = torch.randn(20000 if size < 9 else 4000, count, size)
    distances = torch.cdist(values, values, p=norm, compute_mode="donot_use_mm_for_euclid_dist")
    means, variances = all_pairs(distances.double()[:, None])
    assert variances.mean() == pytest.approx(means.var(ddof=1), rel=0.1)


def controlled(generator, texts=4000, count=8, slope=1.0, noise=0.5):
    """Draw logits that follow a linear model in part; their true mean distance is known."""
    linear = torch.randn(texts, count, 2, generator=generator).double()
    rest = torch.randn(texts, count, 2, generator=generator).double()
    logits = slope * linear + noise * rest
    known = 2 * 2 / math.sqrt(math.pi)
    true = known * math.hypot(slope, noise)
    return logits, linear, torch.full((texts,), known).double(), true


@pytest.mark.parametrize("count", [6, 8])
@pytest.mark.parametrize("slope", [1.0, 0.0, -1.0])
def test_the_control_moves_no_expectation(count, slope):
    logits, linear, expected, true = controlled(
        torch.Generator().manual_seed(0), 20000, count, slope
    )
    means, _ = all_pairs(distances_of(logits), linear, expected)
    error = means.std() / math.sqrt(len(means))
    assert abs(means.mean() - true) < 4 * error and error < 0.005 * true


def test_the_control_halves_the_variance_where_the_linear_model_holds():
    logits, linear, expected, _ = controlled(torch.Generator().manual_seed(0))
    distances = distances_of(logits)
    (with_control, told), (without, _) = (
        all_pairs(distances, linear, expected),
        all_pairs(distances),
    )
    assert with_control.var() < 0.5 * without.var()
    assert told.mean() == pytest.approx(with_control.var(), rel=0.25)


@pytest.mark.parametrize("count", [6, 8, 16])
@pytest.mark.parametrize("noise", [0.2, 0.5, 1.0])
def test_the_error_of_controlled_means_is_theirs(count, noise):
    draw = torch.Generator().manual_seed(0)
    logits, linear, expected, _ = controlled(draw, 6000, count, noise=noise)
    means, variances = all_pairs(distances_of(logits), linear, expected)
    assert 0.9 < means.std() / math.sqrt(variances.mean()) < 1.15


def test_the_unit_of_the_linear_model_does_not_matter():
    draw = torch.Generator().manual_seed(0)
    logits, linear, expected, _ = controlled(draw, texts=5)
    for one, other in zip(
        all_pairs(distances_of(logits), linear, expected),
        all_pairs(distances_of(logits), 100 * linear, 100 * expected),
        strict=True,
    ):
        assert one == pytest.approx(other)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_with_few_instances_nothing_is_controlled(count):
    logits, linear, expected, _ = controlled(torch.Generator().manual_seed(0), 5, count)
    for one, other in zip(
        all_pairs(distances_of(logits), linear, expected),
        all_pairs(distances_of(logits)),
        strict=True,
    ):
        assert (one == other).all()


def test_a_text_without_any_response_is_left_as_it_is():
    logits = torch.randn(1, 5, 2, generator=torch.Generator().manual_seed(0))
    found = all_pairs(distances_of(logits), torch.zeros(1, 5, 2), torch.zeros(1).double())
    assert found == all_pairs(distances_of(logits))


def test_rounds_of_a_tally_are_averaged():
    tally = Tally(2)
    tally.add([0, 1], np.array([[1.0], [3.0]]), np.array([0.1, 0.1]))
    tally.add([1, 0], np.array([[5.0], [3.0]]), np.array([0.1, 0.1]))
    assert tally.mean() == 3.0 and tally.error() == pytest.approx(math.sqrt(0.1) / 2)


def test_the_expected_rank_change_is_that_of_two_draws():
    draw = np.random.default_rng(0)
    scores, errors = np.array([1.0, 2.0, 5.0]), np.array([0.02, 0.02, 0.2])
    first, second = (scores + errors * draw.normal(size=(20000, 3)) for _ in range(2))
    change = np.abs(first - second).mean(axis=0).max() * 3 * 8 / scores.sum()
    assert expected_rank_change(scores, errors, 8) == pytest.approx(change, rel=0.03)


def test_no_score_at_all_never_settles():
    assert expected_rank_change([0.0, 0.0], [0.0, 0.0], 8) == math.inf
