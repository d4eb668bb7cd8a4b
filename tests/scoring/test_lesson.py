import numpy as np
import pytest
from scipy.stats import spearmanr

from adarank_core import AdaRankError, score, sentence
from adarank_core.scoring.error_bars import mean_and_error
from adarank_core.scoring.lesson import (
    NoisyLogits,
    energy_kept,
    mean_shift,
    noisy_logits,
    pair_distances,
    rank_correlation,
    ratio_with_error,
    running_mean,
)

NAME = "bert.encoder.layer.5.attention.self.value"
TEXT = "What is a rank?"


@pytest.fixture(scope="module")
def drawn(embedded):
    return noisy_logits(embedded, TEXT, [NAME], instances=6, seed=3)


def test_mean_pair_distance_is_the_score(embedded, drawn):
    expected = score(
        embedded,
        sentence(TEXT),
        estimator="paired",
        modules="layer.5.*value",
        head_draw="seed",
        trials=3,
        seed=3,
    )
    distances = pair_distances(drawn.noisy[NAME])
    means, errors = running_mean(distances)
    assert means[-1] == pytest.approx(expected.modules[0].score, rel=1e-5)
    assert errors[-1] == pytest.approx(expected.modules[0].standard_error, rel=1e-4)


def test_clean_logits_are_those_without_noise(embedded, drawn):
    almost = noisy_logits(embedded, TEXT, [NAME], instances=4, noise_scale=1e-9, seed=3)
    assert np.allclose(almost.noisy[NAME], [drawn.clean] * 4, atol=1e-6)
    assert not np.allclose(drawn.noisy[NAME], [drawn.clean] * 6, atol=1e-4)


def test_the_seed_draws_noise_and_head(embedded, drawn):
    again = noisy_logits(embedded, f"  {TEXT} ", [NAME], instances=6, seed=3)
    other = noisy_logits(embedded, TEXT, [NAME], instances=6, seed=4)
    assert again == drawn
    assert other.clean != drawn.clean and other.noisy != drawn.noisy


def test_draws_survive_json(drawn):
    assert NoisyLogits(**drawn.to_dict()) == drawn


@pytest.mark.parametrize(
    ("text", "names", "instances", "message"),
    [
        ("  ", [NAME], 4, "no words"),
        (TEXT, ["classifier"], 4, "'classifier'"),
        (TEXT, [NAME], 5, "even number"),
        (TEXT, [NAME], 2, "at least 4"),
        ("word " * 600, [NAME], 4, "602 tokens"),
    ],
)
def test_bad_input_is_one_sentence(embedded, text, names, instances, message):
    with pytest.raises(AdaRankError, match=message):
        noisy_logits(embedded, text, names, instances=instances)


def test_running_mean_is_the_mean_so_far():
    distances = np.array([1.0, 4.0, 2.0, 7.0])
    means, errors = running_mean(distances)
    assert np.isnan(errors[0])
    for count in (2, 3, 4):
        expected = mean_and_error(distances[:count, None])
        assert (means[count - 1], errors[count - 1]) == pytest.approx(expected)


def test_mean_shift_adds_up_the_classes():
    assert mean_shift([[1.0, 1.0], [2.0, 3.0]], [1.0, 0.0]) == pytest.approx(2.5)


def test_energy_kept_is_that_of_the_best_approximation():
    weight = np.random.default_rng(0).normal(size=(7, 5))
    left, values, right = np.linalg.svd(weight, full_matrices=False)
    kept = energy_kept(values)
    for rank in range(1, 6):
        lost = weight - left[:, :rank] * values[:rank] @ right[:rank]
        assert kept[rank - 1] == pytest.approx(1 - (lost**2).sum() / (weight**2).sum())


@pytest.mark.parametrize("others", [[3.0, 1.0, 4.0, 1.0, 5.0], [2.0, 2.0, 2.0, 7.0, 1.0]])
def test_rank_correlation_is_spearmans_with_ties_too(others):
    values = [0.1, 0.4, 0.4, 0.2, 9.0]
    assert rank_correlation(values, others) == pytest.approx(spearmanr(values, others).statistic)


def test_the_error_of_a_ratio_is_the_spread_of_many_ratios():
    draw = np.random.default_rng(0)
    high, low = draw.normal(8.0, 0.2, 100_000), draw.normal(2.0, 0.1, 100_000)
    ratio, error = ratio_with_error((8.0, 0.2), (2.0, 0.1))
    assert ratio == 4.0
    assert error == pytest.approx((high / low).std(), rel=0.02)
