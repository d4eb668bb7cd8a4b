"""Which two layers differ most surely: the finding that a picture of scores is headed by."""

from itertools import permutations

from adarank_core.scoring.scores import ModuleScore, Scores

__all__ = ["surest_pair"]

CLEAR = 2  # standard errors on both sides: the two bars must not meet even then


def surest_pair(scores: Scores) -> tuple[ModuleScore, ModuleScore] | None:
    """Find the two layers that differ most surely within one family of modules.

    The pair is the one with the largest ratio that is sure: of what bars of two standard errors
    leave possible, the smallest. So a large ratio of two uncertain numbers is not chosen.

    Parameters
    ----------
    scores : Scores

    Returns
    -------
    tuple of ModuleScore or None
        The higher and the lower one; None where all bars of a family meet.

    Examples
    --------
    >>> modules = [ModuleScore(f"b.{at}.value", at, "value", 8, 8, 0.1 + at, 0.01) for at in (0, 1)]
    >>> high, low = surest_pair(Scores("tiny", "paper", "paired", 1.0, 0, {}, tuple(modules)))
    >>> high.layer, low.layer
    (1, 0)
    """
    largest, pair = 1.0, None
    for high, low in permutations(scores.modules, 2):
        if high.family != low.family or high.layer == low.layer or low.score == 0:
            continue
        least = high.score - CLEAR * high.standard_error
        ratio = least / (low.score + CLEAR * low.standard_error)
        if ratio > largest:
            largest, pair = ratio, (high, low)
    return pair
