"""Verdicts: is one arm better than another, or can nobody tell with this many seeds?

The test is the paired t-test and the interval is its own. How often each candidate finds a
difference at 5% where there is none, over 2,000 comparisons of pure normal noise
(``python benchmarks/false_positives.py``):

===== ====== ========= ======== ==================== =============
seeds t-test sign-flip Wilcoxon percentile bootstrap BCa bootstrap
===== ====== ========= ======== ==================== =============
3     5.1%   0.0%      0.0%     25.8%                28.2%
5     4.2%   0.0%      0.0%     15.2%                15.4%
8     5.2%   5.3%      4.5%     11.2%                11.2%
10    5.1%   5.1%      5.1%     9.4%                 9.9%
===== ====== ========= ======== ==================== =============

Flips of sign and ranks can say nothing below six seeds: of 2^5 outcomes the most extreme two are
already 6%. Resampling five seeds makes far too narrow an interval. The t-test assumes that the
differences are about normal; two arms under the same noise have differences that are symmetric at
least. Where the noise of one arm alone is skewed, all of them find too much.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Literal, NotRequired

from annotated_types import Interval, MinLen
from typing_extensions import TypedDict  # pydantic wants this one below Python 3.12

from adarank_core.errors import AdaRankError, quoted
from adarank_core.ranks.plans import Ranks
from adarank_core.schemas import STRICT, FailFast, Name, Text, check_format, validated

__all__ = [
    "METRICS",
    "VERDICTS",
    "Count",
    "RunEntry",
    "Seed",
    "Verdict",
    "describe",
    "paired_comparison",
    "verdict_of",
]

FORMAT = "adarank-verdict/1"
SIGNIFICANCE = 0.05
POWER = 0.8

#: Metric → whether more is better.
METRICS = {"test_loss": False, "test_accuracy": True, "macro_f1": True, "auc": True}
METRIC_NAMES = {
    "test_loss": "test loss",
    "test_accuracy": "test accuracy",
    "macro_f1": "macro-F1",
    "auc": "AUC",
}
NO_DIFFERENCE = "no detectable difference"
ONE_SEED = "one seed decides nothing"
VERDICTS = ("better", "worse", NO_DIFFERENCE, ONE_SEED)

Count = Annotated[int, Interval(ge=0, le=10**12)]
Seed = Annotated[int, Interval(ge=-(2**63), lt=2**64)]
_Number = Annotated[float, Interval(ge=-1e15, le=1e15)]  # no sum of some overflows


class RunEntry(TypedDict):
    """What a run came to, as JSON has it."""

    __pydantic_config__ = STRICT
    seed: Seed
    test_loss: _Number
    test_accuracy: NotRequired[_Number | None]
    macro_f1: NotRequired[_Number | None]
    auc: NotRequired[_Number | None]
    train_seconds: NotRequired[_Number]
    steps: NotRequired[Annotated[int, Interval(ge=1, le=10**12)]]


class _ArmEntry(TypedDict):
    __pydantic_config__ = STRICT
    lora_parameters: Count
    allocation_seconds: _Number
    runs: Annotated[list[RunEntry], MinLen(1), FailFast()]
    ranks: NotRequired[Ranks]
    learning_rate: NotRequired[_Number | None]
    learning_rate_at_edge: NotRequired[bool]
    search_seconds: NotRequired[_Number]
    validation_loss: NotRequired[dict[Text, _Number | None]]
    validation_loss_by_seed: NotRequired[dict[Text, dict[Text, _Number | None]]]


class _ComparedEntry(TypedDict):
    __pydantic_config__ = STRICT
    arm: Name
    against: Name
    metric: Literal[tuple(METRICS)]
    difference: _Number
    ci_low: _Number | None
    ci_high: _Number | None
    p_value: _Number | None
    p_adjusted: _Number | None
    verdict: Literal[VERDICTS]
    smallest_detectable: _Number | None


class _VerdictFile(TypedDict):
    __pydantic_config__ = STRICT
    task: Name
    model: Name
    arms: dict[Name, _ArmEntry]
    comparisons: Annotated[list[_ComparedEntry], FailFast()]
    failed: NotRequired[dict[Name, Text]]


@dataclass(frozen=True)
class Verdict:
    """What a comparison came to.

    Parameters
    ----------
    task, model : str
    arms : dict
        By name: ``lora_parameters`` (int), ``ranks`` (of the first seed), ``allocation_seconds``
        (mean over seeds) and ``runs``, one dictionary a seed as `finetune` returns it.
    comparisons : tuple of dict
        As `paired_comparison` returns them, with ``p_adjusted`` and ``verdict``.
    failed : dict of str to str
        Why an arm is not among ``arms``: what broke one of its runs off, such as a loss that is
        no number.

    Examples
    --------
    >>> Verdict.from_dict(Verdict("t", "m", {}, ()).to_dict())
    Verdict(task='t', model='m', arms={}, comparisons=(), failed={})
    """

    task: str
    model: str
    arms: dict
    comparisons: tuple[dict, ...]
    failed: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict:
        """Return the ``adarank-verdict/1`` dictionary; ``failed`` is in it where an arm did."""
        failed = {"failed": dict(self.failed)} if self.failed else {}
        return {
            "format": FORMAT,
            "task": self.task,
            "model": self.model,
            "arms": self.arms,
            "comparisons": list(self.comparisons),
            **failed,
        }

    @classmethod
    def from_dict(cls, data: dict) -> "Verdict":
        """Build a verdict from an ``adarank-verdict/1`` dictionary.

        Raises
        ------
        AdaRankError
            If the format tag, a key or a value is not right, or if what is compared is not there.
        """
        check_format(data, FORMAT, "verdict")
        validated(data, _VerdictFile, "the verdict")
        for compared in data["comparisons"]:
            _check_compared(compared, data["arms"])
        kept = (data["task"], data["model"], data["arms"], tuple(data["comparisons"]))
        return cls(*kept, data.get("failed", {}))


def _check_compared(compared: dict, arms: dict) -> None:
    """Raise `AdaRankError` unless a comparison can be told and drawn with these arms."""
    pair, metric = (compared["arm"], compared["against"]), compared["metric"]
    for arm in pair:
        if arm not in arms:
            raise AdaRankError(f"the verdict compares {quoted(arm)}, which is none of its arms")
        if any(run.get(metric) is None for run in arms[arm]["runs"]):
            raise AdaRankError(f"the verdict compares {metric!r}, which {quoted(arm)} lacks")
    first, second = ([run["seed"] for run in arms[arm]["runs"]] for arm in pair)
    if first != second:
        raise AdaRankError(
            f"the verdict compares {quoted(pair[0])} with {quoted(pair[1])}, whose seeds differ"
        )
    interval, judged = (compared["ci_low"], compared["ci_high"]), compared["p_value"] is not None
    if interval.count(None) == 1 or judged == (compared["verdict"] == ONE_SEED):
        raise AdaRankError(
            f"the verdict's interval, p-value and word on {quoted(pair[0])} do not go together"
        )


def verdict_of(task: str, model: str, arms: dict, failed: dict | None = None) -> Verdict:
    """Hold every arm against the reference on every metric, with Holm's correction over arms.

    The reference is ``"uniform"``, or the first arm without it; where both are there,
    ``"adarank"`` is held against ``"permuted"`` too.

    Parameters
    ----------
    task, model : str
    arms, failed : dict
        As in `Verdict`; at least one arm, each with the same seeds.

    Returns
    -------
    Verdict

    Examples
    --------
    >>> runs = lambda *losses: {"runs": [
    ...     {"seed": n, "test_loss": loss} for n, loss in enumerate(losses)]}
    >>> verdict = verdict_of("t", "m", {"uniform": runs(0.5, 0.6), "adarank": runs(0.4, 0.55)})
    >>> verdict.comparisons[0]["verdict"]
    'no detectable difference'
    """
    reference = "uniform" if "uniform" in arms else next(iter(arms))
    pairs = [(arm, reference) for arm in arms if arm != reference]
    if "adarank" in arms and "permuted" in arms and reference not in ("adarank", "permuted"):
        pairs.append(("adarank", "permuted"))
    comparisons = []
    for metric in METRICS:
        of_metric = []
        for arm, against in pairs:
            first, second = ([run.get(metric) for run in arms[a]["runs"]] for a in (arm, against))
            if None not in first and None not in second:
                compared = paired_comparison(first, second)
                of_metric.append({"arm": arm, "against": against, "metric": metric, **compared})
        adjusted = _holm([compared["p_value"] for compared in of_metric])
        for compared, p_adjusted in zip(of_metric, adjusted, strict=True):
            smallest = compared.pop("smallest_detectable")
            compared["p_adjusted"] = p_adjusted
            compared["verdict"] = _word(metric, compared["difference"], p_adjusted)
            compared["smallest_detectable"] = smallest
        comparisons += of_metric
    return Verdict(task, model, arms, tuple(comparisons), failed or {})


def paired_comparison(values: Sequence[float], against: Sequence[float]) -> dict:
    """Compare two arms' values seed by seed, with the paired t-test.

    Parameters
    ----------
    values, against : sequence of float
        One value a seed, in the same order.

    Returns
    -------
    dict
        ``difference``, the mean of ``values - against``; ``ci_low`` and ``ci_high``, its 95%
        interval; ``p_value``; and ``smallest_detectable``, the difference that this many seeds
        would find in four of five comparisons, given how much the differences vary. All but the
        first are None with one seed. The test assumes that the differences are about normal.
        Where all seeds give the same difference, as accuracies on few texts do, that assumption
        would make it certain; there the p-value is that of the sign test, and the others None.

    Examples
    --------
    >>> result = paired_comparison([0.4, 0.5, 0.45], [0.5, 0.58, 0.56])
    >>> round(result["difference"], 4), round(result["p_value"], 3)
    (-0.0967, 0.008)
    """
    from scipy import stats

    differences = [a - b for a, b in zip(values, against, strict=True)]
    count = len(differences)
    mean = math.fsum(differences) / count
    if count < 2:
        nothing = dict.fromkeys(("ci_low", "ci_high", "p_value", "smallest_detectable"))
        return {"difference": mean, **nothing}
    spread = math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (count - 1))
    if spread <= 1e-12 * max(map(abs, (*values, *against))):
        return {
            "difference": mean,
            "ci_low": None,
            "ci_high": None,
            "p_value": 0.5 ** (count - 1) if any(differences) else 1.0,
            "smallest_detectable": None,
        }
    test = stats.ttest_rel(values, against)
    interval = test.confidence_interval(1 - SIGNIFICANCE)
    return {
        "difference": mean,
        "ci_low": float(interval.low),
        "ci_high": float(interval.high),
        "p_value": float(test.pvalue),
        "smallest_detectable": spread / math.sqrt(count) * _detectable(count),
    }


@lru_cache
def _detectable(count: int) -> float:
    """Return the difference, in standard errors, that ``count`` pairs find with power 0.8."""
    from scipy import optimize, stats

    critical = stats.t.ppf(1 - SIGNIFICANCE / 2, count - 1)

    # The chance of a find in the wrong direction is left out: it is below 1e-4 at this power.
    def missing(effect):
        return stats.nct.sf(critical, count - 1, effect) - POWER

    return float(optimize.brentq(missing, 0.0, 2 * critical))


def _holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values for their number (Holm, 1979); None stays None."""
    known = sorted((p, at) for at, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for position, (p, at) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - position) * p))
        adjusted[at] = highest
    return adjusted


def _word(metric: str, difference: float, p_adjusted: float | None) -> str:
    if p_adjusted is None:
        return ONE_SEED
    if p_adjusted >= SIGNIFICANCE:
        return NO_DIFFERENCE
    return "better" if (difference > 0) == METRICS[metric] else "worse"


def describe(compared: dict, seeds: int) -> str:
    """Say a comparison in one sentence.

    Parameters
    ----------
    compared : dict
        One of a verdict's ``comparisons``.
    seeds : int

    Returns
    -------
    str

    Examples
    --------
    >>> compared = {"arm": "adarank", "against": "uniform", "metric": "test_loss",
    ...     "difference": -0.034, "ci_low": -0.056, "ci_high": -0.012, "p_value": 0.01,
    ...     "p_adjusted": 0.01, "verdict": "better", "smallest_detectable": 0.03}
    >>> describe(compared, 5)
    "adarank's test loss is lower than uniform's by 0.034 (95% interval 0.012 to 0.056 lower, \
5 seeds): better"
    """
    metric, difference = METRIC_NAMES[compared["metric"]], compared["difference"]
    arm, against, verdict = (compared[key] for key in ("arm", "against", "verdict"))
    start = f"{arm}'s {metric} is {_way(difference)} than {against}'s by {_size(difference)}"
    if difference == 0:
        start = f"{arm}'s {metric} is the same as {against}'s"
    if verdict == ONE_SEED:
        return f"{start} with this seed, and one seed decides nothing"
    low, high = compared["ci_low"], compared["ci_high"]
    if low is None:
        found = f"{start} with each of {seeds} seeds"
    else:
        if low * high > 0:
            near, far = sorted((low, high), key=abs)
            interval = f"{_size(near)} to {_size(far)} {_way(difference)}"
        else:
            interval = f"{_size(low)} {_way(low)} to {_size(high)} {_way(high)}"
        found = f"{start} (95% interval {interval}, {seeds} seeds)"
    if verdict != NO_DIFFERENCE:
        return f"{found}: {verdict}"
    if compared["p_value"] < SIGNIFICANCE:
        return f"{found}: {NO_DIFFERENCE} once corrected for the number of arms"
    smallest = compared["smallest_detectable"]
    could = "" if smallest is None else f"; {seeds} seeds could have shown one of {_size(smallest)}"
    return f"{found}: {NO_DIFFERENCE}{could}"


def _way(difference: float) -> str:
    return "lower" if difference < 0 else "higher"


def _size(difference: float) -> str:
    return f"{abs(difference):.3f}" if abs(difference) >= 0.0005 else "less than 0.001"
