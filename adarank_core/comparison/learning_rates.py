"""The best learning rate of an arm, chosen on validation and counted in the cost.

A grid is searched with seeds of its own, which no arm is tested with: a rate that was chosen for
its luck with a seed would be lucky in the test of that seed too. Where the best rate is at the end
of the grid, a better one may lie beyond, and an arm whose best is there is not told from one that
only wants another rate; so it is marked, or with ``"auto"`` the grid grows until it is not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from adarank_core.checks import is_number
from adarank_core.errors import AdaRankError, quoted

__all__ = [
    "AUTO",
    "SEARCH_SEEDS",
    "ChosenRate",
    "Trial",
    "at_edge",
    "best_rate",
    "check_learning_rates",
    "edge_notice",
    "extends",
    "first_rates",
]

AUTO = "auto"
FACTOR = 2.0  # between neighbours of a grid that grows by itself
MOST_RATES = 10
#: Far above the seeds that people count up from 0.
SEARCH_SEEDS = (1_000_000_001, 1_000_000_002)


@dataclass(frozen=True)
class Trial:
    """What a training at one learning rate of the search came to.

    Parameters
    ----------
    validation_loss : float or None
        None where it is no number.
    train_seconds : float
    allocation_seconds : float
        What it took to find the ranks, which are the seed's at all rates.
    """

    validation_loss: float | None
    train_seconds: float
    allocation_seconds: float = 0.0


@dataclass(frozen=True)
class ChosenRate:
    """The learning rate that an arm is trained with, and what the search for it took.

    Parameters
    ----------
    learning_rate : float
    learning_rate_at_edge : bool
        Whether no rate on one side of it was tried.
    search_seconds : float
        Of all trainings, and of the ranks of each seed.
    validation_loss : dict
        The mean over seeds by rate as text, as JSON has it, from the lowest rate on; None where
        that of a seed is no number.
    validation_loss_by_seed : dict
        By rate and seed as text. A rate that fails with a seed is not tried with the others.
    """

    learning_rate: float
    learning_rate_at_edge: bool
    search_seconds: float
    validation_loss: dict[str, float | None]
    validation_loss_by_seed: dict[str, dict[str, float | None]]


def check_learning_rates(rates: Sequence[float] | Literal["auto"]) -> None:
    """Raise `AdaRankError` unless the learning rates are a grid to search.

    Examples
    --------
    >>> check_learning_rates([1e-3, 5e-3])
    >>> check_learning_rates("auto")
    """
    if rates == AUTO:
        return
    if not 1 <= len(rates) <= MOST_RATES:
        raise AdaRankError(f"{len(rates)} learning rates are given; give 1 to {MOST_RATES}")
    for rate in rates:
        if not is_number(rate, above=0):
            raise AdaRankError(
                f"learning_rates holds {quoted(rate)}; each must be above 0 and finite"
            )
        if list(rates).count(rate) > 1:
            raise AdaRankError(f"learning_rates holds {rate} twice; give each once")


def first_rates(rates: Sequence[float] | Literal["auto"], around: float) -> tuple[float, ...]:
    """Return the rates that a search begins with: a grid, or for ``"auto"`` three around one.

    Examples
    --------
    >>> first_rates("auto", 0.005), first_rates([0.1], 0.005)
    ((0.0025, 0.005, 0.01), (0.1,))
    """
    return (around / FACTOR, around, around * FACTOR) if rates == AUTO else tuple(rates)


def extends(rates, earlier) -> bool:
    """Tell whether a grid has all rates of an earlier one, and more.

    Examples
    --------
    >>> extends([0.1, 0.2], [0.2]), extends([0.1], [0.2]), extends("auto", [0.2])
    (True, False, False)
    """
    if not (isinstance(rates, list) and isinstance(earlier, list) and earlier):
        return False
    return set(earlier) < set(rates)


def at_edge(arms: dict) -> list[str]:
    """Return the arms of a verdict whose best learning rate is at the end of those tried.

    Examples
    --------
    >>> at_edge({"uniform": {"learning_rate_at_edge": True}, "adarank": {}})
    ['uniform']
    """
    return [arm for arm, about in arms.items() if about.get("learning_rate_at_edge")]


def edge_notice(arm: str) -> str:
    """Say what it means that an arm's best learning rate is at the end of those tried.

    Examples
    --------
    >>> edge_notice("uniform")
    "uniform's best learning rate is at the end of those tried: a better one may lie beyond, and \
the verdict on it may only be one on its rate; give more rates, or 'auto'"
    """
    return (
        f"{arm}'s best learning rate is at the end of those tried: a better one may lie beyond, "
        "and the verdict on it may only be one on its rate; give more rates, or 'auto'"
    )


def best_rate(
    rates: Sequence[float],
    train: Callable[[float, int], Trial | None],
    seeds: Sequence[int] = SEARCH_SEEDS,
    grows: bool = False,
) -> ChosenRate | None:
    """Train at every learning rate; return the one with the lowest mean validation loss.

    Parameters
    ----------
    rates : sequence of float
    train : callable
        Trains at a rate with a seed; returns None when stopped.
    seeds : sequence of int
    grows : bool
        Whether rates twice as high or half as low are tried as long as the best is at the end, up
        to ten in all. A loss that is no number is worse than any.

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
    >>> def train(rate, seed):
    ...     return Trial(abs(rate - 0.2) + 0.01 * seed, 1.5)
    >>> best_rate([0.1, 0.25], train, seeds=(0, 1)).learning_rate
    0.25
    >>> found = best_rate([0.025, 0.05], train, seeds=(0, 1), grows=True)
    >>> found.learning_rate, list(found.validation_loss), found.learning_rate_at_edge
    (0.2, ['0.025', '0.05', '0.1', '0.2', '0.4'], False)
    """
    trials: dict[float, dict[int, Trial]] = {}
    waiting = list(rates)
    while waiting:
        rate = waiting.pop(0)
        trials[rate] = {}
        for seed in seeds:
            trial = train(rate, seed)
            if trial is None:
                return None
            trials[rate][seed] = trial
            if trial.validation_loss is None:
                break
        if grows and not waiting and len(trials) < MOST_RATES:
            waiting += _beyond(_means(trials))
    means = _means(trials)
    finite = {rate: loss for rate, loss in means.items() if loss is not None}
    if not finite:
        tried = ", ".join(f"{rate:g}" for rate in means)
        raise AdaRankError(f"the loss is not finite at learning rates of {tried}; lower them")
    best = min(finite, key=finite.get)
    every = [trial for of_rate in trials.values() for trial in of_rate.values()]
    ranks = {seed: t.allocation_seconds for by in trials.values() for seed, t in by.items()}
    return ChosenRate(
        learning_rate=best,
        learning_rate_at_edge=best in (min(means), max(means)),
        search_seconds=round(sum(t.train_seconds for t in every) + sum(ranks.values()), 3),
        validation_loss={str(rate): loss for rate, loss in means.items()},
        validation_loss_by_seed={
            str(rate): {str(seed): t.validation_loss for seed, t in trials[rate].items()}
            for rate in means
        },
    )


def _means(trials: dict[float, dict[int, Trial]]) -> dict[float, float | None]:
    """Return the mean loss of every rate, from the lowest rate on."""
    means = {}
    for rate in sorted(trials):
        losses = [trial.validation_loss for trial in trials[rate].values()]
        means[rate] = None if None in losses else sum(losses) / len(losses)
    return means


def _beyond(means: dict[float, float | None]) -> list[float]:
    """Return the next rate where the best is at the end of those tried; empty where it is not."""
    lowest, highest = min(means), max(means)
    finite = {rate: loss for rate, loss in means.items() if loss is not None}
    best = min(finite, key=finite.get) if finite else lowest
    if best == lowest:
        return [lowest / FACTOR]
    return [highest * FACTOR] if best == highest else []
