"""The best of a small grid of learning rates, chosen on validation and counted in the cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from adarank_core.checks import is_number
from adarank_core.errors import AdaRankError, quoted

__all__ = ["ChosenRate", "Trial", "best_rate", "check_learning_rates"]

MOST_RATES = 10


@dataclass(frozen=True)
class Trial:
    """What a training at one learning rate of the search came to.

    Parameters
    ----------
    validation_loss : float or None
        None where it is no number.
    train_seconds : float
    """

    validation_loss: float | None
    train_seconds: float


@dataclass(frozen=True)
class ChosenRate:
    """The learning rate that an arm is trained with, and what the search for it took.

    Parameters
    ----------
    learning_rate : float
    search_seconds : float
        Of all trainings.
    validation_loss : dict
        By rate as text, as JSON has it; None where it is no number.
    """

    learning_rate: float
    search_seconds: float
    validation_loss: dict[str, float | None]


def check_learning_rates(rates: Sequence[float]) -> None:
    """Raise `AdaRankError` unless the learning rates are a grid to search.

    Examples
    --------
    >>> check_learning_rates([1e-3, 5e-3])
    """
    if not 1 <= len(rates) <= MOST_RATES:
        raise AdaRankError(f"{len(rates)} learning rates are given; give 1 to {MOST_RATES}")
    for rate in rates:
        if not is_number(rate, above=0):
            raise AdaRankError(
                f"learning_rates holds {quoted(rate)}; each must be above 0 and finite"
            )
        if list(rates).count(rate) > 1:
            raise AdaRankError(f"learning_rates holds {rate} twice; give each once")


def best_rate(rates: Sequence[float], train: Callable[[float], Trial | None]) -> ChosenRate | None:
    """Train at every learning rate; return the one with the lowest validation loss.

    Parameters
    ----------
    rates : sequence of float
    train : callable
        Trains at a rate; returns None when stopped.

    Returns
    -------
    ChosenRate or None
        None when stopped.

    Raises
    ------
    AdaRankError
        If no loss is a number.

    Examples
    --------
    >>> best_rate([0.1, 0.25], lambda rate: Trial(abs(rate - 0.2), 1.5)).learning_rate
    0.25
    """
    losses, seconds = {}, 0.0
    for rate in rates:
        trial = train(rate)
        if trial is None:
            return None
        losses[rate] = trial.validation_loss
        seconds += trial.train_seconds
    finite = {rate: loss for rate, loss in losses.items() if loss is not None}
    if not finite:
        tried = ", ".join(f"{rate:g}" for rate in rates)
        raise AdaRankError(f"the loss is not finite at learning rates of {tried}; lower them")
    return ChosenRate(
        learning_rate=min(finite, key=finite.get),
        search_seconds=round(seconds, 3),
        validation_loss={str(rate): loss for rate, loss in losses.items()},
    )
