"""What the studies share that train: their settings, means over seeds, and paired differences."""

from collections.abc import Iterable, Mapping, Sequence

from adarank_core.comparison.statistics import SIGNIFICANCE, paired_comparison
from adarank_core.comparison.verdicts import FEWEST_SEEDS
from adarank_core.lab.bench import Bench
from adarank_core.numerals import signed

__all__ = [
    "SHORT",
    "difference",
    "is_told",
    "losses",
    "mean_and_error",
    "needs_labels",
    "seeds_of",
    "told",
    "train_arm",
]

#: Short trainings of short texts, so that a study ends within two minutes.
SHORT = {
    "seeds": 2,
    "steps": 20,
    "batch_size": 16,
    "learning_rate": 5e-3,
    "max_length": 32,
}


def needs_labels(bench: Bench) -> None:
    """Raise `AdaRankError` now where the task or the model cannot be trained with."""
    bench.planner(bench.settings.get("average_rank", 1))


def seeds_of(bench: Bench) -> range:
    """Return the seeds of a study's trainings.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> seeds_of(SimpleNamespace(seed=3, settings={"seeds": 2}))
    range(3, 5)
    """
    return range(bench.seed, bench.seed + bench.settings["seeds"])


def train_arm(bench: Bench, arm: str, seed: int, average_rank: float, **changes) -> dict | None:
    """Train an arm of a comparison; see `Bench.train`."""
    planned = bench.planner(average_rank).plan(arm, seed)
    return None if planned is None else bench.train(planned, seed, **changes)


def losses(measured: Iterable[Mapping], **where) -> dict[int, float]:
    """Return the losses by seed of what was trained so; failed trainings have none.

    Examples
    --------
    >>> losses([{"arm": "uniform", "seed": 0, "loss": 0.5}, {"arm": "full", "seed": 0,
    ...     "loss": 0.4}, {"arm": "uniform", "seed": 1, "failed": "no"}], arm="uniform")
    {0: 0.5}
    """
    return {
        one["seed"]: one["loss"]
        for one in measured
        if "loss" in one and all(one[key] == value for key, value in where.items())
    }


def mean_and_error(values: Sequence[float]) -> dict:
    """Return ``loss``, the mean, its ``standard_error`` (None of one value), and ``seeds``.

    Examples
    --------
    >>> mean_and_error([1.0, 3.0])
    {'loss': 2.0, 'standard_error': 1.0, 'seeds': 2}
    """
    count = len(values)
    mean = sum(values) / count
    spread = sum((value - mean) ** 2 for value in values)
    error = (spread / (count - 1) / count) ** 0.5 if count > 1 else None
    return {"loss": mean, "standard_error": error, "seeds": count}


def difference(values: Mapping[int, float], against: Mapping[int, float]) -> dict:
    """Compare losses by seed: ``difference``, ``ci_low``, ``ci_high``, ``p_value``, ``seeds``.

    Examples
    --------
    >>> difference({0: 0.5, 1: 0.6}, {0: 0.4, 1: 0.7, 2: 0.9})["seeds"]
    2
    """
    seeds = sorted(values.keys() & against.keys())
    found = paired_comparison([values[s] for s in seeds], [against[s] for s in seeds])
    kept = ("difference", "ci_low", "ci_high", "p_value")
    return {**{key: found[key] for key in kept}, "seeds": len(seeds)}


def is_told(row: Mapping) -> bool:
    """Say whether a difference can be told from nothing: of one or two seeds it never is.

    Examples
    --------
    >>> is_told({"p_value": 0.01, "seeds": 2}), is_told({"p_value": 0.01, "seeds": 3})
    (False, True)
    """
    return row["seeds"] >= FEWEST_SEEDS and row["p_value"] < SIGNIFICANCE


def told(row: Mapping) -> str:
    """Say a difference with its interval, and whether it can be told from nothing.

    Examples
    --------
    >>> told({"difference": -0.02, "ci_low": -0.05, "ci_high": 0.01, "p_value": 0.1, "seeds": 5})
    '−0.020 (95% interval −0.050 to +0.010, 5 seeds: nothing can be told)'
    >>> told({"difference": -0.02, "ci_low": None, "ci_high": None, "p_value": None, "seeds": 1})
    '−0.020 (one seed decides nothing)'
    """
    start = signed(row["difference"])
    if row["p_value"] is None:
        return f"{start} (one seed decides nothing)"
    if row["ci_low"] is None:
        return f"{start} (the same with each of {row['seeds']} seeds)"
    sure = "" if is_told(row) else ": nothing can be told"
    interval = f"{signed(row['ci_low'])} to {signed(row['ci_high'])}"
    return f"{start} (95% interval {interval}, {row['seeds']} seeds{sure})"
