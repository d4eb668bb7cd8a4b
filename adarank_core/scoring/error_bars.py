"""Means and their error bars: over pairs of noisy instances, over trials and texts, over rounds."""

import math
from collections.abc import Sequence

import numpy as np
import torch

# How much of the linear model's surplus is taken off: between 0.5 and 0.85 the variance was about
# half of what it is without, over MiniLM's modules.
CONTROL = 2 / 3

__all__ = ["Tally", "all_pairs", "expected_rank_change", "mean_and_error", "shared"]


def all_pairs(
    logits: torch.Tensor,
    linear: torch.Tensor | None = None,
    expected: torch.Tensor | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return each text's mean distance over all pairs of instances, and its variance.

    The distances of a linear model under the same noise, whose mean is known, serve as a control:
    where they came out larger than expected, so did the true ones, and two thirds of the surplus
    is taken off. The unit of the surplus is the mean distance of the other instances, so that
    none of it is expected and the mean stays exact.

    Parameters
    ----------
    logits : torch.Tensor
        texts × instances × logits; at least 2 instances.
    linear : torch.Tensor, optional
        What `adarank_core.scoring.gradients.linear_response` says of the same noise; used from 4
        instances on.
    expected : torch.Tensor, optional
        texts: the mean distance of two of them.

    Returns
    -------
    tuple of numpy.ndarray
        Means and variances, one a text, float64. The variance is the jackknife's over instances;
        with 2 instances, which leave nothing to jackknife, it is that of the distance of two
        normal numbers, ``(pi / 2 - 1) * mean²``.

    Examples
    --------
    >>> all_pairs(torch.tensor([[[0.0], [1.0], [3.0]]]))
    (array([2.]), array([1.33333333]))
    """
    distances = torch.cdist(logits.double(), logits.double(), p=1)
    count = logits.shape[1]
    if linear is not None and count > 3:
        by_instance = distances.sum(dim=2)
        without = by_instance.sum(dim=1)[:, None, None] + 2 * distances
        without -= 2 * (by_instance[:, :, None] + by_instance[:, None, :])
        linear = torch.cdist(linear.double(), linear.double(), p=1)
        expected = expected[:, None, None]
        surplus = torch.where(expected > 0, linear / expected - 1, 0.0)
        surplus.diagonal(dim1=1, dim2=2).zero_()
        distances -= CONTROL * surplus * without / ((count - 2) * (count - 3))
    by_instance = distances.sum(dim=2)
    total = by_instance.sum(dim=1)
    mean = total / (count * (count - 1))
    if count == 2:
        variance = (np.pi / 2 - 1) * mean**2
    else:
        without = (total[:, None] - 2 * by_instance) / ((count - 1) * (count - 2))
        variance = (count - 1) / count * ((without - mean[:, None]) ** 2).sum(dim=1)
    return mean.cpu().numpy(), variance.cpu().numpy()


def mean_and_error(distances: np.ndarray) -> tuple[float, float]:
    """Return the mean of a trials × texts table and its standard error.

    Both trials and texts are samples: the error is that of a two-way layout,
    ``Var = s²_trials / n + s²_texts / m - s²_residual / (n m)``, with ``s²_trials`` the variance
    of the trials' means (and so on). With one text it is that of the trials alone.

    Parameters
    ----------
    distances : numpy.ndarray
        n trials × m texts, n at least 2.

    Returns
    -------
    tuple of float
        Mean and standard error, in the unit of ``distances``.

    Examples
    --------
    >>> mean_and_error(np.array([[1.0], [3.0]]))
    (2.0, 1.0)
    """
    trials, texts = distances.shape
    mean = distances.mean()
    from_trials = distances.mean(axis=1).var(ddof=1) / trials
    if texts == 1:
        return float(mean), float(from_trials**0.5)
    from_texts = distances.mean(axis=0).var(ddof=1) / texts
    residual = distances - distances.mean(axis=1, keepdims=True) - distances.mean(axis=0) + mean
    shared = (residual**2).sum() / ((trials - 1) * (texts - 1)) / (trials * texts)
    variance = max(from_trials + from_texts - shared, from_trials, from_texts)
    return float(mean), float(variance**0.5)


class Tally:
    """What is known of one module: by text, the mean distance and its variance over instances."""

    def __init__(self, texts: int):
        self.sums, self.variances, self.counts = np.zeros(texts), np.zeros(texts), np.zeros(texts)

    def add(self, places: Sequence[int], means: np.ndarray, variances: np.ndarray) -> None:
        """Take in another round of instances of some texts."""
        self.sums[places] += means
        self.variances[places] += variances
        self.counts[places] += 1

    def mean(self) -> float:
        known = self.counts > 0
        return float((self.sums[known] / self.counts[known]).mean())

    def noise_error(self) -> float:
        """Return the standard error for these very texts: from the instances alone."""
        known = self.counts > 0
        variances = self.variances[known] / self.counts[known] ** 2
        return float(variances.sum() ** 0.5 / known.sum())

    def mean_and_error(self) -> tuple[float, float]:
        """Return the mean over texts and its standard error, from texts and instances.

        The texts' noise is independent, so the variance of their means holds both sources; with
        few texts it may fall below that of the instances alone, which then counts.
        """
        known = self.counts > 0
        count = known.sum()
        means = self.sums[known] / self.counts[known]
        from_both = means.var(ddof=1) / count if count > 1 else 0.0
        return float(means.mean()), max(self.noise_error(), float(from_both**0.5))


def shared(distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return means and variances by text where all texts share their noise (trials × texts).

    The variances are such that their sum over the squared number of texts is the variance of the
    mean over texts, though the texts' noise is not independent.
    """
    trials, texts = distances.shape
    variance = distances.mean(axis=1).var(ddof=1) / trials
    return distances.mean(axis=0), np.full(texts, variance * texts)


def expected_rank_change(
    scores: Sequence[float], errors: Sequence[float], average_rank: float
) -> float:
    """Return by how much the rank that changes most would change with other noise, on average.

    Ranks are proportional to scores: a module of score ``d`` gets ``d n average_rank / sum of d``
    of ``n`` modules. Two scorings differ by a normal number of deviation ``sqrt(2)`` times the
    standard error, whose mean size is ``2 / sqrt(pi)`` standard errors.

    Parameters
    ----------
    scores, errors : sequence of float
        Of all modules; errors from noise alone.
    average_rank : float

    Returns
    -------
    float
        In ranks; infinity where all scores are 0.

    Examples
    --------
    >>> round(expected_rank_change([1.0, 3.0], [0.1, 0.1], 8), 3)
    0.451
    """
    total = math.fsum(scores)
    if total == 0:
        return math.inf
    return 2 / math.sqrt(math.pi) * max(errors) * len(scores) * average_rank / total
