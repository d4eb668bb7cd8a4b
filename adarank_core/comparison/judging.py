"""How a verdict is reached: what was declared, who is held against whom, which word it gets."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adarank_core.comparison.statistics import (
    holm,
    level_of_look,
    paired_comparison,
    texts_interval,
)
from adarank_core.comparison.verdicts import (
    FEWEST_SEEDS,
    FROM_HEAD_ONLY,
    GIVEN,
    METRICS,
    NO_DIFFERENCE,
    NO_PRACTICAL,
    ONE_SEED,
    SECONDARY,
    TOO_FEW,
    Verdict,
)

__all__ = ["Declared", "verdict_of"]

OF_INTEREST = 0.1  # of what LoRA gains over the head alone


@dataclass(frozen=True)
class Declared:
    """What was settled before anything was measured, and how often a verdict has been read since.

    Parameters
    ----------
    metric : {"test_loss", "test_accuracy", "macro_f1", "auc"}
        The primary one: the verdict is about it.
    smallest_of_interest : float, optional
        A difference in it below this one matters to nobody.
    planned_seeds : sequence of int
        Those that were first asked for.
    looks : sequence of dict
        One for every verdict that was written, the one at hand among them: its ``arms``,
        ``seeds`` and the ``smallest_of_interest`` that was given. From the second on a verdict is
        exploratory: somebody may have gone on because the one before did not please.

    Examples
    --------
    >>> Declared("macro_f1", smallest_of_interest=0.02).level
    0.05
    """

    metric: str = "test_loss"
    smallest_of_interest: float | None = None
    planned_seeds: Sequence[int] = ()
    looks: Sequence[dict] = ()

    @property
    def level(self) -> float:
        """The level at which the verdict is decided; see `level_of_look`."""
        return level_of_look(len(self.looks))


def verdict_of(
    task: str,
    model: str,
    arms: dict,
    failed: dict | None = None,
    declared: Declared | None = None,
    texts: dict | None = None,
    pairs: Sequence[tuple[str, str]] | None = None,
) -> Verdict:
    """Hold every arm against the reference, and judge by the primary metric.

    The reference is ``"uniform"``, or the first arm without it; where both are there,
    ``"adarank"`` is held against ``"permuted"`` too. Holm's correction covers all comparisons on
    the primary metric. The other metrics are secondary: they have no word, and their
    ``p_adjusted`` is corrected for all comparisons on all metrics, for who reads them all.

    Where a smallest difference of interest is known, an arm is ``"better"`` or ``"worse"``, or
    there is ``"no practical difference"`` (two one-sided tests rule out one as large, whether or
    not there is a smaller one), or there are ``"too few seeds to tell"``. It is known where it is
    given or where the arms ``"uniform"`` and ``"head-only"`` are there, and then a tenth of what
    the one gains over the other. Two seeds are always too few: their t-test has one degree of
    freedom.

    Parameters
    ----------
    task, model : str
    arms, failed : dict
        As in `Verdict`; at least one arm. Two arms are compared on the seeds that both have.
    declared : Declared, optional
    texts : dict, optional
        By arm, a list of what `training.text_results` keeps of every seed, in the order of its
        runs; arms that lack it are not in it.
    pairs : sequence of pairs of str, optional
        What is compared, an arm and what it is held against, in place of the above; those are
        passed over of which an arm is not there.

    Returns
    -------
    Verdict

    Examples
    --------
    >>> runs = lambda *losses: {"runs": [
    ...     {"seed": n, "test_loss": loss} for n, loss in enumerate(losses)]}
    >>> arms = {"uniform": runs(0.5, 0.6, 0.7), "adarank": runs(0.4, 0.55, 0.69)}
    >>> verdict_of("t", "m", arms).comparisons[0]["verdict"]
    'no detectable difference'
    >>> declared = Declared(smallest_of_interest=0.01)
    >>> verdict_of("t", "m", arms, declared=declared).comparisons[0]["verdict"]
    'too few seeds to tell'
    """
    declared = declared or Declared()
    smallest, source = _smallest_of_interest(arms, declared)
    reference = "uniform" if "uniform" in arms else next(iter(arms))
    if pairs is None:
        pairs = [(arm, reference) for arm in arms if arm != reference]
        if "adarank" in arms and "permuted" in arms and reference not in ("adarank", "permuted"):
            pairs.append(("adarank", "permuted"))
    pairs = [pair for pair in pairs if _shared_seeds(arms, pair)]
    metrics = sorted(METRICS, key=lambda metric: metric != declared.metric)
    measured = []
    for metric, (arm, against) in itertools.product(metrics, pairs):
        seeds = _shared_seeds(arms, (arm, against))
        first, second = (_values(arms[name], metric, seeds) for name in (arm, against))
        if None not in (*first, *second):
            measured.append((metric, arm, against, first, second))
    claims = sum(metric == declared.metric for metric, *_ in measured)
    of_texts = {
        arm: {run["seed"]: kept for run, kept in zip(arms[arm]["runs"], every, strict=True)}
        for arm, every in (texts or {}).items()
    }
    comparisons = []
    for metric, arm, against, first, second in measured:
        primary = metric == declared.metric
        compared = paired_comparison(
            first,
            second,
            level=declared.level,
            claims=claims if primary else len(measured),
            smallest=smallest if primary else None,
        )
        about = {"arm": arm, "against": against, "metric": metric, **compared}
        seeds = _shared_seeds(arms, (arm, against))
        comparisons.append({**about, **_over_texts(of_texts, about, seeds)})
    p_values = [compared["p_value"] for compared in comparisons]
    adjusted = holm(p_values[:claims]) + holm(p_values)[claims:]
    for compared, p_adjusted, about in zip(comparisons, adjusted, measured, strict=True):
        compared["p_adjusted"] = p_adjusted
        compared["verdict"] = SECONDARY
        if compared["metric"] == declared.metric:
            seeds = len(about[-1])
            compared["verdict"] = _word(compared, seeds, declared.level, claims, smallest)
    told = (declared.metric, smallest, source, tuple(declared.planned_seeds), tuple(declared.looks))
    return Verdict(task, model, arms, tuple(comparisons), failed or {}, *told)


def _shared_seeds(arms: dict, pair: Sequence[str]) -> list[int]:
    """Return the seeds that both arms have, in the first one's order; none where one is missing."""
    first, second = ([run["seed"] for run in arms.get(arm, {"runs": ()})["runs"]] for arm in pair)
    return [seed for seed in first if seed in second]


def _values(about: dict, metric: str, seeds: Sequence[int]) -> list[float | None]:
    by_seed = {run["seed"]: run.get(metric) for run in about["runs"]}
    return [by_seed[seed] for seed in seeds]


def _smallest_of_interest(arms: dict, declared: Declared) -> tuple[float | None, str | None]:
    """Return the smallest difference of interest, and where it comes from."""
    if declared.smallest_of_interest is not None:
        return declared.smallest_of_interest, GIVEN
    pair = ("uniform", "head-only")
    seeds = _shared_seeds(arms, pair)
    trained, head = (_values(arms[a], declared.metric, seeds) if seeds else [] for a in pair)
    if not seeds or None in trained or None in head:
        return None, None
    gain = (math.fsum(trained) - math.fsum(head)) / len(trained)
    gain = gain if METRICS[declared.metric] else -gain
    return (OF_INTEREST * gain, FROM_HEAD_ONLY) if gain > 0 else (None, None)


def _over_texts(texts: dict, compared: dict, seeds: Sequence[int]) -> dict:
    """Return the interval over seeds and texts, where the texts of all runs are known.

    ``texts`` has what is kept of them by arm and seed.
    """
    unknown = {"ci_low_texts": None, "ci_high_texts": None}
    if compared["ci_low"] is None:  # where the seeds tell nothing, texts cannot
        return unknown
    arms = (texts.get(compared[key], {}) for key in ("arm", "against"))
    ours, theirs = ([of.get(seed, {}).get(compared["metric"]) for seed in seeds] for of in arms)
    values = [*ours, *theirs]
    if any(one is None or len(one) < 2 for one in values):
        return unknown
    if len({len(one) for one in values}) > 1:
        return unknown
    differences = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    low, high = texts_interval(differences, 1 - compared["ci_level"])
    return {"ci_low_texts": low, "ci_high_texts": high}


def _word(compared: dict, seeds: int, level: float, claims: int, smallest: float | None) -> str:
    if compared["p_adjusted"] is None:
        return ONE_SEED
    if seeds < FEWEST_SEEDS:
        return TOO_FEW
    equivalence = compared["p_equivalence"]
    # Bonferroni's level: all claims of equivalence together stay below the verdict's, as Holm's
    # correction keeps all claims of a difference.
    if equivalence is not None and equivalence < level / claims:
        return NO_PRACTICAL
    if compared["p_adjusted"] >= level:
        return NO_DIFFERENCE if smallest is None else TOO_FEW
    return "better" if (compared["difference"] > 0) == METRICS[compared["metric"]] else "worse"
