"""What a verdict says, in sentences."""

from collections.abc import Callable

from adarank_core.comparison.statistics import SIGNIFICANCE
from adarank_core.comparison.verdicts import (
    FEWEST_SEEDS,
    FROM_HEAD_ONLY,
    METRIC_NAMES,
    NO_DIFFERENCE,
    NO_PRACTICAL,
    ONE_SEED,
    SECONDARY,
    TOO_FEW,
    Verdict,
)

__all__ = ["NOBODY", "describe", "of_interest", "size", "why_no_verdict", "word_of"]

NOBODY = "nobody has learned yet"


def word_of(compared: dict, verdict: Verdict) -> str:
    """Return the word that people are told of a comparison.

    It is the verdict's own, but where all arms are no better than guessing, and in a file of an
    older version that judges two seeds.

    Parameters
    ----------
    compared : dict
        One of the verdict's ``comparisons``.
    verdict : Verdict

    Examples
    --------
    >>> arms = {"uniform": {"runs": [{"seed": 0}, {"seed": 1}]}}
    >>> word_of({"verdict": "better"}, Verdict("t", "m", arms, ()))
    'too few seeds to tell'
    """
    word = compared["verdict"]
    if word == SECONDARY:
        return word
    if verdict.nobody_learned:
        return NOBODY
    return TOO_FEW if word != ONE_SEED and verdict.seeds_of(compared) < FEWEST_SEEDS else word


def describe(compared: dict, verdict: Verdict, called: Callable[[str], str] = str) -> str:
    """Say a comparison in one sentence, without its full stop.

    Parameters
    ----------
    compared : dict
        One of the verdict's ``comparisons``.
    verdict : Verdict
    called : callable, optional
        Returns what an arm is called; its name if not given.

    Returns
    -------
    str
        With both intervals, the word of `word_of` after a colon, what it hangs on, and whether it
        is exploratory. Without a word where nobody has learned.

    Examples
    --------
    >>> compared = {"arm": "adarank", "against": "uniform", "metric": "test_loss",
    ...     "difference": -0.034, "ci_low": -0.056, "ci_high": -0.012, "p_value": 0.01,
    ...     "p_adjusted": 0.01, "verdict": "better", "smallest_detectable": 0.03}
    >>> verdict = Verdict("t", "m", {"uniform": {"runs": [{"seed": n} for n in range(5)]}}, ())
    >>> describe(compared, verdict)
    "adarank's test loss is lower than uniform's by 0.034 (95% interval 0.012 to 0.056 lower, \
5 seeds): better"
    """
    metric, difference = METRIC_NAMES[compared["metric"]], compared["difference"]
    arm, against, word = compared["arm"], compared["against"], word_of(compared, verdict)
    arm, against = called(arm), called(against)
    seeds = verdict.seeds_of(compared)
    found = f"{arm}'s {metric} is {_way(difference)} than {against}'s by {size(difference)}"
    if difference == 0:
        found = f"{arm}'s {metric} is the same as {against}'s"
    if compared["p_value"] is None:
        return f"{found} with this seed, and one seed decides nothing"
    if compared["ci_low"] is None:
        found = f"{found} with each of {seeds} seeds"
    else:
        level = compared.get("ci_level", 1 - SIGNIFICANCE)
        interval = _interval(compared["ci_low"], compared["ci_high"], difference)
        inside = f"{100 * level:.6g}% interval {interval}, {seeds} seeds"
        if compared.get("ci_low_texts") is not None:
            wider = _interval(compared["ci_low_texts"], compared["ci_high_texts"], difference)
            inside += f"; {'the same' if wider == interval else wider} for other texts too"
        found = f"{found} ({inside})"
    if word in (SECONDARY, NOBODY):
        return found
    look = f" (exploratory: look {len(verdict.looks)})" if verdict.exploratory else ""
    return f"{found}: {word}{look}{_because(compared, verdict)}"


def _because(compared: dict, verdict: Verdict) -> str:
    """Say what a verdict's word hangs on."""
    word, smallest = word_of(compared, verdict), verdict.smallest_of_interest
    real = compared["p_value"] < verdict.level
    if word == NO_PRACTICAL:
        is_there = compared["p_adjusted"] < verdict.level
        there = "there is a difference, but surely one" if is_there else "it is surely"
        return f", as {there} below {smallest:.3g}, the smallest of interest"
    if word not in (NO_DIFFERENCE, TOO_FEW):
        return ""
    if real and word == NO_DIFFERENCE:
        return " once corrected for the number of comparisons"
    could = []
    if (detectable := compared["smallest_detectable"]) is not None:
        could.append(
            f"{verdict.seeds_of(compared)} seeds could have shown one of {size(detectable)}"
        )
    if (needed := compared.get("seeds_needed")) is not None and smallest is not None:
        could.append(f"{needed:,} would show {smallest:.3g}, the smallest of interest")
    return "; " + ", and ".join(could) if could else ""


def of_interest(verdict: Verdict) -> str:
    """Say below what a difference is of no interest, and why; empty where that is not known.

    At LoRA's learning rates the head alone learns too little (its best rate is 16 to 32 times as
    high in all tasks of the evidence), so that a margin is too large where its own was not found.

    Examples
    --------
    >>> of_interest(Verdict("t", "m", {}, (), smallest_of_interest=0.02))
    'a difference below 0.02 is of no interest, as was given'
    """
    if verdict.smallest_of_interest is None:
        return ""
    source = "as was given"
    if verdict.smallest_of_interest_from == FROM_HEAD_ONLY:
        source = "a tenth of what uniform gains over the head alone"
        head = verdict.arms.get("head-only", {})
        if "learning_rate" not in head or head.get("learning_rate_at_edge"):
            source += (
                "; that is too much where the head alone would learn more at a higher learning "
                "rate: search every arm's own"
            )
    return f"a difference below {verdict.smallest_of_interest:.3g} is of no interest, {source}"


def why_no_verdict(verdict: Verdict) -> str:
    """Say why nothing is judged; empty where something is.

    Examples
    --------
    >>> arm = {"lora_parameters": 9, "allocation_seconds": 0.0, "runs": [{"seed": 0}]}
    >>> why_no_verdict(Verdict("t", "m", {"uniform": arm}, ()))
    'There is no verdict: uniform is the only arm with results, and nothing stands beside it; add \
another arm.'
    """
    if len(verdict.arms) < 2:
        return (
            f"There is no verdict: {next(iter(verdict.arms), 'none')} is the only arm with "
            "results, and nothing stands beside it; add another arm."
        )
    if not verdict.primary:
        return (
            f"There is no verdict: {METRIC_NAMES[verdict.primary_metric]}, which was declared the "
            "primary metric, was not measured on these test texts."
        )
    if verdict.nobody_learned:
        share = verdict.guessing["accuracy"]
        return (
            f"There is no verdict: {NOBODY}. No arm is clearly better than always naming the most "
            f"frequent class, which is right for {share:.1%} of the test texts; give more steps, "
            "or another learning rate."
        )
    if all(compared["verdict"] == ONE_SEED for compared in verdict.primary):
        return (
            "There is no verdict: with one seed nothing tells a difference from luck; plan several "
            "seeds, such as 0,1,2,3,4."
        )
    return ""


def _interval(low: float, high: float, difference: float) -> str:
    if low * high > 0:
        near, far = sorted((low, high), key=abs)
        return f"{size(near)} to {size(far)} {_way(difference)}"
    return f"{size(low)} {_way(low)} to {size(high)} {_way(high)}"


def _way(difference: float) -> str:
    return "lower" if difference < 0 else "higher"


def size(difference: float) -> str:
    """Write how large a difference is.

    Examples
    --------
    >>> size(-0.0344), size(0.0001)
    ('0.034', 'less than 0.001')
    """
    return f"{abs(difference):.3f}" if abs(difference) >= 0.0005 else "less than 0.001"
