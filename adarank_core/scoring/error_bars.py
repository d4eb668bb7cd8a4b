"""Means and their error bars: over pairs of noisy instances, over trials and texts, over rounds."""

import math
from collections.abc import Sequence

import numpy as np
import torch

from adarank_core.hardware import in_double

# How much of the linear model's surplus is taken off: between 0.5 and 0.85 the variance was about
# half of what it is without, over MiniLM's modules.
CONTROL = 2 / 3
# With fewer instances the unit of the surplus is so noisy that the jackknife, which takes it for
# fixed, tells an error up to 1.4 times too small (simulated; 1.1 times with 6).
CONTROLLED = 6

__all__ = ["Tally", "all_pairs", "expected_rank_change", "mean_and_error", "over_trials"]


def all_pairs(
    distances: torch.Tensor,
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
    distances : torch.Tensor
        texts × draws × instances × instances, float64; at least 2 instances. See
        `scoring.heads.Readout.distances`.
    linear : torch.Tensor, optional
        texts × instances × logits: what `adarank_core.scoring.gradients.linear_response` says of
        the same noise; used from 6 instances on.
    expected : torch.Tensor, optional
        texts: the mean L1 distance of two of them.

    Returns
    -------
    means : numpy.ndarray
        texts × draws, float64.
    variances : numpy.ndarray
        texts: of the mean over draws, from the jackknife over instances; with 2 instances, which
        leave nothing to jackknife, that of the distance of two normal numbers,
        ``(pi / 2 - 1) * mean²``.

    Notes
    -----
    Two distances that share an instance covary by a quarter of a distance's variance, where noise
    moves the output by a normal vector. With ``n`` instances the variance of the mean is then
    ``1 / (n - 1)`` of a distance's, while the jackknife expects ``1 / (n - 2)`` of it (both
    follow from the variance of a U-statistic of order 2), so that its share
    ``(n - 2) / (n - 1)`` is taken.

    Examples
    --------
    >>> points = torch.tensor([[[[0.0], [1.0], [3.0]]]]).double()
    >>> all_pairs(torch.cdist(points, points, p=1))
    (array([[2.]]), array([0.66666667]))
    """
    count = distances.shape[2]
    if linear is not None and count >= CONTROLLED:
        by_instance = distances.sum(dim=3)
        without = by_instance.sum(dim=2)[:, :, None, None] + 2 * distances
        without -= 2 * (by_instance[:, :, :, None] + by_instance[:, :, None, :])
        linear = torch.cdist(in_double(linear), in_double(linear), p=1)
        expected = expected[:, None, None]
        surplus = torch.where(expected > 0, linear / expected - 1, 0.0)
        surplus.diagonal(dim1=1, dim2=2).zero_()
        share = CONTROL * surplus[:, None] / ((count - 2) * (count - 3))
        distances = distances - share * without
    by_instance = distances.sum(dim=3)
    means = by_instance.sum(dim=2) / (count * (count - 1))
    by_instance = by_instance.mean(dim=1)
    total, mean = by_instance.sum(dim=1), means.mean(dim=1)
    if count == 2:
        variance = (np.pi / 2 - 1) * mean**2
    else:
        without = (total[:, None] - 2 * by_instance) / ((count - 1) * (count - 2))
        jackknife = (count - 1) / count * ((without - mean[:, None]) ** 2).sum(dim=1)
        variance = jackknife * (count - 2) / (count - 1)
    return means.cpu().numpy(), variance.cpu().numpy()


def over_trials(distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each text's mean distance over trials, and its variance, where texts share noise.

    Parameters
    ----------
    distances : numpy.ndarray
        trials × texts × draws, at least 2 trials.

    Returns
    -------
    means : numpy.ndarray
        texts × draws.
    variances : numpy.ndarray
        texts; such that their sum over the squared number of texts is the variance of the mean
        over texts, though the texts' noise is not independent.

    Examples
    --------
    >>> over_trials(np.array([[[1.0]], [[3.0]]]))
    (array([[2.]]), array([1.]))
    """
    trials, texts, _ = distances.shape
    variance = distances.mean(axis=(1, 2)).var(ddof=1) / trials
    return distances.mean(axis=0), np.full(texts, variance * texts)


def mean_and_error(distances: np.ndarray) -> tuple[float, float]:
    """Return the mean of a trials × texts table and its standard error over trials.

    Examples
    --------
    >>> mean_and_error(np.array([[1.0], [3.0]]))
    (2.0, 1.0)
    """
    by_trial = distances.mean(axis=1)
    return float(by_trial.mean()), float(by_trial.std(ddof=1) / len(by_trial) ** 0.5)


class Tally:
    """What is known of one module: by text, mean distances of each draw, and their variances.

    Parameters
    ----------
    texts : int
    draws : int
    unseen : float
        As in `scoring.heads.Readout`.

    Examples
    --------
    >>> tally = Tally(texts=1)
    >>> tally.add([0], np.array([[2.0]]), np.array([0.25]))
    >>> tally.mean(), tally.error()
    (2.0, 0.5)
    """

    def __init__(self, texts: int, draws: int = 1, unseen: float = 1.0):
        self.unseen = unseen
        self.sums, self.variances = np.zeros((texts, draws)), np.zeros(texts)
        self.counts = np.zeros(texts)

    def add(self, places: Sequence[int], means: np.ndarray, variances: np.ndarray) -> None:
        """Take in another round of instances of some texts."""
        self.sums[places] += means
        self.variances[places] += variances
        self.counts[places] += 1

    def _means(self) -> np.ndarray:
        """Return the means of the texts that are known, texts × draws."""
        known = self.counts > 0
        return self.sums[known] / self.counts[known, None]

    def mean(self) -> float:
        """Return the mean over texts, draws and instances."""
        return float(self._means().mean())

    def error(self, sampled: bool = False) -> float:
        """Return the standard error of the mean.

        Parameters
        ----------
        sampled : bool
            Whether it also covers the draw of the texts. The variance of the texts' means then
            holds that of their own noise, too.
        """
        known, means = self.counts > 0, self._means()
        texts, draws = means.shape
        noise = (self.variances[known] / self.counts[known] ** 2).sum() / texts**2
        if sampled and texts > 1:
            noise = max(noise, means.mean(axis=1).var(ddof=1) / texts)
        of_draws = means.mean(axis=0).var(ddof=1) / draws * self.unseen if draws > 1 else 0.0
        return float((noise + of_draws) ** 0.5)


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
