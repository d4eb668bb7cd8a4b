"""Two scorings of one model, such as on generic and on task text, laid beside each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adarank_core.errors import AdaRankError
from adarank_core.scoring.scores import ModuleScore, Scores

__all__ = ["ShareDifference", "share_differences"]


@dataclass(frozen=True)
class ShareDifference:
    """How much of all disagreement is one module's, in two scorings.

    Scores of unlike texts are of unlike size; ranks follow a module's share of their sum.

    Parameters
    ----------
    module : ModuleScore
        As the first has it.
    first, second : float
        Shares, from 0 to 1.
    error : float
        Standard error of ``difference``, the two scorings taken as independent.

    Examples
    --------
    >>> module = ModuleScore("b.0.value", 0, "value", 8, 8, 0.1, 0.01)
    >>> ShareDifference(module, 0.25, 0.5, 0.1).errors_apart
    2.5
    """

    module: ModuleScore
    first: float
    second: float
    error: float

    @property
    def difference(self) -> float:
        """The second share less the first."""
        return self.second - self.first

    @property
    def errors_apart(self) -> float:
        """The difference in standard errors; infinite where there is one without any error."""
        if self.error:
            return self.difference / self.error
        return float(np.copysign(np.inf, self.difference)) if self.difference else 0.0


def share_differences(first: Scores, second: Scores) -> tuple[ShareDifference, ...]:
    """Lay two scorings of the same modules beside each other.

    Parameters
    ----------
    first, second : Scores

    Returns
    -------
    tuple of ShareDifference
        In the order of the first's modules.

    Raises
    ------
    AdaRankError
        If they are not of the same modules.

    Notes
    -----
    A share is ``d_m / sum of d``; to first order its variance is
    ``((1 - share)² v_m + share² (sum of all other v)) / (sum of d)²`` with ``v`` the squared
    standard errors, which are independent from module to module.

    Examples
    --------
    >>> modules = [ModuleScore(f"b.{at}.value", at, "value", 8, 8, 1.0, 0.0) for at in (0, 1)]
    >>> plain = Scores("tiny", "paper", "fast", 1.0, 0, {}, tuple(modules))
    >>> [one.difference for one in share_differences(plain, plain)]
    [0.0, 0.0]
    """
    others = {module.name: module for module in second.modules}
    if set(others) != {module.name for module in first.modules}:
        raise AdaRankError("the two scorings are not of the same modules; score one model twice")
    shares, errors = _shares(first.modules)
    second_shares, second_errors = _shares([others[module.name] for module in first.modules])
    return tuple(
        ShareDifference(module, float(share), float(other), float(error))
        for module, share, other, error in zip(
            first.modules, shares, second_shares, np.hypot(errors, second_errors), strict=True
        )
    )


def _shares(modules: Sequence[ModuleScore]) -> tuple[np.ndarray, np.ndarray]:
    """Return every module's share of the sum, and the share's standard error."""
    scores = np.array([module.score for module in modules])
    variances = np.array([module.standard_error for module in modules]) ** 2
    total = scores.sum()
    if not total:
        return scores, np.zeros(len(scores))
    shares = scores / total
    rest = variances.sum() - variances
    return shares, np.sqrt((1 - shares) ** 2 * variances + shares**2 * rest) / total
