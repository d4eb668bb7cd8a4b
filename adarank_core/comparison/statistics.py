"""The numbers of a verdict: paired t-tests, their correction, equivalence, power, and texts.

Numbers in, numbers out; what they are called is in `verdicts`. SciPy is loaded when something is
computed, since a stored verdict is shown without it.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

__all__ = [
    "POWER",
    "SIGNIFICANCE",
    "holm",
    "level_of_look",
    "paired_comparison",
    "seeds_needed",
    "texts_interval",
]

SIGNIFICANCE = 0.05
POWER = 0.8
# What all looks after the first may add to the errors of the first.
FOR_LATER_LOOKS = 0.02
MOST_SEEDS = 10**6
# Differences that vary less than this share of the values are equal but for rounding.
NO_SPREAD = 1e-12


def level_of_look(look: int) -> float:
    """Return the level at which a verdict is decided that is read for the first time, second, …

    The first is decided at 5%, as if there were no other. The later ones share another 2%, half of
    what is left each: 1%, 0.5%, 0.25%, … However often somebody looks, and whatever makes them
    look again, the chance of ever finding a difference where there is none is at most the sum, 7%
    (Boole's inequality, which asks for nothing about how the looks hang together).

    Examples
    --------
    >>> [level_of_look(look) for look in (1, 2, 3)]
    [0.05, 0.01, 0.005]
    """
    return SIGNIFICANCE if look <= 1 else FOR_LATER_LOOKS / 2 ** (look - 1)


def paired_comparison(
    values: Sequence[float],
    against: Sequence[float],
    *,
    level: float = SIGNIFICANCE,
    claims: int = 1,
    smallest: float | None = None,
) -> dict:
    """Compare two arms' values seed by seed, with the paired t-test.

    Parameters
    ----------
    values, against : sequence of float
        One value a seed, in the same order.
    level : float
        Of the whole decision; see `level_of_look`.
    claims : int
        How many comparisons are decided together. ``smallest_detectable`` and ``seeds_needed``
        are those of Holm's strictest step, ``level / claims``.
    smallest : float, optional
        Smallest difference of interest, above 0, in the values' unit.

    Returns
    -------
    dict
        ``difference``, the mean of ``values - against``; ``ci_low`` and ``ci_high``, its interval
        at ``ci_level``, which is ``1 - level``; ``p_value``; ``smallest_detectable``, the
        difference that this many seeds would find in four of five comparisons, given how much the
        differences vary; ``p_equivalence``, that of two one-sided t-tests (Schuirmann, 1987)
        against a difference of ``smallest`` or more; and ``seeds_needed``, how many seeds would
        find one of ``smallest`` in four of five comparisons. All but the first and the level are
        None with one seed, and the last two without ``smallest``. The tests assume that the
        differences are about normal. Where all seeds give the same difference, as accuracies on
        few texts do, that assumption would make it certain; there the p-value is that of the sign
        test, and the others None.

    Examples
    --------
    >>> result = paired_comparison([0.4, 0.5, 0.45], [0.5, 0.58, 0.56], smallest=0.05)
    >>> round(result["difference"], 4), round(result["p_value"], 3), result["seeds_needed"]
    (-0.0967, 0.008, 3)
    """
    differences = [a - b for a, b in zip(values, against, strict=True)]
    count = len(differences)
    mean = math.fsum(differences) / count
    unknown = dict.fromkeys(
        ("p_value", "smallest_detectable", "p_equivalence", "seeds_needed", "ci_low", "ci_high")
    )
    found = {"difference": mean, "ci_level": 1 - level, **unknown}
    if count < 2:
        return found
    spread = math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (count - 1))
    if spread <= NO_SPREAD * max(map(abs, (*values, *against))):
        return {**found, "p_value": 0.5 ** (count - 1) if any(differences) else 1.0}
    from scipy import stats

    error, strictest = spread / math.sqrt(count), level / claims
    reach = float(stats.t.ppf(1 - level / 2, count - 1)) * error
    found |= {
        "p_value": float(2 * stats.t.sf(abs(mean) / error, count - 1)),
        "ci_low": mean - reach,
        "ci_high": mean + reach,
        "smallest_detectable": error * _detectable(count, strictest),
    }
    if smallest is not None:
        # The nearer of the two bounds is the harder to rule out.
        ruled_out = stats.t.sf((smallest - abs(mean)) / error, count - 1)
        found["p_equivalence"] = float(ruled_out)
        found["seeds_needed"] = seeds_needed(smallest / spread, strictest)
    return found


@lru_cache(maxsize=4096)
def _detectable(count: int, level: float) -> float:
    """Return the difference, in standard errors, that ``count`` pairs find with power 0.8."""
    from scipy import optimize, stats

    critical = stats.t.ppf(1 - level / 2, count - 1)
    return float(optimize.brentq(lambda e: _power(e, count, level) - POWER, 0.0, 2 * critical))


def _power(effect: float, count: int, level: float) -> float:
    """Return how often ``count`` pairs find a difference of so many standard errors.

    The chance of a find in the wrong direction is left out: it is below 1e-4 at a power of 0.8.
    """
    from scipy import stats

    critical = stats.t.ppf(1 - level / 2, count - 1)
    return float(stats.nct.sf(critical, count - 1, effect))


def seeds_needed(effect: float, level: float) -> int:
    """Return how many seeds find a difference in four of five comparisons.

    Parameters
    ----------
    effect : float
        The difference in standard deviations of the seeds' differences, above 0.
    level : float

    Returns
    -------
    int
        From 2 to a million, which stands for all that is more.

    Examples
    --------
    >>> seeds_needed(1.0, 0.05), seeds_needed(0.25, 0.05)
    (10, 128)
    """
    few, many = 1, 2
    while many < MOST_SEEDS and _power(effect * math.sqrt(many), many, level) < POWER:
        few, many = many, min(2 * many, MOST_SEEDS)
    while many - few > 1:
        middle = (few + many) // 2
        enough = _power(effect * math.sqrt(middle), middle, level) >= POWER
        few, many = (few, middle) if enough else (middle, many)
    return many


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values for their number (Holm, 1979); None stays None.

    Examples
    --------
    >>> holm([0.03, None, 0.01])
    [0.03, None, 0.02]
    """
    known = sorted((p, at) for at, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for position, (p, at) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - position) * p))
        adjusted[at] = highest
    return adjusted


def texts_interval(differences: np.ndarray, level: float = SIGNIFICANCE) -> tuple[float, float]:
    """Return the interval of a mean difference over other seeds and other texts.

    The interval of `paired_comparison` is for other seeds on the same test texts. Texts are a
    sample too: crossed with the seeds, as each seed's model reads every text. With ``A`` the
    variance of the seeds' means over the number of seeds, which is the square of the t-test's
    standard error, and ``B`` what the texts' own differences add, the variance of the texts' means
    over their number less what is only noise of a single text with a single seed and therefore is
    in ``A`` already, the mean's variance is ``A + B``. ``B`` is what resampling the texts comes to,
    in closed form; resampling five seeds makes an interval far too narrow, so their share keeps
    the t-distribution: the quantile is the mean of the seeds' and the texts', weighted with ``A``
    and ``B`` (Cochran and Cox, 1950). Of two or three seeds that mean can fall faster than the
    deviation grows; the interval always holds the other one.

    Parameters
    ----------
    differences : numpy.ndarray
        Seeds × texts, at least 2 each: of one arm's loss on a text with a seed, less the other's.
    level : float
        One less the interval's.

    Returns
    -------
    low, high : float

    Examples
    --------
    >>> low, high = texts_interval(np.random.default_rng(0).normal(0.1, 1, size=(5, 400)))
    >>> round(low, 2), round(high, 2)
    (-0.0, 0.15)
    """
    from scipy import stats

    differences = np.asarray(differences, np.float64)
    seeds, texts = differences.shape
    mean = differences.mean()
    of_seeds, of_texts = differences.mean(axis=1), differences.mean(axis=0)
    rest = differences - of_seeds[:, None] - of_texts[None, :] + mean
    single = (rest**2).sum() / ((seeds - 1) * (texts - 1) * seeds * texts)
    for_seeds = of_seeds.var(ddof=1) / seeds
    for_texts = max(0.0, of_texts.var(ddof=1) / texts - single)
    variance = for_seeds + for_texts
    if variance == 0:
        return float(mean), float(mean)
    of_seeds, of_texts = stats.t.ppf(1 - level / 2, [seeds - 1, texts - 1])
    quantile = (for_seeds * of_seeds + for_texts * of_texts) / variance
    reach = max(quantile * math.sqrt(variance), of_seeds * math.sqrt(for_seeds))
    return float(mean - reach), float(mean + reach)
