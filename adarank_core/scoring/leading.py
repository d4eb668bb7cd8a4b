"""Which modules matter most: the finding that a picture of scores is headed by."""

from adarank_core.scoring.scores import ModuleScore, Scores

__all__ = ["leading_modules"]

CLEAR = 2  # standard errors on both sides: two bars must not meet even then


def leading_modules(scores: Scores) -> tuple[ModuleScore, ...]:
    """Return the module with the highest score, and all whose bars meet its own.

    Parameters
    ----------
    scores : Scores

    Returns
    -------
    tuple of ModuleScore
        The highest score first; all modules where no score is clearly lower, or none is above 0.

    Examples
    --------
    >>> modules = [ModuleScore(f"b.{at}.value", at, "value", 8, 8, 0.1 + at, 0.01) for at in (0, 1)]
    >>> leading = leading_modules(Scores("tiny", "paper", "paired", 1.0, 0, {}, tuple(modules)))
    >>> [module.layer for module in leading]
    [1]
    """
    ordered = sorted(scores.modules, key=lambda module: -module.score)
    if not ordered or ordered[0].score == 0:
        return tuple(ordered)
    top = ordered[0]
    least = top.score - CLEAR * top.standard_error
    return tuple(m for m in ordered if m is top or m.score + CLEAR * m.standard_error >= least)
