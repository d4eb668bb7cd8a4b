"""How far two ways to score agree on the order of modules, with an error from repeats."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from adarank_core.scoring.scores import Scores

__all__ = ["agreement", "is_told_apart", "jackknife", "mean_of", "mean_of_unlike", "spearman"]


def spearman(first: Sequence, second: Sequence) -> np.ndarray:
    """Return Spearman's rank correlation of every row of one table with every row of another.

    Parameters
    ----------
    first, second : sequence of sequence of float
        Rows × modules.

    Returns
    -------
    numpy.ndarray
        Rows of ``first`` × rows of ``second``; NaN where a row is all the same.

    Examples
    --------
    >>> spearman([[1, 2, 3, 4]], [[1, 2, 4, 3], [4, 3, 2, 1]]).round(6)
    array([[ 0.8, -1. ]])
    """
    from scipy.stats import rankdata

    first, second = (rankdata(table, axis=1) for table in (first, second))
    first, second = (table - table.mean(axis=1, keepdims=True) for table in (first, second))
    sizes = np.outer(np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1))
    return np.divide(first @ second.T, sizes, out=np.full(sizes.shape, np.nan), where=sizes > 0)


def agreement(
    first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]
) -> tuple[float | None, float | None]:
    """Return how well two ways to score agree on average, and its standard error.

    The mean of Spearman's correlation over all pairs of unlike repeats, so that what a way is worth
    against itself, given as ``first`` and ``second``, is what another one can at best agree with.

    Parameters
    ----------
    first, second : sequence of sequence of float
        Repeats × modules, as many repeats of both; repeats of one number share their draws.

    Returns
    -------
    mean, standard_error : float or None
        The error is the jackknife's over repeats, and None with fewer than 3 of them; both are
        None where a correlation has no value.

    Examples
    --------
    >>> mean, error = agreement([[1, 2, 3], [1, 3, 2]], [[1, 2, 3], [3, 2, 1]])
    >>> round(mean, 6), error
    (-0.25, None)
    """
    table = spearman(first, second)
    if np.isnan(table).any():
        return None, None
    return jackknife(len(table), lambda kept: mean_of_unlike(table, kept))


def mean_of_unlike(table: np.ndarray, kept: Sequence[int]) -> float:
    """Return the mean of a square table's entries off the diagonal, for some of its numbers.

    Examples
    --------
    >>> mean_of_unlike(np.array([[9.0, 1.0, 2.0], [3.0, 9.0, 4.0], [5.0, 6.0, 9.0]]), [0, 1])
    2.0
    """
    part = table[np.ix_(kept, kept)]
    return float(part[~np.eye(len(kept), dtype=bool)].mean())


def jackknife(
    repeats: int, statistic: Callable[[Sequence[int]], float]
) -> tuple[float, float | None]:
    """Return a statistic of all repeats, and the jackknife's standard error.

    Parameters
    ----------
    repeats : int
        At least 2.
    statistic : callable
        Takes the numbers of at least two repeats.

    Returns
    -------
    value : float
    standard_error : float or None
        None with fewer than 3 repeats.

    Examples
    --------
    >>> data = np.array([1.0, 2.0, 6.0])
    >>> value, error = jackknife(3, lambda kept: data[list(kept)].mean())
    >>> value, round(error, 3), round(float(data.std(ddof=1)) / 3**0.5, 3)
    (3.0, 1.528, 1.528)
    """
    everything = list(range(repeats))
    value = float(statistic(everything))
    if repeats < 3:
        return value, None
    without = [statistic([one for one in everything if one != left]) for left in everything]
    spread = np.square(np.array(without) - np.mean(without)).sum()
    return value, float(math.sqrt((repeats - 1) / repeats * spread))


def is_told_apart(difference: float, error: float | None, repeats: int) -> bool:
    """Tell whether a difference of so many repeats is no accident, at 5% by Student's t.

    Examples
    --------
    >>> is_told_apart(1.0, 0.4, 3), is_told_apart(1.0, 0.2, 3), is_told_apart(1.0, None, 2)
    (False, True, False)
    """
    from scipy.stats import t

    return error is not None and bool(abs(difference) > error * t.ppf(0.975, repeats - 1))


def mean_of(scores: Sequence[Scores]) -> Scores:
    """Return the mean of several scores of one model, with the error that their spread tells.

    Examples
    --------
    >>> from adarank_core.scoring.scores import ModuleScore
    >>> both = [Scores("tiny", "paper", "fast", 1.0, 0, {}, (ModuleScore(
    ...     "0.query", 0, "query", 8, 8, value, 0.0),)) for value in (1.0, 3.0)]
    >>> mean_of(both).modules[0].score, mean_of(both).modules[0].standard_error
    (2.0, 1.0)
    """
    values = np.array([[module.score for module in one.modules] for one in scores])
    count = len(values)
    errors = values.std(axis=0, ddof=1) / count**0.5 if count > 1 else np.zeros(values.shape[1])
    modules = tuple(
        replace(module, score=float(value), standard_error=float(error))
        for module, value, error in zip(scores[0].modules, values.mean(axis=0), errors, strict=True)
    )
    return replace(scores[0], modules=modules)
