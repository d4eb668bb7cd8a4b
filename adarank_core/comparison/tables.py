"""What a comparison came to as tables: means of the arms, costs, differences seed by seed."""

import pandas as pd

from adarank_core.comparison.arms import is_matched
from adarank_core.comparison.sentences import word_of
from adarank_core.comparison.verdicts import METRICS, Verdict

__all__ = [
    "arm_table",
    "comparison_table",
    "cost_table",
    "difference_table",
    "mean_over_runs",
    "parameter_range",
    "rate_table",
]


def mean_over_runs(runs: list[dict], key: str) -> float | None:
    """Average what the runs of an arm tell, or None where none of them tells it.

    Examples
    --------
    >>> mean_over_runs([{"test_loss": 0.5}, {"test_loss": 0.25}, {}], "test_loss")
    0.375
    """
    values = [run[key] for run in runs if run.get(key) is not None]
    return sum(values) / len(values) if values else None


def parameter_range(arms: dict) -> tuple[int, int]:
    """Return the fewest and the most LoRA parameters of the arms that are held to one number.

    Examples
    --------
    >>> arms = {"uniform": 1024, "adarank": 1020, "head-only": 0, "uniform-double": 2048}
    >>> parameter_range({arm: {"lora_parameters": count} for arm, count in arms.items()})
    (1020, 1024)
    """
    counts = [about["lora_parameters"] for arm, about in arms.items() if is_matched(arm)]
    return min(counts, default=0), max(counts, default=0)


def arm_table(arms: dict, reference: str) -> pd.DataFrame:
    """List what every arm came to: means over its seeds, its size and its seconds.

    Parameters
    ----------
    arms : dict
        As in `Verdict`, or as `finished_results` returns it.
    reference : str
        The arm that LoRA parameters are held against.

    Returns
    -------
    pandas.DataFrame
        Columns ``arm``, the metrics, ``seeds``, ``lora_parameters``, ``more_parameters`` (than
        the reference), ``allocation_seconds``, ``learning_rate``, ``search_seconds`` and
        ``train_seconds`` (mean). What no arm tells is left out: AUC of more than two classes, and
        the search for a learning rate where there was none.

    Examples
    --------
    >>> runs = [{"seed": 0, "test_loss": 0.5, "test_accuracy": 0.75}]
    >>> arms = {"uniform": {"lora_parameters": 9, "allocation_seconds": 0.0, "runs": runs}}
    >>> arm_table(arms, "uniform").values.tolist()
    [['uniform', 0.5, 0.75, 1, 9, 0, 0.0]]
    """
    against = arms.get(reference, {}).get("lora_parameters")
    rows = []
    for arm, about in arms.items():
        runs, size = about["runs"], about["lora_parameters"]
        row = {
            "arm": arm,
            **{metric: mean_over_runs(runs, metric) for metric in METRICS},
            "seeds": len(runs),
            "lora_parameters": size,
            "more_parameters": None if against is None else size - against,
            "allocation_seconds": about["allocation_seconds"],
            "learning_rate": about.get("learning_rate"),
            "search_seconds": about.get("search_seconds"),
            "train_seconds": mean_over_runs(runs, "train_seconds"),
        }
        rows.append(row)
    return pd.DataFrame(rows).dropna(axis="columns", how="all")


def rate_table(arms: dict) -> pd.DataFrame:
    """List what every arm came to at every learning rate that it was tried at.

    Parameters
    ----------
    arms : dict
        As in `Verdict`.

    Returns
    -------
    pandas.DataFrame
        Columns ``arm``, ``learning_rate``, ``validation_loss`` (mean over the seeds of the
        search), ``chosen``, and one a seed. Empty where no arm was searched for, or by an older
        version.

    Examples
    --------
    >>> about = {"learning_rate": 0.1, "validation_loss": {"0.1": 0.5, "0.2": None},
    ...          "validation_loss_by_seed": {"0.1": {"7": 0.4, "8": 0.6}, "0.2": {"7": None}}}
    >>> rate_table({"uniform": about}).iloc[0].to_dict()
    {'arm': 'uniform', 'learning_rate': 0.1, 'validation_loss': 0.5, 'chosen': True, \
'seed 7': 0.4, 'seed 8': 0.6}
    """
    rows = [
        {
            "arm": arm,
            "learning_rate": float(rate),
            "validation_loss": loss,
            "chosen": float(rate) == about.get("learning_rate"),
            **{
                f"seed {seed}": value
                for seed, value in about.get("validation_loss_by_seed", {}).get(rate, {}).items()
            },
        }
        for arm, about in arms.items()
        for rate, loss in about.get("validation_loss", {}).items()
    ]
    return pd.DataFrame(rows)


def cost_table(arms: dict, metric: str, cost: str) -> pd.DataFrame:
    """List what every arm and seed cost, and how good it was.

    Parameters
    ----------
    arms : dict
        As in `Verdict`.
    metric : {"test_loss", "test_accuracy", "macro_f1", "auc"}
    cost : {"parameters", "seconds"}
        Seconds are those for the ranks, the seed's part of the search for a learning rate, and
        those of training. Full fine-tuning has no LoRA parameters, and is left out of these.

    Returns
    -------
    pandas.DataFrame
        Columns ``arm``, ``seed``, ``cost`` and ``value``.

    Examples
    --------
    >>> runs = [{"seed": 0, "test_loss": 0.5, "train_seconds": 50.0},
    ...         {"seed": 1, "test_loss": 0.6, "train_seconds": 52.0}]
    >>> about = {"lora_parameters": 9, "allocation_seconds": 4.0, "search_seconds": 60.0}
    >>> cost_table({"adarank": {**about, "runs": runs}}, "test_loss", "seconds").values.tolist()
    [['adarank', 0, 84.0, 0.5], ['adarank', 1, 86.0, 0.6]]
    """
    rows = []
    for arm, about in arms.items():
        if cost == "parameters" and arm == "full":
            continue
        runs = about["runs"]
        shared = about["allocation_seconds"] + about.get("search_seconds", 0) / max(1, len(runs))
        for run in runs:
            spent = about["lora_parameters"]
            if cost == "seconds":
                spent = shared + run["train_seconds"] if "train_seconds" in run else None
            if spent is not None and run.get(metric) is not None:
                rows.append((arm, run["seed"], spent, run[metric]))
    return pd.DataFrame(rows, columns=["arm", "seed", "cost", "value"])


def comparison_table(verdict: Verdict) -> pd.DataFrame:
    """List every comparison of a verdict, those on the primary metric first.

    Parameters
    ----------
    verdict : Verdict

    Returns
    -------
    pandas.DataFrame
        Columns ``metric``, ``arm``, ``against``, ``difference``, ``ci_low``, ``ci_high`` (over
        seeds), ``ci_low_texts``, ``ci_high_texts`` (over seeds and texts), ``p_adjusted``,
        ``smallest_detectable``, ``seeds_needed`` and ``verdict``. What no comparison tells is
        left out, as are intervals of one seed.

    Examples
    --------
    >>> from adarank_core.comparison.judging import verdict_of
    >>> runs = lambda *losses: {"runs": [
    ...     {"seed": n, "test_loss": loss} for n, loss in enumerate(losses)]}
    >>> verdict = verdict_of("t", "m", {"uniform": runs(0.5, 0.7), "adarank": runs(0.25, 0.5)})
    >>> list(comparison_table(verdict))[3:]
    ['difference', 'ci_low', 'ci_high', 'p_adjusted', 'smallest_detectable', 'verdict']
    """
    columns = ["metric", "arm", "against", "difference", "ci_low", "ci_high", "ci_low_texts"]
    columns += ["ci_high_texts", "p_adjusted", "smallest_detectable", "seeds_needed", "verdict"]
    ordered = sorted(verdict.comparisons, key=lambda c: c["metric"] != verdict.primary_metric)
    told = [{**compared, "verdict": word_of(compared, verdict)} for compared in ordered]
    table = pd.DataFrame(told).reindex(columns=columns)
    return table.dropna(axis="columns", how="all")


def difference_table(verdict: Verdict, metric: str) -> pd.DataFrame:
    """List every seed's difference between two arms that a verdict compares.

    Parameters
    ----------
    verdict : Verdict
    metric : {"test_loss", "test_accuracy", "macro_f1", "auc"}

    Returns
    -------
    pandas.DataFrame
        Columns ``arm``, ``against``, ``seed`` and ``difference`` (first arm minus second).

    Examples
    --------
    >>> from adarank_core.comparison.judging import verdict_of
    >>> runs = lambda loss: {"runs": [{"seed": 0, "test_loss": loss}]}
    >>> verdict = verdict_of("t", "m", {"uniform": runs(0.5), "adarank": runs(0.25)})
    >>> difference_table(verdict, "test_loss").values.tolist()
    [['adarank', 'uniform', 0, -0.25]]
    """
    rows = []
    for compared in verdict.comparisons:
        if compared["metric"] == metric:
            pair = compared["arm"], compared["against"]
            first, second = (verdict.arms[arm]["runs"] for arm in pair)
            rows += [
                (*pair, one["seed"], one[metric] - other[metric])
                for one, other in zip(first, second, strict=True)
            ]
    return pd.DataFrame(rows, columns=["arm", "against", "seed", "difference"])
