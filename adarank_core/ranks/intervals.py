"""How sure the ranks are: the scores' standard errors carried through the allocation."""

import numpy as np

from adarank_core.errors import AdaRankError
from adarank_core.ranks.constraints import constraints
from adarank_core.ranks.plans import RankPlan
from adarank_core.scoring.scores import Scores

__all__ = ["average_interval", "plan_intervals", "rank_intervals"]

# Draws are rounded with a short look around, for speed: a rank may differ by one from the best
# rounding where modules of several sizes share a budget of parameters.
TRIES = 500
MOST_DRAWS = 100_000
# What a plan's budget keeps of the options that it was made with.
KEPT = ("group_by", "min_rank", "max_rank", "pinned", "excluded", "temperature", "rounding")


def rank_intervals(
    scores: Scores,
    average_rank: float | None = None,
    *,
    draws: int = 200,
    seed: int = 0,
    **options,
) -> dict[str, tuple[int, int]]:
    """Return the interval in which each module's rank would fall if the scores were taken again.

    All scores are drawn anew, each from a normal distribution with its standard error, cut at 0,
    and the ranks are allocated again. Errors are taken to be independent between modules.

    Parameters
    ----------
    scores : Scores
    average_rank : float, optional
    draws : int
        100,000 at most.
    seed : int
    **options
        As in `adarank_core.ranks.allocation.allocate`.

    Returns
    -------
    dict of str to (int, int)
        By module, the lowest and the highest rank of the middle 95 % of the draws; the planned
        rank is always inside. A rank is settled where both are equal.

    Raises
    ------
    AdaRankError
        If an option is not valid, or two wishes cannot be met together.

    Examples
    --------
    >>> from adarank_core.scoring.scores import ModuleScore
    >>> modules = [ModuleScore("query", 0, "query", 64, 64, 1.0, 0.0)]
    >>> modules += [ModuleScore("key", 0, "key", 64, 64, 3.0, 0.3)]
    >>> scores = Scores("tiny", "paper", "paired", 1.0, 0, {}, tuple(modules))
    >>> rank_intervals(scores, average_rank=8)
    {'query': (3, 5), 'key': (11, 13)}
    """
    ranks, planned = _draw_ranks(scores, draws, seed, average_rank=average_rank, **options)
    low = np.minimum(np.percentile(ranks, 2.5, axis=0, method="lower"), planned)
    high = np.maximum(np.percentile(ranks, 97.5, axis=0, method="higher"), planned)
    bounds = zip(low.astype(int).tolist(), high.astype(int).tolist(), strict=True)
    return {module.name: bound for module, bound in zip(scores.modules, bounds, strict=True)}


def plan_intervals(scores: Scores, plan: RankPlan) -> dict[str, tuple[int, int]]:
    """Return `rank_intervals` of a plan, by the options that its budget tells.

    Returns
    -------
    dict of str to (int, int)
        Empty where these scores and options do not give this plan.

    Examples
    --------
    >>> from adarank_core.ranks.allocation import allocate
    >>> from adarank_core.scoring.scores import ModuleScore
    >>> modules = [ModuleScore("query", 0, "query", 64, 64, 1.0, 0.0)]
    >>> modules += [ModuleScore("key", 0, "key", 64, 64, 3.0, 0.3)]
    >>> scores = Scores("tiny", "paper", "paired", 1.0, 0, {}, tuple(modules))
    >>> plan_intervals(scores, allocate(scores, average_rank=8))
    {'query': (3, 5), 'key': (11, 13)}
    """
    budget = plan.budget
    if plan.scores_sha256 != scores.sha256 or "requested" not in budget:
        return {}
    options = {key: budget[key] for key in KEPT if key in budget}
    if budget.get("by") == "adaptive":
        options["adaptive"] = True
    elif budget.get("by") == "parameters":
        options["parameters"] = budget["requested"]
    else:
        options["average_rank"] = budget["requested"] / len(scores.modules)
    try:
        asked = constraints(scores, **options)
        ranks = asked.ranks([float(module.score) for module in scores.modules])
        if dict(zip(asked.names, ranks, strict=True)) == plan.ranks:
            return rank_intervals(scores, **options)
    except AdaRankError:  # the file was edited
        pass
    return {}


def average_interval(
    scores: Scores, *, draws: int = 200, seed: int = 0, **options
) -> tuple[float, float]:
    """Return the interval in which the average adaptive rank would fall if scores were taken again.

    More texts and more trials make the scores' errors smaller, and the interval narrower.

    Parameters
    ----------
    scores, draws, seed, **options
        As in `rank_intervals`, for adaptive ranks.

    Returns
    -------
    tuple of float
        The lowest and the highest average of the middle 95 % of the draws; the plan's own is
        always inside.

    Examples
    --------
    >>> from adarank_core.scoring.scores import ModuleScore
    >>> modules = [ModuleScore("query", 0, "query", 64, 64, 1.0, 0.0)]
    >>> modules += [ModuleScore("key", 0, "key", 64, 64, 3.0, 0.3)]
    >>> scores = Scores("tiny", "paper", "paired", 1.0, 0, {}, tuple(modules))
    >>> average_interval(scores)
    (2.0, 2.5)
    """
    ranks, planned = _draw_ranks(scores, draws, seed, **{**options, "adaptive": True})
    averages, own = ranks.mean(axis=1), planned.mean()
    low, high = np.percentile(averages, [2.5, 97.5], method="nearest")
    return float(min(low, own)), float(max(high, own))


def _draw_ranks(scores: Scores, draws, seed, **options) -> tuple[np.ndarray, np.ndarray]:
    """Return draws × modules ranks of scores drawn anew, and the planned ranks."""
    if type(draws) is not int or not 1 <= draws <= MOST_DRAWS:
        raise AdaRankError(f"draws is {draws!r}; it must be a whole number of 1 to {MOST_DRAWS:,}")
    if type(seed) is not int or seed < 0:
        raise AdaRankError(f"seed is {seed!r}; it must be a whole number of 0 or more")
    asked = constraints(scores, **options)
    values = np.array([float(module.score) for module in scores.modules])
    errors = np.array([float(module.standard_error) for module in scores.modules])
    noise = np.random.default_rng(seed).standard_normal((draws, len(values)))
    with np.errstate(over="ignore"):
        drawn = np.clip(values + errors * noise, 0.0, np.finfo(float).max)
    ranks = np.array([asked.ranks(row, TRIES) for row in drawn.tolist()])
    return ranks, np.array(asked.ranks(values.tolist()))
