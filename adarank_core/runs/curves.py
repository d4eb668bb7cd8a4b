"""The curves of a comparison, from its recorded events to what is drawn."""

from collections.abc import Sequence

import pandas as pd

__all__ = ["curve_table", "mean_curve", "seed_curves", "smoothed", "thinned"]

MOST_POINTS = 400  # a line; a screen is not much wider


def curve_table(events: Sequence[dict], metric: str) -> pd.DataFrame:
    """Collect one metric of all arms and seeds over the steps.

    Parameters
    ----------
    events : sequence of dict
        As a comparison records them. Trainings that only look for a learning rate are left out.
    metric : {"validation_loss", "validation_accuracy", "train_loss"}

    Returns
    -------
    pandas.DataFrame
        Columns ``arm``, ``seed``, ``step`` and ``value``. An arm that was begun again after an
        interruption is there once; one that went on from a checkpoint keeps what came before it.

    Examples
    --------
    >>> step = {"event": "step", "arm": "uniform", "seed": 0, "step": 1, "train_loss": 1.5}
    >>> curve_table([step, {**step, "search": 0.001}], "train_loss").values.tolist()
    [['uniform', 0, 1, 1.5]]
    """
    curves: dict[tuple, list] = {}
    before: dict[tuple, list] = {}
    for event in events:
        if "arm" not in event:
            continue
        if event["event"] in ("step", "evaluation"):
            if metric in event and "search" not in event:
                pair = (event["arm"], event["seed"])
                curves.setdefault(pair, []).append((*pair, event["step"], event[metric]))
        elif event["event"] == "plan":
            pair = (event["arm"], event["seed"])
            before[pair], curves[pair] = curves.get(pair, []), []
        elif event["event"] == "resumed" and "search" not in event:
            pair = (event["arm"], event["seed"])
            curves[pair] = [row for row in before.get(pair, []) if row[2] <= event["step"]]
    rows = [row for curve in curves.values() for row in curve]
    return pd.DataFrame(rows, columns=["arm", "seed", "step", "value"])


def seed_curves(table: pd.DataFrame, arm: str) -> dict[int, pd.Series]:
    """Return every seed's curve of an arm, by step.

    Parameters
    ----------
    table : pandas.DataFrame
        As `curve_table` returns it.
    arm : str

    Examples
    --------
    >>> table = pd.DataFrame([("uniform", 0, 5, 1.5)], columns=["arm", "seed", "step", "value"])
    >>> seed_curves(table, "uniform")[0].to_dict()
    {5: 1.5}
    """
    return {
        seed: pd.Series(rows["value"].to_numpy(), rows["step"].to_numpy())
        for seed, rows in table[table["arm"] == arm].groupby("seed")
    }


def mean_curve(curves: dict[int, pd.Series]) -> tuple[pd.Series, int]:
    """Average the seeds that have come as far as the farthest one.

    So the mean does not jump where a seed that is under way ends.

    Parameters
    ----------
    curves : dict
        As `seed_curves` returns them.

    Returns
    -------
    mean : pandas.Series
        By step; empty where there is no curve.
    seeds : int
        How many it is over.

    Examples
    --------
    >>> mean, seeds = mean_curve({0: pd.Series([2.0, 1.0], [1, 2]), 1: pd.Series([4.0], [1])})
    >>> mean.to_dict(), seeds
    ({1: 2.0, 2: 1.0}, 1)
    """
    last = max((values.index[-1] for values in curves.values()), default=0)
    far = [values for values in curves.values() if values.index[-1] == last]
    if not far:
        return pd.Series(dtype=float), 0
    return pd.concat(far).groupby(level=0).mean(), len(far)


def smoothed(values: pd.Series, smoothing: float) -> pd.Series:
    """Average over the steps before, the nearest most; the first steps have no bias to a start.

    Parameters
    ----------
    values : pandas.Series
    smoothing : float
        Share of an exponential moving average that a step takes over from the one before; from 0
        to below 1.

    Examples
    --------
    >>> smoothed(pd.Series([1.0, 4.0]), 0.5).tolist()
    [1.0, 3.0]
    """
    return values.ewm(alpha=1 - smoothing).mean() if smoothing and len(values) else values


def thinned(values: pd.Series) -> pd.Series:
    """Leave out points that nobody could tell apart; which ones are kept changes seldom.

    Examples
    --------
    >>> len(thinned(pd.Series(range(1001))))
    251
    """
    stride = 1
    while len(values) > MOST_POINTS * stride:
        stride *= 2
    return values if stride == 1 else pd.concat([values[:-1:stride], values[-1:]])
