"""The best of a small grid of learning rates, chosen on validation and counted in the cost."""

import math
from collections.abc import Callable, Sequence

from adarank_core.errors import AdaRankError

__all__ = ["best_rate", "check_learning_rates"]

MOST_RATES = 10


def check_learning_rates(rates: Sequence[float]) -> None:
    """Raise `AdaRankError` unless the learning rates are a grid to search.

    Examples
    --------
    >>> check_learning_rates([1e-3, 5e-3])
    """
    if not 1 <= len(rates) <= MOST_RATES:
        raise AdaRankError(f"{len(rates)} learning rates are given; give 1 to {MOST_RATES}")
    for rate in rates:
        if not 0 < rate < math.inf:
            raise AdaRankError(f"learning_rates holds {rate}; each must be above 0 and finite")
        if list(rates).count(rate) > 1:
            raise AdaRankError(f"learning_rates holds {rate} twice; give each once")


def best_rate(rates: Sequence[float], train: Callable[[float], dict | None]) -> dict | None:
    """Train at every learning rate; return the one with the lowest validation loss.

    Parameters
    ----------
    rates : sequence of float
    train : callable
        Trains at a rate. Returns ``validation_loss`` (None where it is no number) and
        ``train_seconds``, or None when stopped.

    Returns
    -------
    dict or None
        ``learning_rate``, ``search_seconds`` (of all trainings) and ``validation_loss``, by rate
        as text, as JSON has it. None when stopped.

    Raises
    ------
    AdaRankError
        If no loss is a number.

    Examples
    --------
    >>> train = lambda rate: {"validation_loss": abs(rate - 0.2), "train_seconds": 1.5}
    >>> best_rate([0.1, 0.25], train)["learning_rate"]
    0.25
    """
    losses, seconds = {}, 0.0
    for rate in rates:
        trained = train(rate)
        if trained is None:
            return None
        losses[rate] = trained["validation_loss"]
        seconds += trained["train_seconds"]
    finite = {rate: loss for rate, loss in losses.items() if loss is not None}
    if not finite:
        tried = ", ".join(f"{rate:g}" for rate in rates)
        raise AdaRankError(f"the loss is not finite at learning rates of {tried}; lower them")
    return {
        "learning_rate": min(finite, key=finite.get),
        "search_seconds": round(seconds, 3),
        "validation_loss": {str(rate): loss for rate, loss in losses.items()},
    }
